"""Rows by binary COPY: at the pace of whoever takes them, as tables, ended early without harm to the connection.

asyncpg reads the next piece only when its output function returns, so a slow client holds the rows in the database.
Its own way to end a COPY early loses the connection where more than one piece is under way. So nothing cancels it
here: who leaves has the server end the statement, and what still comes is read and dropped.
"""

import asyncio
import re
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.contract.instants import POSTGRES_EPOCH
from services.platform.postgres.connections import Connection

from .plan import Argument
from .table import Column, Kind, Table

__all__ = ["CopyError", "CopyReader", "copy_out", "inlined"]

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_END = -1
"""What stands instead of a count of columns behind the last row, and instead of a size where a value is null."""

_PIECE = 65_536
"""Bytes of a piece that is worth a batch of its own."""

_COUNT = struct.Struct(">h")
_SIZE = struct.Struct(">i")
_NUMBER = 8
"""Bytes of every value that is no text."""

_WIRE = {Kind.INTEGER: ">i8", Kind.FLOAT: ">f8", Kind.INSTANT: ">i8"}
"""PostgreSQL counts microseconds from 2000-01-01 UTC."""


class CopyError(Exception):
    """What came is not COPY data of the columns that were expected, or it is cut short."""


async def copy_out(
    connection: Connection, statement: str, end: Callable[[int], Awaitable[None]]
) -> AsyncGenerator[bytes, None]:
    """Yield what a statement gives, piece by piece, as binary COPY; to be closed by whoever may leave early.

    Pieces that come small are put together: what is done to one costs as much as a thousand rows of it.

    Where that is left early, `end` is given the process id of the connection's backend and ends its statement; where
    that does not help, the connection is given up.
    """
    pieces: asyncio.Queue[bytes] = asyncio.Queue(1)
    left = False

    async def output(piece: bytes) -> None:
        if not left:
            await pieces.put(piece)

    async def copy() -> None:
        try:
            await connection.copy_from_query(statement, output=output, format="binary")
        finally:
            await output(b"")

    copying = asyncio.create_task(copy())
    try:
        held: list[bytes] = []
        size = 0
        while piece := await pieces.get():
            held.append(piece)
            size += len(piece)
            if size >= _PIECE:
                yield b"".join(held)
                held, size = [], 0
        await copying
        if held:
            yield b"".join(held)
    finally:
        left = True
        # The task may wait for room; what it then puts nobody takes.
        if pieces.full():
            pieces.get_nowait()
        try:
            if not copying.done():
                await end(connection.get_server_pid())
                await asyncio.wait({copying}, timeout=1)
        finally:
            if not copying.done():
                connection.terminate()
            await asyncio.gather(copying, return_exceptions=True)


def inlined(statement: str, arguments: Sequence[Argument]) -> str:
    """Return a statement with its arguments in it, as COPY wants them: `$1` is the first.

    asyncpg would do so by statements of its own, prepared by names that another client of a pooler may have.
    """
    literals = [_literal(argument) for argument in arguments]
    return re.sub(r"\$(\d+)", lambda match: literals[int(match[1]) - 1], statement)


def _literal(value: Argument) -> str:
    if isinstance(value, datetime):
        return f"'{value.isoformat()}'::pg_catalog.timestamptz"
    if isinstance(value, int):
        return f"({value})"
    if isinstance(value, tuple):
        return f" array[{','.join(map(_literal, value))}]::pg_catalog.text[]"
    if "\0" in value:
        raise ValueError("PostgreSQL has no zero byte in a text")
    # Written so, a backslash means the same whatever standard_conforming_strings says.
    quoted = value.replace("\\", "\\\\").replace("'", "''")
    return f" E'{quoted}'::pg_catalog.text"


