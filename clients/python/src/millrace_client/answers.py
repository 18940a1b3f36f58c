"""Answers that are asked for when they are read: rows, frames, Arrow's batches, or the bytes of any format.

An answer may be read several times; each reading is a question of its own. What both twins do with bytes stands in
`rows` and `arrow`.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from .arrow import ArrowBytes, meta_of, reader, to_pandas
from .errors import MillraceError
from .rows import RowReader, typed
from .words import Question

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from arro3.core import RecordBatch, Table

__all__ = ["Answer", "AsyncAnswer"]

T = TypeVar("T")


class _Asked:
    """A question, and what its latest reading told.

    Attributes:
        question: what is asked.
        next: the `cursor`, or `after`, of the next page, where `limit` left rows.
    """

    def __init__(self, question: Question, instants: tuple[str, ...]) -> None:
        self.question = question
        self.next: str | None = None
        self._instants = instants
        self._meta: dict[str, Any] | None = None

    @property
    def meta(self) -> dict[str, Any]:
        """What the answer tells of itself, such as what it was made from; known when it was read.

        Raises:
            MillraceError: it was not read yet, or only as bytes.
        """
        if self._meta is None:
            raise MillraceError("what an answer tells of itself is known when it was read to its end")
        return self._meta

    def _asking(self, form: str) -> Question:
        return self.question.asked(format=None if form == "json" else form)

    def _feed(self, rows: RowReader, part: bytes) -> Iterator[Any]:
        return (typed(row, self._instants) for row in rows.feed(part))

    def _finish(self, rows: RowReader) -> None:
        rows.finish()
        self._meta, self.next = rows.meta, rows.next

    def _table(self, file: ArrowBytes) -> "Table":
        with _faults_of(file):
            table = reader(file).read_all()
        self._meta = meta_of(table.schema)
        return table


class Answer(_Asked):
    """An answer of `Client`. It is iterated over by rows: dictionaries, whose instants are aware datetimes."""

    def __init__(
        self,
        opened: Callable[[Question, str], contextlib.AbstractContextManager[Iterator[bytes]]],
        question: Question,
        instants: tuple[str, ...] = ("timestamp",),
    ) -> None:
        super().__init__(question, instants)
        self._opened = opened

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rows = RowReader()
        with self._opened(self._asking("json"), "json") as parts:
            for part in parts:
                yield from self._feed(rows, part)
        self._finish(rows)

    def content(self, form: str) -> Generator[bytes]:
        """Yield the bytes of a format: json, ndjson, csv, arrow or parquet; the service judges others.

        Raises:
            MillraceError: the answer does not come, or not whole.
        """
        with self._opened(self._asking(form), form) as parts:
            yield from parts

    def batches(self) -> "Iterator[RecordBatch]":
        """Yield Arrow's record batches while they come.

        Raises:
            MillraceError: the answer does not come, or not whole.
        """
        with contextlib.closing(ArrowBytes(self.content("arrow"))) as file, _faults_of(file):
            found = reader(file)
            self._meta = meta_of(found.schema)
            yield from found

    def to_arrow(self) -> "Table":
        """Return all of it as a table of arro3; `pyarrow.table(answer)` makes one of pyarrow.

        Raises:
            MillraceError: the answer does not come, or not whole.
        """
        with contextlib.closing(ArrowBytes(self.content("arrow"))) as file:
            return self._table(file)

    def to_pandas(self) -> "pd.DataFrame":
        """Return all of it as a frame; instants are `datetime64[us]` of the question's time zone.

        Raises:
            MillraceError: the answer does not come, or not whole.
        """
        return to_pandas(self.to_arrow())

    def to_polars(self) -> "pl.DataFrame":
        """Return all of it as a frame; instants are `Datetime("us")` of the question's time zone.

        Raises:
            MillraceError: the answer does not come, or not whole.
        """
        return _to_polars(self.to_arrow())

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a stream for whoever reads Arrow's C interface, such as DuckDB, which pulls batch by batch."""
        return reader(ArrowBytes(self.content("arrow"))).__arrow_c_stream__(requested_schema)


class AsyncAnswer(_Asked):
    """An answer of `AsyncClient`, iterated over by `async for`."""

    def __init__(
        self,
        opened: Callable[[Question, str], contextlib.AbstractAsyncContextManager[AsyncIterator[bytes]]],
        question: Question,
        instants: tuple[str, ...] = ("timestamp",),
    ) -> None:
        super().__init__(question, instants)
        self._opened = opened

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        rows = RowReader()
        async with self._opened(self._asking("json"), "json") as parts:
            async for part in parts:
                for row in self._feed(rows, part):
                    yield row
        self._finish(rows)

    async def content(self, form: str) -> AsyncGenerator[bytes]:
        """Yield the bytes of a format: json, ndjson, csv, arrow or parquet.

        Raises:
            MillraceError: the answer does not come, or not whole.
        """
        async with self._opened(self._asking(form), form) as parts:
            async for part in parts:
                yield part

    async def batches(self) -> "AsyncIterator[RecordBatch]":
        """Yield Arrow's record batches while they come.

        Raises:
            MillraceError: the answer does not come, or not whole.
        """
        loop = asyncio.get_running_loop()
        async with contextlib.aclosing(self.content("arrow")) as parts:

            def pulled() -> Generator[bytes]:
                # Readers of Arrow pull from a file, so they stand in a thread, and what they wait for in the loop.
                while part := asyncio.run_coroutine_threadsafe(_next(parts), loop).result():
                    yield part

            file = ArrowBytes(pulled())
            with _faults_of(file):
                found = await asyncio.to_thread(reader, file)
                self._meta = meta_of(found.schema)
                while batch := await asyncio.to_thread(next, found, None):
                    yield batch

    async def to_arrow(self) -> "Table":
        """Return all of it as a table of arro3.

        Raises:
            MillraceError: the answer does not come, or not whole.
        """
        whole = b"".join([part async for part in self.content("arrow")])
        return await asyncio.to_thread(self._table, ArrowBytes(part for part in (whole,)))

    async def to_pandas(self) -> "pd.DataFrame":
        """Return all of it as a frame; see `Answer.to_pandas`."""
        return await asyncio.to_thread(to_pandas, await self.to_arrow())

    async def to_polars(self) -> "pl.DataFrame":
        """Return all of it as a frame; see `Answer.to_polars`."""
        return await asyncio.to_thread(_to_polars, await self.to_arrow())


@contextlib.contextmanager
def _faults_of(file: ArrowBytes) -> Iterator[None]:
    """Raise what the file failed with, in place of what a reader made of it."""
    try:
        yield
    except Exception as error:
        if file.fault is not None and error is not file.fault:
            raise file.fault from None
        raise


def _to_polars(table: "Table") -> "pl.DataFrame":
    import polars as pl  # noqa: PLC0415 -- an extra

    return pl.DataFrame(table)


async def _next(parts: AsyncIterator[bytes]) -> bytes:
    return await anext(parts, b"")
