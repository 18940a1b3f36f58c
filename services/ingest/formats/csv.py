"""CSV by RFC 4180, in UTF-8, with a header of columns' names; blank lines are no rows."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, islice

import numpy as np

from services.platform.http.errors import Problem

from ..readings import Decoded, Fault
from .columns import Instants, Numbers, Texts, instants_of
from .table import CELLS_A_READING, Layout, Table, check_cells, in_rows, wide

__all__ = ["LAYOUTS", "MEDIA_TYPE"]

MEDIA_TYPE = "text/csv"

_OF_NUMBERS = b"0123456789+-.eE \t"
_NOT_FINITE = re.compile(r"\s*[+-]?(nan|inf(inity)?)\s*", re.IGNORECASE)
_LINES_A_ROW = 2
"""Lines, blank ones too, for each reading that a batch may have."""


@dataclass(frozen=True, slots=True)
class _Cells:
    """A column of cells, which are texts."""

    cells: Sequence[str]

    def texts(self) -> Texts:
        """Return the cells; each row has its place in the dictionary."""
        codes: defaultdict[str, int] = defaultdict(count().__next__)
        found = np.fromiter(map(codes.__getitem__, self.cells), np.int64, len(self.cells))
        if "" not in codes:
            return Texts(list(codes), found)
        empty = codes.pop("")
        return Texts(list(codes), np.where(found == empty, -1, found - (found > empty)))

    def instants(self) -> Instants:
        """Return what RFC 3339 reads."""
        return instants_of(self.cells)

    def numbers(self) -> Numbers:
        """Return the decimal numbers."""
        if _all_of_numbers(self.cells):
            try:
                values = np.fromiter(map(float, self.cells), np.float64, len(self.cells))
            except ValueError:  # there is an empty one, or something like 1-1
                pass
            else:
                return Numbers(values, np.zeros(len(values), np.bool_))
        return self._numbers_one_by_one()

    def _numbers_one_by_one(self) -> Numbers:
        values = np.zeros(len(self.cells), np.float64)
        empty = np.zeros(len(self.cells), np.bool_)
        wrong = {}
        for row, cell in enumerate(self.cells):
            if not cell:
                empty[row] = True
            elif _all_of_numbers([cell]) and (number := _number(cell)) is not None:
                values[row] = number
            elif _NOT_FINITE.fullmatch(cell):
                wrong[row] = ("not_finite", "is not a finite number")
            else:
                wrong[row] = ("wrong_type", "must be a number")
        return Numbers(values, empty, wrong)


def _all_of_numbers(cells: Sequence[str]) -> bool:
    """Tell whether the cells have only characters of decimal numbers; Python's own have letters and underscores too."""
    text = "".join(cells)
    return text.isascii() and not text.encode().translate(None, _OF_NUMBERS)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _decode(body: bytes, most: int, layout: Layout) -> Decoded:
    """Return the readings of a body, at most `most`.

    Raises:
        Problem: `malformed_body` or `too_many_rows`.
    """
    header, rows = _records(body, most)
    check_cells(len(rows), len(header), most)
    sound = [len(row) == len(header) for row in rows]
    if all(sound):
        return layout(_table(header, rows), most)
    faults = [
        Fault(place, None, "field_count", f"the row has {len(row)} fields, and the header {len(header)}")
        for place, row in enumerate(rows)
        if not sound[place]
    ]
    table = _table(header, [row for row, good in zip(rows, sound, strict=True) if good])
    return layout(Table(table.names, table.columns, table.rows, np.flatnonzero(sound), faults), most)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    return Table(header, [_Cells(cells) for cells in columns], len(rows))


def _records(body: bytes, most: int) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a body, of which there may be more than `most` in a wide table alone."""
    if body.count(b",") > CELLS_A_READING * most:
        raise Problem("too_many_rows", f"the body has many more cells than {most} readings need: split it")
    try:
        lines = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        header = next(lines, [])
        rows = list(filter(None, islice(lines, _LINES_A_ROW * most)))
        rest = next(lines, None)
    except UnicodeDecodeError as error:
        raise Problem("malformed_body", f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    except csv.Error as error:
        raise Problem("malformed_body", f"the body is not CSV: {error} in line {lines.line_num}") from error
    if rest is not None:
        raise Problem("too_many_rows", f"the body has many more lines than {most} readings need: split it")
    if not header:
        raise Problem("malformed_body", "the body has no header; its first line names the columns")
    return header, rows


LAYOUTS = {"rows": partial(_decode, layout=in_rows), "wide": partial(_decode, layout=wide)}
"""What reads a body, by its layout."""
