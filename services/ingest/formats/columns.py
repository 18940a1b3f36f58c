"""What a column of a table holds, as its format has it and as it is read: texts, instants or numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.contract.instants import INVALID, parse_timestamps

__all__ = ["Column", "ColumnError", "Flags", "Instants", "Numbers", "Texts", "instants_of"]

Flags = NDArray[np.bool_]


class ColumnError(ValueError):
    """A column is as a whole not what it should be; the message says what is wrong with it, and the fix."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of texts: each row's place in the `dictionary`, whose texts are distinct; -1 where the cell is empty."""

    dictionary: list[str]
    codes: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Instants:
    """A column of instants.

    Attributes:
        micros: microseconds since 1970-01-01 UTC, `INVALID` where a text is no instant, anything in an empty cell.
        empty: which cells are empty.
        illegible: the texts that are no instants, by their rows.
    """

    micros: NDArray[np.int64]
    empty: Flags
    illegible: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column of numbers.

    Attributes:
        values: float64, anything in an empty or wrong cell.
        empty: which cells are empty.
        wrong: a code, and what is wrong, of the cells without a number, by their rows.
    """

    values: NDArray[np.float64]
    empty: Flags
    wrong: Mapping[int, tuple[str, str]] = field(default_factory=dict)


class Column(Protocol):
    """A column as its format has it; each way to read it raises a ColumnError where it is of another type."""

    def texts(self) -> Texts:
        """Return it as texts."""

    def instants(self) -> Instants:
        """Return it as instants."""

    def numbers(self) -> Numbers:
        """Return it as numbers."""


def instants_of(texts: Sequence[str]) -> Instants:
    """Return the instants that RFC 3339 reads of texts; an empty one is an empty cell."""
    micros = parse_timestamps(texts)
    invalid = np.flatnonzero(micros == INVALID).tolist()
    empty = np.zeros(len(texts), np.bool_)
    empty[[row for row in invalid if not texts[row]]] = True
    return Instants(micros, empty, {row: texts[row] for row in invalid if texts[row]})
