"""JSON without touching a row: texts of fixed width, padded with NUL, laid side by side; then all NUL fall out.

No JSON text holds a raw NUL, so the padding is told from the text by itself, and `bytes.translate` drops it at the
speed of memory. Numbers are written by orjson, a column at a time.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ..table import Column, Kind, Table

__all__ = ["MEDIA_TYPE", "ListEncoder", "PageEncoder", "RowEncoder", "SeriesEncoder"]

MEDIA_TYPE = "application/json"

Texts = NDArray[np.bytes_]
Part = bytes | Texts
"""A part of every row: the same bytes in each, or a text a row."""

_DAY = 86_400_000_000
_MINUTE = 60_000_000
_PAIRS = np.array([f"{number:02}" for number in range(100)], "S2")
_TRIPLES = np.array([f"{number:03}" for number in range(1000)], "S3")


class _Objects:
    """Objects, one a row, behind an opening; the columns' names are their keys."""

    _opening: bytes

    def __init__(self) -> None:
        self._before = self._opening

    def rows(self, table: Table) -> bytes:
        """Return the next rows, at least one."""
        text = _objects(table)
        before = self._begun()
        # Every row begins with a comma; in front of the first one the opening takes its place.
        return before + text[1:] if before else text

    def _begun(self) -> bytes:
        """Return the opening where it has not been written yet."""
        before, self._before = self._before, b""
        return before


class PageEncoder(_Objects):
    """Writes `{"data":[…]}`, with `"next"` behind the rows where more follow."""

    _opening = b'{"data":['

    def end(self, following: str | None = None) -> bytes:
        """Return the end of the answer; `following` is the cursor of the next page."""
        more = b"" if following is None else b',"next":' + orjson.dumps(following)
        return self._begun() + b"]" + more + b"}"


class SeriesEncoder(_Objects):
    """Writes `{"data":[…],"meta":{…}}`."""

    _opening = b'{"data":['

    def __init__(self, meta: Mapping[str, object]) -> None:
        """Take what the answer tells of itself."""
        super().__init__()
        self._meta = orjson.dumps(meta)

    def end(self, following: str | None = None) -> bytes:  # noqa: ARG002 -- every encoder's signature
        """Return the end of the answer; it has no pages."""
        return self._begun() + b'],"meta":' + self._meta + b"}"


class ListEncoder(_Objects):
    """Writes `[…]`; it has no pages."""

    _opening = b"["

    def end(self, following: str | None = None) -> bytes:  # noqa: ARG002 -- every encoder's signature
        """Return the end of the answer."""
        return self._begun() + b"]"


class RowEncoder:
    """Writes the object of a table's only row."""

    def rows(self, table: Table) -> bytes:
        """Return the row."""
        return _objects(table)[1:]

    def end(self, following: str | None = None) -> bytes:  # noqa: ARG002 -- every encoder's signature
        """Return nothing: the object is whole."""
        return b""


def _objects(table: Table) -> bytes:
    """Return all rows, one after the other, each as an object behind a comma."""
    parts: list[Part] = []
    fixed = b",{"
    for name, column in table.columns.items():
        fixed += _key(name)
        # What is the same in all rows is put together: each part costs a pass over the rows.
        for part in _written(column):
            if isinstance(part, bytes):
                fixed += part
            else:
                parts += [fixed, part] if fixed else [part]
                fixed = b""
        fixed += b","
    parts.append(fixed[:-1] + b"}")
    return _side_by_side(parts, len(table))


def _side_by_side(parts: list[Part], rows: int) -> bytes:
    """Return all rows' parts, one row after the other."""
    widths = [len(part) if isinstance(part, bytes) else part.itemsize for part in parts]
    sheet = np.empty(rows, [(f"{place}", f"S{width}") for place, width in enumerate(widths)])
    for place, part in enumerate(parts):
        sheet[f"{place}"] = part
    return sheet.tobytes().translate(None, b"\0")


def _written(column: Column) -> list[Part]:
    """Return the parts that a column's values are written in, null where they are null."""
    match column.kind:
        case Kind.TEXT:
            parts = _texts(column)
        case Kind.INSTANT:
            parts = [b'"', *_instants(column.values), b'Z"']
            if column.offsets is not None:
                local = column.values + column.offsets * _MINUTE
                parts = [b'"', *_instants(local), *_signed(column.offsets), b'"']
        case _:
            parts = [_numbers(column.values)]
    if column.nulls is None:
        return parts
    return [*(np.where(column.nulls, b"", part) for part in parts), np.where(column.nulls, b"null", b"")]


@functools.lru_cache(1024)
def _key(name: str) -> bytes:
    return orjson.dumps(name) + b":"


def _texts(column: Column) -> list[Part]:
    quoted = [orjson.dumps(text) for text in column.texts]
    return [quoted[0]] if len(quoted) == 1 else [np.array(quoted, "S")[column.values]]


def _numbers(values: NDArray[Any]) -> Texts:
    text = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
    return np.array(text[1:-1].split(b","), "S25")


def _instants(timestamps: NDArray[np.int64]) -> list[Part]:
    """Return the parts of `2025-10-22T21:00:00`, and of the microseconds where some are not zero."""
    day, rest = np.divmod(timestamps, _DAY)
    second, micro = np.divmod(rest, 1_000_000)
    days, nth = np.unique(day, return_inverse=True)
    dates = np.datetime_as_string(days.astype("M8[D]")).astype("S10")
    of_day = second.astype(np.uint32)
    clock: list[Part] = [
        dates[nth],
        b"T",
        _PAIRS[of_day // 3600],
        b":",
        _PAIRS[of_day // 60 % 60],
        b":",
        _PAIRS[of_day % 60],
    ]
    return [*clock, *_fractions(micro.astype(np.uint32))] if micro.any() else clock


def _signed(minutes: NDArray[np.int64]) -> list[Part]:
    """Return the parts of offsets from UTC, such as `+05:45`."""
    size = np.abs(minutes)
    return [np.where(minutes < 0, b"-", b"+"), _PAIRS[size // 60], b":", _PAIRS[size % 60]]


def _fractions(micro: NDArray[np.uint32]) -> list[Part]:
    whole = micro == 0
    point = np.where(whole, b"", b".")
    return [point, np.where(whole, b"", _TRIPLES[micro // 1000]), np.where(whole, b"", _TRIPLES[micro % 1000])]
