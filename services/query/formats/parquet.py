"""Parquet, a row group as soon as its rows are there; its pages are compressed by itself.

The library asks for its batches, and here they are given: so it runs in a thread, which stands still while it waits
for the next batch, as whoever gave it one does until it asks for another. That is the loop of all answers, so it does
not wait for ever: a thread that does not come back costs its answer, and is left behind.
"""

from collections.abc import Iterator, Mapping
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from arro3.core import RecordBatch, RecordBatchReader
from arro3.io import write_parquet

from ..table import Kind, Table
from . import arrow
from .encoder import Columns

__all__ = ["MEDIA_TYPE", "ParquetEncoder"]

MEDIA_TYPE = "application/vnd.apache.parquet"

_PATIENCE = 10.0
"""Seconds that the library may take for a row group, of which it writes dozens a second."""

_STEPS = "delta_binary_packed"
"""How integers and instants are written: those of a sensor mostly grow by little. Values and texts repeat."""


class ParquetEncoder(arrow.BatchEncoder):
    """Writes the row groups, and behind them what makes a file of them."""

    def __init__(self, columns: Columns, meta: Mapping[str, object] | None = None, zone: str = "UTC") -> None:
        super().__init__(columns, meta, zone)
        self._sink = arrow.Sink()
        self._given: SimpleQueue[RecordBatch | None] = SimpleQueue()
        self._asked: SimpleQueue[BaseException | None] = SimpleQueue()
        self._thread: Thread | None = None

    def rows(self, table: Table) -> bytes:
        """Return the row group that is full, or nothing."""
        batch = self.gathered(table)
        return b"" if batch is None else self._written(batch)

    def end(self, following: str | None = None) -> bytes:  # noqa: ARG002 -- every encoder's signature
        """Return the last row group and the end."""
        batch = self.rest()
        last = b"" if batch is None else self._written(batch)
        return last + self._written(None)

    def close(self) -> None:
        """End the thread of an answer that is given up."""
        self._given.put(None)
        if self._thread:
            self._thread.join(_PATIENCE)

    def _written(self, batch: RecordBatch | None) -> bytes:
        """Give the thread a batch, or None for the end, and return what it has written until it waits again."""
        if self._thread is None:
            self._thread = Thread(
                target=self._write, args=({**_options(self.columns), "key_value_metadata": self.told()},), daemon=True
            )
            self._thread.start()
            self._waited()
        self._given.put(batch)
        self._waited()
        return self._sink.take()

    def _waited(self) -> None:
        """Wait until the thread asks for a batch, or is done."""
        try:
            error = self._asked.get(timeout=_PATIENCE)
        except Empty:
            # Nor does `close` wait for it then.
            self._thread = None
            raise RuntimeError(f"Parquet's writer stands still: nothing came of it for {_PATIENCE:g} s") from None
        if error:
            raise RuntimeError("Parquet cannot be written") from error

    def _write(self, options: Mapping[str, Any]) -> None:
        try:
            write_parquet(RecordBatchReader.from_batches(self.schema, self._batches()), self._sink.file(), **options)
        except BaseException as error:  # noqa: BLE001 -- a panic of the library is no Exception; raised by who waits
            self._asked.put(error)
        else:
            self._asked.put(None)

    def _batches(self) -> Iterator[RecordBatch]:
        self._asked.put(None)
        while (batch := self._given.get()) is not None:
            yield batch
            self._asked.put(None)


def _options(columns: Columns) -> dict[str, Any]:
    """Return how an answer's columns are written: by the steps between numbers, or as a dictionary of values."""
    steps = [name for name, kind in columns.items() if kind in {Kind.INTEGER, Kind.INSTANT}]
    return {
        "compression": "zstd(1)",
        "max_row_group_size": arrow.BATCH,
        "column_encoding": dict.fromkeys(steps, _STEPS),
        "column_dictionary_enabled": dict.fromkeys(steps, False),
    }
