"""The protocols by which made readings are sent: all rows of a body at once, as fields of fixed width."""

import io
from collections.abc import Callable, Iterator
from typing import NamedTuple

import cramjam
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from services.contract import Columns

__all__ = ["ARROW", "JSON", "LABELLED", "LINE", "OTLP", "REMOTE_WRITE", "Door", "json_with"]

NAME = "sensor_data"
_SECONDS = np.array([f"{ms // 1000:02}.{ms % 1000:03}".encode() for ms in range(60_000)])
_VALUES = np.array([f"{value / 100:05.2f}".encode() for value in range(10_000)])


class Door(NamedTuple):
    """A way in.

    Attributes:
        path: with the query string.
        headers: names and values, beside the length.
        bodies: makes the bodies of so many rows each of columns, whose number of rows is a multiple of that.
    """

    path: str
    headers: tuple[tuple[str, str], ...]
    bodies: Callable[[Columns, int], Iterator[bytes]]


def _json(before_id: bytes, before_time: bytes) -> Callable[[Columns, int], Iterator[bytes]]:
    """Return what makes arrays of objects; the texts stand before an id and behind it."""

    def bodies(part: Columns, rows: int) -> Iterator[bytes]:
        milliseconds = part.timestamps // 1000
        minutes, positions = np.unique(milliseconds // 60_000, return_inverse=True)
        names = np.char.add(np.datetime_as_string(minutes.astype("datetime64[m]")).astype("S16"), b":")
        text = _joined(
            before_id,
            _ids(part),
            before_time + b',"timestamp":"',
            names[positions],
            _SECONDS[milliseconds % 60_000],
            b'Z","value":',
            _numbers(part),
            b"},",
        )
        for body in _cut(text, rows):
            yield b"[" + body[:-1] + b"]"

    return bodies


def _lines(part: Columns, rows: int) -> Iterator[bytes]:
    text = _joined(
        f"{NAME},sensor_id=".encode(),
        _ids(part),
        b" value=",
        _numbers(part),
        b" ",
        part.timestamps.astype("S16"),
        b"\n",
    )
    return _cut(text, rows)


def _samples(part: Columns, rows: int) -> Iterator[bytes]:
    """Make requests of remote write 1.0: a series a sample, its labels, the value and six bytes of milliseconds."""
    width = len(part.sensor_ids[0])
    labels = _message(1, _message(1, b"__name__") + _message(2, NAME.encode()))
    labels += _message(1, _message(1, b"sensor_id") + _message(2, b"\0" * width))
    series = _message(1, labels + _message(2, b"\0" * 16))
    head = series[: len(series) - 18 - width]
    milliseconds = part.timestamps // 1000
    instant = np.empty((len(part), 6), np.uint8)
    for place in range(6):
        instant[:, place] = (milliseconds >> (7 * place)) & 0x7F | (0x80 if place < 5 else 0)
    raw = _joined(head, _ids(part), b"\x12\x10\x09", _raw(part.values), b"\x10", instant)
    return (bytes(cramjam.snappy.compress_raw(body)) for body in _cut(raw, rows))


def _points(part: Columns, rows: int) -> Iterator[bytes]:
    """Make requests of OTLP: one gauge of many points."""
    width = len(part.sensor_ids[0])
    attribute = _message(7, _message(1, b"sensor_id") + _message(2, _message(1, b"\0" * width)))
    tail = attribute[: len(attribute) - width]
    point = _message(1, b"\0" * (9 + 9 + len(attribute)))
    head = point[: len(point) - 9 - 9 - len(attribute)]
    raw = _joined(head + b"\x19", _raw(part.timestamps * 1000), b"\x21", _raw(part.values), tail, _ids(part))
    for points in _cut(raw, rows):
        metric = _message(1, NAME.encode()) + _message(5, points)
        yield _message(1, _message(2, _message(2, metric)))


def _batches(part: Columns, rows: int) -> Iterator[bytes]:
    ids = pa.array(part.sensor_ids)
    for first in range(0, len(part), rows):
        some = slice(first, first + rows)
        batch = pa.record_batch(
            {
                "sensor_id": pa.DictionaryArray.from_arrays(pa.array(part.index[some]), ids),
                "timestamp": pa.array(part.timestamps[some], pa.timestamp("us", "UTC")),
                "value": pa.array(part.values[some]),
            }
        )
        stream = io.BytesIO()
        with pa.ipc.new_stream(stream, batch.schema) as writer:
            writer.write_batch(batch)
        yield stream.getvalue()


def _message(field: int, payload: bytes) -> bytes:
    """Return a field of protobuf whose value is bytes."""
    return bytes([field << 3 | 2]) + _varint(len(payload)) + payload


def _varint(number: int) -> bytes:
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80]) + _varint(number >> 7)


def _ids(part: Columns) -> NDArray[np.bytes_]:
    return np.array([sensor_id.encode() for sensor_id in part.sensor_ids])[part.index]


def _numbers(part: Columns) -> NDArray[np.bytes_]:
    """Return values as texts of two decimals."""
    return _VALUES[np.round(part.values * 100).astype(np.int64)]


def _raw(numbers: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return eight bytes a number."""
    return np.ascontiguousarray(numbers).view(np.uint8).reshape(-1, 8)


def _joined(*fields: bytes | NDArray[np.bytes_] | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a matrix of bytes with a line a row; what is the same in all of them is given once."""
    rows = next(len(field) for field in fields if not isinstance(field, bytes))
    columns = []
    for field in fields:
        if isinstance(field, bytes):
            columns.append(np.broadcast_to(np.frombuffer(field, np.uint8), (rows, len(field))))
        else:
            columns.append(np.ascontiguousarray(field).view(np.uint8).reshape(rows, -1))
    return np.hstack(columns)


def _cut(lines: NDArray[np.uint8], rows: int) -> Iterator[bytes]:
    for first in range(0, len(lines), rows):
        yield lines[first : first + rows].tobytes()


def json_with(ack: str) -> Door:
    """Return `/ingest` by JSON, asked for a level of promise."""
    return Door(f"/ingest?ack={ack}", (("Content-Type", "application/json"),), _json(b'{"sensor_id":"', b'"'))


JSON = json_with("durable")
LABELLED = JSON._replace(bodies=_json(f'{{"name":"{NAME}","labels":{{"sensor_id":"'.encode(), b'"}'))
LINE = Door("/api/v2/write?bucket=bench&precision=us", (("Content-Type", "text/plain"),), _lines)
REMOTE_WRITE = Door(
    "/api/v1/write",
    (
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", "0.1.0"),
    ),
    _samples,
)
OTLP = Door("/v1/metrics", (("Content-Type", "application/x-protobuf"),), _points)
ARROW = JSON._replace(headers=(("Content-Type", "application/vnd.apache.arrow.stream"),), bodies=_batches)
