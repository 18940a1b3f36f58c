"""CSV by RFC 4180, with a header; what is null, and a number that is not finite, is an empty field.

Instants have six digits of a second in every row: readers take the form of a column from its first rows.
"""

import re
from collections.abc import Mapping

import numpy as np

from ..table import Column, Kind, Table
from .encoder import Columns, Encoder
from .texts import Part, fractions, instants, local, nullable, numbers, offsets, placed, side_by_side

__all__ = ["MEDIA_TYPE", "CsvEncoder"]

MEDIA_TYPE = "text/csv"

_PLAIN = re.compile(r"[\w./:-]+")
"""Texts that no reader takes for something else: all others are quoted, an empty one too, which is not null."""


class CsvEncoder(Encoder):
    """Writes the header, whether there are rows or not, and a line a row."""

    def __init__(self, columns: Columns, meta: Mapping[str, object] | None = None, zone: str = "UTC") -> None:
        super().__init__(columns, meta, zone)
        self._before = b",".join(map(_field, columns)) + b"\r\n"

    def rows(self, table: Table) -> bytes:
        """Return the lines of the next rows."""
        parts: list[Part] = []
        for column in table.columns.values():
            parts += [*_written(column), b","]
        parts[-1] = b"\r\n"
        return self._begun() + side_by_side(parts, len(table))

    def end(self, following: str | None = None) -> bytes:  # noqa: ARG002 -- every encoder's signature
        """Return the header where there was no row."""
        return self._begun()


def _written(column: Column) -> list[Part]:
    """Return the parts that a column's values are written in."""
    nulls = column.nulls
    match column.kind:
        case Kind.TEXT:
            parts = [placed(column, _field)]
        case Kind.INSTANT:
            clock, micro = instants(local(column))
            ending = [b"Z"] if column.offsets is None else offsets(column.offsets)
            parts = [*clock, b".", *fractions(micro), *ending]
        case _:
            parts = [numbers(column.values)]
            finite = np.isfinite(column.values)
            if not finite.all():
                nulls = ~finite if nulls is None else nulls | ~finite
    return nullable(parts, nulls, b"")


def _field(text: str) -> bytes:
    quoted = text if _PLAIN.fullmatch(text) else '"' + text.replace('"', '""') + '"'
    return quoted.encode()
