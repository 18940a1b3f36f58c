"""Rows as PostgreSQL's binary COPY sends them, read as columns without touching a row.

Where no column is null and all have a fixed width, each row has the same number of bytes, so one structured dtype
reads all of them at once. The network cuts rows anywhere; what is left of one is kept for the next piece.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.contract.instants import MICROSECOND, POSTGRES_EPOCH, instant_of

__all__ = ["FLOAT", "INTEGER", "TIMESTAMP", "CopyError", "CopyReader", "Records", "fetched", "microseconds"]

FLOAT = ">f8"
INTEGER = ">i8"
TIMESTAMP = ">i8"
"""Microseconds since 2000-01-01 UTC, PostgreSQL's epoch; `microseconds` makes them Unix's."""

Records = NDArray[np.void]

_MILLENNIUM = instant_of(POSTGRES_EPOCH)
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"


class CopyError(Exception):
    """What came is not COPY data of the columns that were expected, or it is cut short."""


class CopyReader:
    """Makes records of the bytes of one COPY, piece by piece."""

    def __init__(self, columns: dict[str, str]) -> None:
        """Take the columns in the statement's order, each a name and `FLOAT`, `INTEGER` or `TIMESTAMP`."""
        fields, frame = [("columns", ">i2")], [len(columns)]
        for name, kind in columns.items():
            fields += [(f"{name} size", ">i4"), (name, kind)]
            frame += [np.dtype(kind).itemsize]
        self._dtype = np.dtype(fields)
        framing = [name for name, _ in fields if name not in columns]
        self._frame = dict(zip(framing, frame, strict=True))
        self._expected = _HEADER
        self._rest = b""

    def feed(self, data: bytes) -> Records:
        """Return the rows that `data` completes, as records with the columns' names.

        Raises:
            CopyError: the bytes are not rows of these columns.
        """
        data = self._rest + data
        begin = len(self._expected)
        if not data.startswith(self._expected[: len(data)]):
            raise CopyError("the header of COPY is missing")
        if len(data) < begin:
            self._rest = data
            return np.empty(0, self._dtype)
        self._expected = b""
        rows = np.frombuffer(data, self._dtype, (len(data) - begin) // self._dtype.itemsize, begin)
        self._rest = data[begin + rows.nbytes :]
        if any((rows[name] != size).any() for name, size in self._frame.items()):
            raise CopyError("a row has a null, or columns of other widths")
        return rows

    def finish(self) -> None:
        """Check that the COPY came to its end.

        Raises:
            CopyError: it is cut short, or more follows.
        """
        if self._expected or self._rest != _TRAILER:
            raise CopyError("the end of COPY is missing")


def fetched(rows: Sequence[Sequence[Any]], columns: dict[str, str]) -> Records:
    """Return rows that asyncpg fetched as the records that `CopyReader` makes of COPY, without the framing."""
    records = np.empty(len(rows), list(columns.items()))
    for name, values in zip(columns, zip(*rows, strict=True), strict=False):
        instants = isinstance(values[0], datetime)
        records[name] = [(value - _MILLENNIUM) // MICROSECOND for value in values] if instants else values
    return records


def microseconds(timestamps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a `TIMESTAMP` column as microseconds since 1970-01-01 UTC."""
    return timestamps.astype(np.int64) + POSTGRES_EPOCH
