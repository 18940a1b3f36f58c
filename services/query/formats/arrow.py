"""Arrow's IPC stream: numpy's own memory as Arrow's columns, in record batches of one size.

The bodies of its batches are not compressed: HTTP does that, for who asks for it.
"""

from collections.abc import Mapping
from io import RawIOBase
from typing import IO, Any, cast

import orjson
from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema
from arro3.io import write_ipc_stream

from ..table import Column, Kind, Table
from .encoder import Columns, Encoder

__all__ = ["MEDIA_TYPE", "ArrowEncoder", "BatchEncoder", "Sink"]

MEDIA_TYPE = "application/vnd.apache.arrow.stream"

META = "millrace.meta"
"""Key of what an answer tells of itself, as JSON, in the metadata of its schema."""

BATCH = 65_536
"""Rows of a record batch, and so of a row group of Parquet: enough that what surrounds them does not count."""

_TYPES = {
    Kind.INTEGER: DataType.int64(),
    Kind.FLOAT: DataType.float64(),
    Kind.TEXT: DataType.utf8(),
}
_END = b"\xff\xff\xff\xff\0\0\0\0"
"""What ends a stream: a message without any bytes."""


class Sink(RawIOBase):
    """A file that keeps what is written to it until it is taken."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: Any) -> int:
        """Keep bytes, and return how many they are."""
        self._written.append(bytes(data))
        return len(self._written[-1])

    def file(self) -> IO[bytes]:
        """Return itself, as the type by which libraries name files; they only write."""
        return cast("IO[bytes]", self)

    def take(self) -> bytes:
        """Return what was written since the last time."""
        taken, self._written = b"".join(self._written), []
        return taken


class BatchEncoder(Encoder):
    """Gathers rows into record batches, whatever the parts in which they come."""

    def __init__(self, columns: Columns, meta: Mapping[str, object] | None = None, zone: str = "UTC") -> None:
        super().__init__(columns, meta, zone)
        self._types = {**_TYPES, Kind.INSTANT: DataType.timestamp("us", tz=zone)}
        fields = [Field(name, self._types[kind]) for name, kind in columns.items()]
        self.schema = Schema(fields, metadata=self.told())
        self._gathered: list[Table] = []
        self._count = 0

    def told(self) -> dict[str, str]:
        """Return `meta` as the schema's metadata, of which keys and values are texts."""
        return {} if self.meta is None else {META: orjson.dumps(self.meta).decode()}

    def gathered(self, table: Table) -> RecordBatch | None:
        """Take rows, and return a batch where there are enough."""
        self._gathered.append(table)
        self._count += len(table)
        return self.rest() if self._count >= BATCH else None

    def rest(self) -> RecordBatch | None:
        """Return the rows that no batch holds yet, None where there are none."""
        if not self._gathered:
            return None
        table = Table.joined(self._gathered)
        self._gathered, self._count = [], 0
        return RecordBatch.from_arrays(
            [_array(column, self._types[column.kind]) for column in table.columns.values()], schema=self.schema
        )


class ArrowEncoder(BatchEncoder):
    """Writes the schema, the batches, and the mark that ends a stream."""

    def __init__(self, columns: Columns, meta: Mapping[str, object] | None = None, zone: str = "UTC") -> None:
        super().__init__(columns, meta, zone)
        self._before = self._opening = self._stream([])[: -len(_END)]

    def rows(self, table: Table) -> bytes:
        """Return the batch that is full, or nothing."""
        batch = self.gathered(table)
        return b"" if batch is None else self._message(batch)

    def end(self, following: str | None = None) -> bytes:  # noqa: ARG002 -- every encoder's signature
        """Return the last batch and the end."""
        batch = self.rest()
        return (self._begun() if batch is None else self._message(batch)) + _END

    def _message(self, batch: RecordBatch) -> bytes:
        """Return a batch's message, the middle of a stream of its own, behind the schema where it is the first."""
        return self._begun() + self._stream([batch])[len(self._opening) : -len(_END)]

    def _stream(self, batches: list[RecordBatch]) -> bytes:
        sink = Sink()
        write_ipc_stream(RecordBatchReader.from_batches(self.schema, batches), sink.file(), compression=None)
        return sink.take()


def _array(column: Column, kind: DataType) -> Array:
    """Return a column as Arrow's, of a type."""
    array = Array.from_numpy(column.values)
    match column.kind:
        case Kind.TEXT:
            array = Array(column.texts, kind).take(array)
        case Kind.INSTANT:
            array = array.cast(kind)
    if column.nulls is None:
        return array
    # What is taken from nowhere is null. Few columns have nulls, so Python may count their places.
    places = [None if null else place for place, null in enumerate(column.nulls.tolist())]
    return array.take(Array(places, DataType.int64()))
