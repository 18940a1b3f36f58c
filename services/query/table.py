"""Columns of any question: what `fetch` makes of rows, what a plan finishes, and what `formats` write.

A column is one array of numbers, whatever it holds: a text is the number of its place among the column's distinct
texts, so that a million rows of one sensor hold its id once. What is null is marked beside the numbers, and most
columns have no marks, as most have no nulls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.contract.instants import EPOCH, MICROSECOND, instant_of

__all__ = ["Column", "Kind", "Table"]

Flags = NDArray[np.bool_]


class Kind(Enum):
    """What a column holds."""

    INTEGER = auto()
    FLOAT = auto()
    INSTANT = auto()
    TEXT = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """The values of one name, a row each.

    Attributes:
        kind: of the values.
        values: float64 where the kind is `FLOAT`, else int64: integers, microseconds since 1970-01-01 UTC, or places
            in `texts`; any number where the row is null.
        nulls: true where the row is null; None where no row is.
        texts: distinct texts, those that `values` name.
        offsets: minutes east of UTC that instants are written with, one a row; None where they are written in UTC.
    """

    kind: Kind
    values: NDArray[Any]
    nulls: Flags | None = None
    texts: tuple[str, ...] = ()
    offsets: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, kind: Kind, items: Sequence[Any]) -> "Column":
        """Return a column of Python's values, None where a row is null: datetimes with an offset are instants."""
        nulls = None
        if None in items:
            nulls = np.array([item is None for item in items])
            filler = {Kind.INTEGER: 0, Kind.FLOAT: 0.0, Kind.INSTANT: EPOCH, Kind.TEXT: ""}[kind]
            items = [filler if item is None else item for item in items]
        if kind is Kind.TEXT:
            places: dict[str, int] = {}
            found = np.array([places.setdefault(item, len(places)) for item in items], np.int64)
            return cls(kind, found, nulls, tuple(places))
        if kind is Kind.INSTANT:
            # Written out: a call for each costs as much as the rest.
            items = [(item - EPOCH) // MICROSECOND for item in items]
        return cls(kind, np.array(items, np.float64 if kind is Kind.FLOAT else np.int64), nulls)

    @classmethod
    def constant(cls, text: str, rows: int) -> "Column":
        """Return a column that holds one text in each of its rows."""
        return cls(Kind.TEXT, np.zeros(rows, np.int64), None, (text,))

    @classmethod
    def joined(cls, columns: Sequence["Column"]) -> "Column":
        """Return the rows of columns of one kind, one column after the other; there is at least one."""
        first = columns[0]
        values, texts = [column.values for column in columns], first.texts
        if any(column.texts != texts for column in columns):
            places: dict[str, int] = {}
            new = [[places.setdefault(text, len(places)) for text in column.texts] for column in columns]
            values = [np.array(place, np.int64)[old] for place, old in zip(new, values, strict=True)]
            texts = tuple(places)
        nulls = None
        if any(column.nulls is not None for column in columns):
            none = [np.zeros(len(column.values), bool) if column.nulls is None else column.nulls for column in columns]
            nulls = np.concatenate(none)
        moved = [column.offsets for column in columns if column.offsets is not None]
        # All columns of one name are written with offsets, or none is.
        return cls(first.kind, np.concatenate(values), nulls, texts, np.concatenate(moved) if moved else None)

    def head(self, rows: int) -> "Column":
        """Return the first rows, at most `rows`."""
        return self.taken(slice(rows))

    def taken(self, rows: NDArray[np.int64] | Flags | slice) -> "Column":
        """Return some of the rows: those at places, those that are marked, or a part."""
        nulls = None if self.nulls is None else self.nulls[rows]
        offsets = None if self.offsets is None else self.offsets[rows]
        return Column(self.kind, self.values[rows], nulls, self.texts, offsets)

    def items(self) -> list[Any]:
        """Return the values as Python has them, None where a row is null: instants are datetimes in UTC."""
        items = self.values.tolist()
        match self.kind:
            case Kind.TEXT:
                items = [self.texts[place] for place in items] if self.texts else items
            case Kind.INSTANT:
                items = [instant_of(item) for item in items]
        if self.nulls is None:
            return list(items)
        return [None if null else item for item, null in zip(items, self.nulls.tolist(), strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Columns of one length by their names, in their order; there is at least one."""

    columns: Mapping[str, Column]

    @classmethod
    def of(cls, kinds: Mapping[str, Kind], rows: Sequence[Sequence[Any]]) -> "Table":
        """Return a table of rows as a driver gives them: tuples, or records that can be read like them."""
        items = zip(*rows, strict=True) if rows else [()] * len(kinds)
        return cls({name: Column.of(kind, each) for (name, kind), each in zip(kinds.items(), items, strict=True)})

    @classmethod
    def joined(cls, tables: Sequence["Table"]) -> "Table":
        """Return the rows of tables of the same columns, one table after the other; there is at least one."""
        if len(tables) == 1:
            return tables[0]
        return cls({name: Column.joined([table[name] for table in tables]) for name in tables[0].columns})

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())).values)

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def head(self, rows: int) -> "Table":
        """Return the first rows, at most `rows`; the table itself where it has no more."""
        if len(self) <= rows:
            return self
        return Table({name: column.head(rows) for name, column in self.columns.items()})

    def taken(self, rows: NDArray[np.int64] | Flags | slice) -> "Table":
        """Return some of the rows: those at places, those that are marked, or a part."""
        return Table({name: column.taken(rows) for name, column in self.columns.items()})
