"""JSON: rows as objects, with the columns' names as their keys."""

import functools
from collections.abc import Mapping

import numpy as np
import orjson

from ..table import Column, Kind, Table
from .encoder import Columns, Encoder
from .texts import Part, fractions, instants, nullable, numbers, offsets, placed, side_by_side

__all__ = ["MEDIA_TYPE", "ListEncoder", "PageEncoder", "RowEncoder", "SeriesEncoder", "objects"]

MEDIA_TYPE = "application/json"

_MINUTE = 60_000_000


class _Objects(Encoder):
    """Objects, one a row, behind an opening."""

    _opening: bytes

    def __init__(self, columns: Columns) -> None:
        super().__init__(columns)
        self._before = self._opening

    def rows(self, table: Table) -> bytes:
        """Return the next rows, at least one."""
        text = objects(table, b",{", b"}")
        before = self._begun()
        # Every row begins with a comma; in front of the first one the opening takes its place.
        return before + text[1:] if before else text


class PageEncoder(_Objects):
    """Writes `{"data":[…]}`, with `"next"` behind the rows where more follow."""

    _opening = b'{"data":['

    def end(self, following: str | None = None) -> bytes:
        """Return the end of the answer; `following` is the cursor of the next page."""
        more = b"" if following is None else b',"next":' + orjson.dumps(following)
        return self._begun() + b"]" + more + b"}"


class ListEncoder(_Objects):
    """Writes `[…]`; it has no pages."""

    _opening = b"["

    def end(self, following: str | None = None) -> bytes:  # noqa: ARG002 -- every encoder's signature
        """Return the end of the answer."""
        return self._begun() + b"]"


class SeriesEncoder(_Objects):
    """Writes `{"data":[…],"meta":{…}}`."""

    _opening = b'{"data":['

    def __init__(self, columns: Columns, meta: Mapping[str, object]) -> None:
        """Take what the answer tells of itself."""
        super().__init__(columns)
        self._meta = orjson.dumps(meta)

    def end(self, following: str | None = None) -> bytes:  # noqa: ARG002 -- every encoder's signature
        """Return the end of the answer; it has no pages."""
        return self._begun() + b'],"meta":' + self._meta + b"}"


class RowEncoder(Encoder):
    """Writes the object of a table's only row."""

    def rows(self, table: Table) -> bytes:
        """Return the row."""
        return objects(table, b"{", b"}")

    def end(self, following: str | None = None) -> bytes:  # noqa: ARG002 -- every encoder's signature
        """Return nothing: the object is whole."""
        return b""


def objects(table: Table, opening: bytes, closing: bytes) -> bytes:
    """Return all rows, one after the other, each as an object's members between its `opening` and its `closing`."""
    parts: list[Part] = []
    fixed = opening
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
    parts.append(fixed[:-1] + closing)
    return side_by_side(parts, len(table))


@functools.lru_cache(1024)
def _key(name: str) -> bytes:
    return orjson.dumps(name) + b":"


def _written(column: Column) -> list[Part]:
    """Return the parts that a column's values are written in, null where they are null."""
    match column.kind:
        case Kind.TEXT:
            parts = [placed(column, orjson.dumps)]
        case Kind.INSTANT:
            parts = _instants(column)
        case _:
            parts = [numbers(column.values)]
    return nullable(parts, column.nulls, b"null")


def _instants(column: Column) -> list[Part]:
    """Return the parts of `"2025-10-22T21:00:00Z"`, with the microseconds where they are not zero."""
    ending: list[Part] = [b'Z"']
    values = column.values
    if column.offsets is not None:
        values, ending = values + column.offsets * _MINUTE, [*offsets(column.offsets), b'"']
    clock, micro = instants(values)
    if not micro.any():
        return [b'"', *clock, *ending]
    whole = micro == 0
    points = [b".", *fractions(micro)]
    return [b'"', *clock, *(np.where(whole, b"", part) for part in points), *ending]
