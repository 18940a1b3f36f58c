"""Parquet and Arrow files, read batch by batch and posted as Arrow's stream.

The library that reads them ends the process on some damaged files; what was sent until then is known.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from arro3.core import RecordBatch, RecordBatchReader, Schema, Table
from arro3.io import read_ipc, read_ipc_stream, read_parquet, write_ipc_stream

from .errors import ReadError
from .forms import Form
from .pieces import Told
from .state import Sent

__all__ = ["RowsPiece", "digest_of", "pieces_of"]

_READINGS = 20_000
"""Of a piece, about: well below what ingest takes in one request."""

_BATCH = 4096
_FILE_OF_ARROW = b"ARROW1"
"""What Arrow's files with a footer begin with; its streams do not."""


@dataclass(frozen=True, slots=True)
class RowsPiece:
    """Rows of a table in one or several batches; `digest` is that of the whole file, whose bytes hold no row alone."""

    form: Form
    offset: int
    target: str
    digest: bytes
    schema: Schema
    batches: Sequence[RecordBatch]

    unit = "row"

    @property
    def length(self) -> int:
        """How many rows it has."""
        return sum(batch.num_rows for batch in self.batches)

    @property
    def line(self) -> int:
        """Number of the first row, from 1."""
        return self.offset + 1

    @property
    def names(self) -> Sequence[str]:
        """What the columns are called."""
        return self.schema.names

    def body(self) -> bytes:
        """Return what is posted."""
        found = io.BytesIO()
        write_ipc_stream(Table.from_batches(list(self.batches), schema=self.schema), found)
        return found.getvalue()

    def halves(self) -> list["RowsPiece"]:
        """Return two pieces in its place; none where it has one row."""
        middle = self.length // 2
        if not middle:
            return []
        first, rest = _parted(self.batches, middle)
        return [replace(self, batches=first), replace(self, batches=rest, offset=self.offset + middle)]

    def told(self, indexes: Sequence[int]) -> list[Told]:
        """Return the rows that an answer calls by these indexes."""
        table = Table.from_batches(list(self.batches), schema=self.schema)
        return [
            Told(self.line + index, {name: table[name][index].as_py() for name in self.schema.names})
            for index in indexes
        ]

    def records(self) -> list[Told]:
        """Return all rows."""
        return self.told(range(self.length))


def digest_of(file: io.BufferedReader) -> bytes:
    """Return the hash of a file's bytes."""
    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).digest()


def pieces_of(
    name: str, file: BinaryIO, digest: bytes, sent: Sequence[Sent], *, form: Form, target: str
) -> Iterator[RowsPiece]:
    """Yield the pieces of a file that are not sent, or not for certain.

    Args:
        name: of the file, for messages.
        file: the file.
        digest: of the whole file.
        sent: the pieces that an earlier import has begun with, which are cut at the same places again.
        form: whether it is Parquet or Arrow.
        target: of the door.

    Raises:
        ReadError: it cannot be read.
    """
    reader = _opened(name, form, file)
    schema = reader.schema
    columns = len(schema.names) - 1 if "layout=wide" in target else 1
    size = max(_READINGS // max(columns, 1), 1)
    begun = {one.offset: one for one in sent}
    held, offset = list[RecordBatch](), 0
    for batch in _batches(name, reader):
        held.append(batch)
        while held:
            known = begun.get(offset)
            length = known.length if known else size - offset % size
            if sum(one.num_rows for one in held) < length:
                break
            taken, held = _parted(held, length)
            if known is None or not known.done:
                yield RowsPiece(form, offset, target, digest, schema, taken)
            offset += length
    if held:
        yield RowsPiece(form, offset, target, digest, schema, held)


def _opened(name: str, form: Form, file: BinaryIO) -> RecordBatchReader:
    magic = file.read(len(_FILE_OF_ARROW))
    file.seek(0)
    try:
        if form is Form.PARQUET:
            return read_parquet(file, batch_size=_BATCH)
        return read_ipc(file) if magic == _FILE_OF_ARROW else read_ipc_stream(file)
    except BaseException as error:  # a panic of the library is no Exception
        raise ReadError(f"{name}: it cannot be read as {form}: {str(error)[:200]}") from error


def _batches(name: str, reader: RecordBatchReader) -> Iterator[RecordBatch]:
    """Yield the batches that have rows."""
    rows = 0
    while True:
        try:
            batch = next(reader, None)
        except BaseException as error:
            raise ReadError(f"{name}: it cannot be read from row {rows + 1} on: {str(error)[:200]}") from error
        if batch is None:
            return
        if batch.num_rows:
            rows += batch.num_rows
            yield batch


def _parted(batches: Sequence[RecordBatch], rows: int) -> tuple[list[RecordBatch], list[RecordBatch]]:
    """Return the first `rows` rows, and those behind them."""
    first, rest = list[RecordBatch](), list[RecordBatch]()
    for batch in batches:
        taken = min(rows, batch.num_rows)
        if taken:
            first.append(batch.slice(0, taken))
        if taken < batch.num_rows:
            rest.append(batch.slice(taken, batch.num_rows - taken))
        rows -= taken
    return first, rest
