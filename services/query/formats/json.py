"""JSON: rows as objects, with the columns' names as their keys."""

import functools
from collections.abc import Iterator, Mapping

import numpy as np
import orjson

from ..table import Column, Kind, Table
from .encoder import Columns, Encoder
from .texts import Part, fractions, instants, local, nullable, numbers, offsets, placed, side_by_side

__all__ = ["MEDIA_TYPE", "ColumnsEncoder", "ListEncoder", "PageEncoder", "RowEncoder", "SeriesEncoder", "objects"]

MEDIA_TYPE = "application/json"


class _Objects(Encoder):
    """Objects, one a row, behind an opening."""

    _opening: bytes

    def __init__(self, columns: Columns, meta: Mapping[str, object] | None = None, zone: str = "UTC") -> None:
        super().__init__(columns, meta, zone)
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
        return self._begun() + b"]" + _next(following) + b"}"


class ListEncoder(_Objects):
    """Writes `[…]`; it has no pages."""

    _opening = b"["

    def end(self, following: str | None = None) -> bytes:  # noqa: ARG002 -- every encoder's signature
        """Return the end of the answer."""
        return self._begun() + b"]"


class SeriesEncoder(_Objects):
    """Writes `{"data":[…],"meta":{…}}`, with `"next"` behind them where more follow."""

    _opening = b'{"data":['

    def end(self, following: str | None = None) -> bytes:
        """Return the end of the answer; `following` is the cursor of the next page."""
        return self._begun() + b'],"meta":' + orjson.dumps(self.meta) + _next(following) + b"}"


class ColumnsEncoder(Encoder):
    """Writes `{"data":{"<name>":[…],…},"meta":{…}}`, with `"next"` behind them where more follow.

    A column is whole before the next one begins, so all rows are held until the end.
    """

    def __init__(self, columns: Columns, meta: Mapping[str, object] | None = None, zone: str = "UTC") -> None:
        super().__init__(columns, meta, zone)
        self._held: list[Table] = []

    def rows(self, table: Table) -> bytes:
        """Hold the next rows, and return nothing."""
        self._held.append(table)
        return b""

    def end(self, following: str | None = None) -> bytes:
        """Return the whole answer."""
        return b"".join(self.ending(following))

    def ending(self, following: str | None = None) -> Iterator[bytes]:
        """Yield the whole answer, a column after the other."""
        before = b'{"data":{'
        for name in self.columns:
            yield before + _key(name) + b"["
            for number, table in enumerate(self._held):
                yield (b"," if number else b"") + _items(table[name])
            before = b"],"
        yield b']},"meta":' + orjson.dumps(self.meta) + _next(following) + b"}"


class RowEncoder(Encoder):
    """Writes the object of a table's only row."""

    def rows(self, table: Table) -> bytes:
        """Return the row."""
        return objects(table, b"{", b"}")

    def end(self, following: str | None = None) -> bytes:  # noqa: ARG002 -- every encoder's signature
        """Return nothing: the object is whole."""
        return b""


def _next(following: str | None) -> bytes:
    """Return the member that leads to the next page, nothing where there is none."""
    return b"" if following is None else b',"next":' + orjson.dumps(following)


def _items(column: Column) -> bytes:
    """Return a column's values with commas between them."""
    if column.kind in {Kind.INTEGER, Kind.FLOAT} and column.nulls is None:
        return orjson.dumps(np.ascontiguousarray(column.values), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    return side_by_side([*_written(column), b","], len(column.values))[:-1]


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
    if column.offsets is not None:
        ending = [*offsets(column.offsets), b'"']
    clock, micro = instants(local(column))
    if not micro.any():
        return [b'"', *clock, *ending]
    whole = micro == 0
    points = [b".", *fractions(micro)]
    return [b'"', *clock, *(np.where(whole, b"", part) for part in points), *ending]
