"""Arrow's IPC stream: record batches, whose columns are read as those of one table.

The library that reads them ends the process on some damaged bodies: what is here runs in `isolation` alone.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from arro3.core import Array, ChunkedArray, DataType, RecordBatch, RecordBatchReader, dictionary_dictionary
from arro3.core import dictionary_indices as indices_of
from arro3.io import read_ipc_stream
from numpy.typing import NDArray

from services.contract.instants import micros_in
from services.platform.http.errors import Problem

from ..readings import Decoded
from .columns import Column, ColumnError, Instants, Numbers, Texts, instants_of
from .table import Layout, Table, check_cells, in_rows, wide

__all__ = ["LAYOUTS", "MEDIA_TYPE", "decode_batches"]

MEDIA_TYPE = "application/vnd.apache.arrow.stream"

_MICROS = {"s": 1_000_000, "ms": 1000, "us": 1}
_NANOS = 1000
_DICTIONARY = DataType.dictionary(DataType.uint32(), DataType.utf8())
_TYPE = re.compile(r"<(.*)>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _ArrowColumn:
    """A column of all batches, one array."""

    array: Array

    def texts(self) -> Texts:
        """Return texts of any of Arrow's types for them."""
        kind = self.array.type
        if DataType.is_null(kind):
            return Texts([], np.full(len(self.array), -1, np.int64))
        if not _is_text(_plain(kind)):
            raise ColumnError("wrong_type", f"must be a column of texts, and is one of {_shown(kind)}")
        encoded = self.array.cast(_DICTIONARY)
        codes, empty = _whole_numbers(indices_of(encoded))
        known: dict[str, int] = {"": -1}
        # What the client made may hold a text twice, and null.
        places = [known.setdefault(text or "", len(known) - 1) for text in dictionary_dictionary(encoded).to_pylist()]
        found = np.array([*places, -1], np.int64)[np.where(empty, -1, codes)]
        return Texts(list(known)[1:], found)

    def instants(self) -> Instants:
        """Return timestamps with a time zone, cut to microseconds, or what RFC 3339 reads of texts."""
        kind = self.array.type
        plain = _plain(kind)
        if DataType.is_null(kind):
            return Instants(np.zeros(len(self.array), np.int64), np.ones(len(self.array), np.bool_))
        if _is_text(plain):
            return instants_of([text or "" for text in self.array.cast(plain).to_pylist()])
        if not DataType.is_timestamp(plain):
            what = f"must be a column of timestamps with a time zone, or of texts, and is one of {_shown(kind)}"
            raise ColumnError("wrong_type", what)
        if not plain.tz:
            what = "has no time zone; give its column the one that it is in, such as timestamp('us', tz='UTC')"
            raise ColumnError("naive", what)
        counts, empty = _whole_numbers(self.array.cast(plain))
        return Instants(_micros(counts, plain.time_unit or "us"), empty)

    def numbers(self) -> Numbers:
        """Return integers and floats of any width."""
        kind = self.array.type
        plain = _plain(kind)
        if DataType.is_null(kind):
            return Numbers(np.zeros(len(self.array), np.float64), np.ones(len(self.array), np.bool_))
        if not (DataType.is_integer(plain) or DataType.is_floating(plain)):
            raise ColumnError("wrong_type", f"must be a number, and its column is one of {_shown(kind)}; cast it")
        array = self.array.cast(DataType.float64())
        if not array.null_count:
            return Numbers(array.to_numpy(), np.zeros(len(array), np.bool_))
        found = array.to_pylist()
        empty = np.array([number is None for number in found], np.bool_)
        return Numbers(np.array([0.0 if number is None else number for number in found], np.float64), empty)


def _plain(kind: DataType) -> DataType:
    """Return the type of a column's values, which may stand in a dictionary, or once for a run of rows."""
    value = kind.value_type
    if value is None or DataType.is_nested(kind):
        return kind
    return value


def _is_text(kind: DataType) -> bool:
    return DataType.is_string(kind) or DataType.is_large_string(kind) or DataType.is_string_view(kind)


def _whole_numbers(array: Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return an array's numbers, 0 where there is none, and where that is."""
    numbers = array.cast(DataType.int64())
    if not numbers.null_count:
        return numbers.to_numpy(), np.zeros(len(numbers), np.bool_)
    found = numbers.to_pylist()
    empty = np.array([number is None for number in found], np.bool_)
    return np.array([number or 0 for number in found], np.int64), empty


def _micros(counts: NDArray[np.int64], unit: str) -> NDArray[np.int64]:
    """Return counts of a unit in microseconds."""
    if unit == "ns":
        return counts // _NANOS
    return micros_in(counts, _MICROS[unit])


def _shown(kind: DataType) -> str:
    """Return a type's name, which its representation surrounds."""
    found = _TYPE.search(repr(kind))
    return found[1][:60] if found else "an unknown type"


def decode_batches(body: bytes, most: int, *, layout: Layout, read: Callable[[bytes], RecordBatchReader]) -> Decoded:
    """Return the readings of a body that `read` reads as record batches, at most `most`.

    Raises:
        Problem: `malformed_body` or `too_many_rows`.
    """
    try:
        reader = read(body)
        schema = reader.schema
        batches = list(_limited(reader, len(schema.names), most))
    except Problem:
        raise
    except BaseException as error:  # a panic of the library is no Exception
        raise Problem("malformed_body", f"the body cannot be read: {str(error)[:200]}") from error
    columns: list[Column] = [
        _ArrowColumn(_joined([batch.column(place) for batch in batches], kind))
        for place, kind in enumerate(schema.types)
        if batches
    ]
    return layout(Table(schema.names, columns, sum(batch.num_rows for batch in batches)), most)


def _limited(batches: Iterable[RecordBatch], columns: int, most: int) -> Iterable[RecordBatch]:
    """Yield batches that have rows, as long as these are not too many."""
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        check_cells(rows, max(columns, 1), most)
        if batch.num_rows:
            yield batch


def _joined(arrays: list[Array], kind: DataType) -> Array:
    return arrays[0] if len(arrays) == 1 else ChunkedArray(arrays, kind).combine_chunks()


LAYOUTS = {
    "rows": partial(decode_batches, layout=in_rows, read=read_ipc_stream),
    "wide": partial(decode_batches, layout=wide, read=read_ipc_stream),
}
"""What reads a body, by its layout."""
