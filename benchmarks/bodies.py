"""Made readings, as columns and as whole HTTP requests in a file: all vectorised, and each row told once.

The readings are those of a live fleet: its clock begins now and runs through eight minutes, so that no row is late
for an aggregate unless it is asked to be, and none lies further ahead than ingest takes.
"""

import gzip
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.contract import Columns

__all__ = ["Shape", "columns", "framed", "write_requests"]

SPAN = 480_000
"""Milliseconds from the first reading to the last."""

HOUR = 3_600_000
LATE_FROM, LATE_TO = 2 * HOUR, 26 * HOUR
SHUFFLED_OVER = 100_000

_ROW = np.dtype(
    [
        ("before_id", "S14"),
        ("id", "S11"),
        ("before_time", "S15"),
        ("minute", "S17"),
        ("second", "S6"),
        ("before_value", "S11"),
        ("value", "S5"),
        ("end", "S2"),
    ]
)
_CONSTANT = {
    "before_id": b'{"sensor_id":"',
    "before_time": b'","timestamp":"',
    "before_value": b'Z","value":',
    "end": b"},",
}
_SECONDS = np.array([f"{ms // 1000:02}.{ms % 1000:03}".encode() for ms in range(60_000)])
_VALUES = np.array([f"{value / 100:05.2f}".encode() for value in range(10_000)])


@dataclass(frozen=True, slots=True)
class Shape:
    """What a case sends.

    Attributes:
        rows: readings a request.
        sensors: how many there are, 100,000 at most; they measure in turn.
        shuffled: whether neighbouring readings, 100,000 at a time, come in any order.
        late: share of readings that are between two hours and a day behind.
        days_ago: how long ago the first reading was; 0 is now.
        packed: whether bodies are compressed by gzip.
        ack: the level that is asked for.
    """

    rows: int
    sensors: int = 1_000
    shuffled: bool = False
    late: float = 0.0
    days_ago: float = 0.0
    packed: bool = False
    ack: str = "durable"


def columns(shape: Shape, rows: int) -> Columns:
    """Return `rows` readings of a shape, in the order in which they are sent; values have two decimals."""
    dice = np.random.default_rng(7)
    row = np.arange(rows)
    index = (row % shape.sensors).astype(np.uint32)
    times = round((time.time() - 86_400 * shape.days_ago) * 1000) + row * SPAN // max(1, rows)
    swing = 30 * np.sin(times / 60_000 + index) + dice.normal(0, 0.2, rows)
    values = np.round(5_000 + 100 * swing).clip(1_000, 9_999) / 100
    if shape.late:
        behind = dice.integers(LATE_FROM, LATE_TO, rows)
        times = np.where(dice.random(rows) < shape.late, times - behind, times)
    if shape.shuffled:
        order = np.concatenate(
            [first + dice.permutation(min(SHUFFLED_OVER, rows - first)) for first in range(0, rows, SHUFFLED_OVER)]
        )
        index, times, values = index[order], times[order], values[order]
    ids = [f"meter-{number:05}" for number in range(shape.sensors)]
    return Columns(ids, index, times * 1000, values)


def write_requests(shape: Shape, requests: int, path: Path, host: str) -> None:
    """Write `requests` whole requests to a file, as wrk.lua reads them."""
    made = columns(shape, requests * shape.rows)
    with path.open("wb") as file:
        for bodies in _bodies(shape, made):
            if shape.packed:
                for body in bodies:
                    file.write(_post(shape, host, gzip.compress(body.tobytes(), 1, mtime=0)))
            else:
                head = np.frombuffer(_post(shape, host, bodies[0].tobytes())[: -bodies.shape[1]], np.uint8)
                heads = np.broadcast_to(head, (len(bodies), len(head)))
                file.write(np.hstack((heads, bodies)).tobytes())


def _bodies(shape: Shape, made: Columns) -> Iterator[NDArray[np.uint8]]:
    """Yield JSON arrays, one a line of a matrix, some million rows at a time."""
    ids = np.array([sensor_id.encode() for sensor_id in made.sensor_ids], "S11")
    step = max(1, 1_000_000 // shape.rows) * shape.rows
    for first in range(0, len(made), step):
        part = made.take(slice(first, first + step))
        text = _text(part, ids).view(np.uint8).reshape(-1, shape.rows * _ROW.itemsize)
        text[:, -1] = ord("]")
        yield np.hstack((np.full((len(text), 1), ord("["), np.uint8), text))


def _text(part: Columns, ids: NDArray[np.bytes_]) -> NDArray[np.void]:
    milliseconds = part.timestamps // 1000
    minutes, positions = np.unique(milliseconds // 60_000, return_inverse=True)
    names = np.char.add(np.datetime_as_string(minutes.astype("datetime64[m]")).astype("S16"), b":")
    text = np.empty(len(part), _ROW)
    for name, constant in _CONSTANT.items():
        text[name] = constant
    text["id"] = ids[part.index]
    text["minute"] = names[positions]
    text["second"] = _SECONDS[milliseconds % 60_000]
    text["value"] = _VALUES[np.round(part.values * 100).astype(np.int64)]
    return text


def _post(shape: Shape, host: str, body: bytes) -> bytes:
    lines = [
        f"POST /ingest?ack={shape.ack} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(["Content-Encoding: gzip"] if shape.packed else []),
    ]
    return framed("\r\n".join([*lines, "", ""]).encode() + body)


def framed(request: bytes) -> bytes:
    """Return a whole HTTP request as wrk.lua reads it."""
    return b"%08d" % len(request) + request
