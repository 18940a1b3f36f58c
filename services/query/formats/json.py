"""JSON without touching a row: texts of fixed width, padded with NUL, laid side by side; then all NUL fall out.

No JSON text holds a raw NUL, so the padding is told from the text by itself, and `bytes.translate` drops it at the
speed of memory. Numbers are written by orjson, a column at a time.
"""

import numpy as np
import orjson
from numpy.typing import NDArray

from ..columns import Floats, Hours, Integers, Readings

__all__ = ["MEDIA_TYPE", "HoursJson", "ReadingsJson"]

MEDIA_TYPE = "application/json"

Texts = NDArray[np.bytes_]

_DAY = 86_400_000_000
_PAIRS = np.array([f"{number:02}" for number in range(100)], "S2")
_TRIPLES = np.array([f"{number:03}" for number in range(1000)], "S3")


class ReadingsJson:
    """Writes `{"data":[…]}`, with `"next"` behind the rows where there is more."""

    def __init__(self, sensor_id: str) -> None:
        """Take the sensor whose rows these are."""
        self._sensor = b'Z","sensor_id":' + orjson.dumps(sensor_id) + b',"value":'
        self._rows = _Rows(b'{"data":[')

    def rows(self, readings: Readings) -> bytes:
        """Return the next rows, at least one."""
        return self._rows.add(
            b',{"id":',
            _numbers(readings.ids),
            b',"timestamp":"',
            *_instants(readings.timestamps),
            self._sensor,
            _numbers(readings.values),
            b"}",
        )

    def end(self, following: str | None = None) -> bytes:
        """Return the end of the answer; `following` is the cursor of what comes next."""
        more = b"" if following is None else b',"next":' + orjson.dumps(following)
        return self._rows.opening() + b"]" + more + b"}"


class HoursJson:
    """Writes `[…]`, an object an hour bucket."""

    def __init__(self) -> None:
        self._rows = _Rows(b"[")

    def rows(self, hours: Hours) -> bytes:
        """Return the next rows, at least one."""
        return self._rows.add(
            b',{"timestamp":"',
            *_instants(hours.buckets),
            b'Z","avg":',
            _numbers(hours.avg),
            b',"min":',
            _numbers(hours.min),
            b',"max":',
            _numbers(hours.max),
            b',"samples":',
            _numbers(hours.samples),
            b"}",
        )

    def end(self) -> bytes:
        """Return the end of the answer."""
        return self._rows.opening() + b"]"


class _Rows:
    """Rows that begin with a comma, the first with the answer's opening instead."""

    def __init__(self, opening: bytes) -> None:
        self._opening = opening

    def opening(self) -> bytes:
        opening, self._opening = self._opening, b""
        return opening

    def add(self, *parts: bytes | Texts) -> bytes:
        text = _side_by_side(parts)
        opening = self.opening()
        return opening + text[1:] if opening else text


def _side_by_side(parts: tuple[bytes | Texts, ...]) -> bytes:
    """Return all rows' parts, one row after the other; `bytes` are the same in each row."""
    rows = max(len(part) for part in parts if not isinstance(part, bytes))
    widths = [len(part) if isinstance(part, bytes) else part.itemsize for part in parts]
    sheet = np.empty(rows, [(f"{place}", f"S{width}") for place, width in enumerate(widths)])
    for place, part in enumerate(parts):
        sheet[f"{place}"] = part
    return sheet.tobytes().translate(None, b"\0")


def _numbers(column: Integers | Floats) -> Texts:
    text = orjson.dumps(column, option=orjson.OPT_SERIALIZE_NUMPY)
    return np.array(text[1:-1].split(b","), "S25")


def _instants(timestamps: Integers) -> tuple[bytes | Texts, ...]:
    """Return the parts of `2025-10-22T21:00:00`, and of the microseconds where some are not zero."""
    day, rest = np.divmod(timestamps, _DAY)
    second, micro = np.divmod(rest, 1_000_000)
    days, nth = np.unique(day, return_inverse=True)
    dates = np.datetime_as_string(days.astype("M8[D]")).astype("S10")
    of_day = second.astype(np.uint32)
    clock = (
        dates[nth],
        b"T",
        _PAIRS[of_day // 3600],
        b":",
        _PAIRS[of_day // 60 % 60],
        b":",
        _PAIRS[of_day % 60],
    )
    return (*clock, *_fractions(micro.astype(np.uint32))) if micro.any() else clock


def _fractions(micro: NDArray[np.uint32]) -> tuple[Texts, ...]:
    whole = micro == 0
    point = np.where(whole, b"", b".")
    return point, np.where(whole, b"", _TRIPLES[micro // 1000]), np.where(whole, b"", _TRIPLES[micro % 1000])