class CopyReader:
    """Makes tables of the bytes of one COPY, piece by piece; the network cuts rows anywhere.

    Where no column is a text and no value null, each row has the same number of bytes, and one structured dtype reads
    all rows of a piece without touching one. A piece with anything else is walked from value to value, for their
    places alone; the values are then gathered a column at a time.
    """

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        """Take the columns' kinds in the statement's order."""
        self._kinds = kinds
        self._expected = _HEADER
        self._rest = b""
        self._row: np.dtype[np.void] | None = None
        if Kind.TEXT not in kinds.values():
            fields: list[tuple[str, str]] = [("columns", ">i2")]
            for name, kind in kinds.items():
                fields += [(f"{name} size", ">i4"), (name, _WIRE[kind])]
            self._row = np.dtype(fields)

    def feed(self, data: bytes) -> Table:
        """Return the rows that `data` completes; there may be none.

        Raises:
            CopyError: the bytes are not rows of these columns.
        """
        data = self._rest + data
        begin = len(self._expected)
        if not data.startswith(self._expected[: len(data)]):
            raise CopyError("the header of COPY is missing")
        if len(data) < begin:
            self._rest = data
            return Table.of(self._kinds, ())
        self._expected = b""
        table, end = self._uniform(data, begin) or self._walked(data, begin)
        self._rest = data[end:]
        return table

    def finish(self) -> None:
        """Check that the COPY came to its end.

        Raises:
            CopyError: it is cut short, or more follows.
        """
        if self._expected or self._rest != _TRAILER:
            raise CopyError("the end of COPY is missing")

    def _uniform(self, data: bytes, begin: int) -> tuple[Table, int] | None:
        """Return the whole rows and where they end, None where a row is longer or shorter than the others."""
        if self._row is None:
            return None
        rows = np.frombuffer(data, self._row, (len(data) - begin) // self._row.itemsize, begin)
        if (rows["columns"] != len(self._kinds)).any():
            return None
        if any((rows[f"{name} size"] != _NUMBER).any() for name in self._kinds):
            return None
        end = begin + rows.nbytes
        if _row_at(data, end, len(self._kinds)) is not None:
            # What is left is too short for a row like the others and still is one: it has nulls.
            return None
        columns = {name: Column(kind, _native(rows[name], kind)) for name, kind in self._kinds.items()}
        return Table(columns), end

    def _walked(self, data: bytes, begin: int) -> tuple[Table, int]:
        """Return the whole rows, whatever their values' sizes, and where they end."""
        places: list[int] = []
        sizes: list[int] = []
        end = begin
        while (row := _row_at(data, end, len(self._kinds))) is not None:
            starts, widths, end = row
            places += starts
            sizes += widths
        by_column = (len(places) // len(self._kinds), len(self._kinds))
        at, size = (np.array(each, np.int64).reshape(by_column).T for each in (places, sizes))
        columns = {
            name: _gathered(data, kind, at[number], size[number])
            for number, (name, kind) in enumerate(self._kinds.items())
        }
        return Table(columns), end


def _row_at(data: bytes, at: int, columns: int) -> tuple[list[int], list[int], int] | None:
    """Return where a row's values begin, their sizes, and where the row ends; None where it is not whole.

    Raises:
        CopyError: it has another number of columns.
    """
    if len(data) - at < _COUNT.size:
        return None
    (count,) = _COUNT.unpack_from(data, at)
    if count == _END:
        return None
    if count != columns:
        raise CopyError(f"a row has {count} columns, {columns} were expected")
    at += _COUNT.size
    starts, sizes = [], []
    for _ in range(columns):
        if len(data) - at < _SIZE.size:
            return None
        (size,) = _SIZE.unpack_from(data, at)
        if size < _END:
            raise CopyError(f"a value has {size} bytes")
        at += _SIZE.size
        starts.append(at)
        sizes.append(size)
        at += max(size, 0)
    return (starts, sizes, at) if at <= len(data) else None


def _gathered(data: bytes, kind: Kind, at: NDArray[np.int64], size: NDArray[np.int64]) -> Column:
    """Return the column whose values lie `at` places of `data`.

    Raises:
        CopyError: a number has another width than that of its kind.
    """
    there = size != _END
    nulls = None if there.all() else ~there
    if kind is Kind.TEXT:
        items = [
            None if width == _END else data[begin : begin + width].decode()
            for begin, width in zip(at.tolist(), size.tolist(), strict=True)
        ]
        return Column.of(kind, items)
    if (size[there] != _NUMBER).any():
        raise CopyError("a number has another width than eight bytes")
    raw = np.zeros((len(at), _NUMBER), np.uint8)
    raw[there] = np.frombuffer(data, np.uint8)[at[there, np.newaxis] + np.arange(_NUMBER)]
    return Column(kind, _native(raw.view(_WIRE[kind]).reshape(-1), kind), nulls)


def _native(values: NDArray[Any], kind: Kind) -> NDArray[Any]:
    """Return big-endian numbers as the machine has them; instants count from 1970."""
    if kind is Kind.FLOAT:
        return values.astype(np.float64)
    return values.astype(np.int64) + POSTGRES_EPOCH if kind is Kind.INSTANT else values.astype(np.int64)
