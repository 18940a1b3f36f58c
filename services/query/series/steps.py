"""What needs each reading and the one before it: how far values rose, and how long each was held.

A step is the difference of two readings that follow each other; a step down is a restart from zero. A value is held
from its reading to the next one, the last one to the end of the range, but not longer than up to now. The reading
before the range is where its first step begins, and its value is held until the first reading.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Span", "Steps"]

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

_SECOND = 1e6
_NONE = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Span:
    """A range in microseconds since 1970-01-01 UTC, `start` to `end`, and until when its last values are held."""

    start: int
    end: int
    until: int

    def seconds(self, edges: Numbers) -> Floats:
        """Return how long buckets are inside of the range."""
        inside = np.clip(edges, self.start, self.end)
        return (inside[1:] - inside[:-1]) / _SECOND


class Steps:
    """The steps of the readings of some sensors, gathered in cells: a row a sensor, in it one for each bucket.

    Attributes:
        increase: sums of steps.
        integral: of value × seconds.
        covered: microseconds in which a value is held.
    """

    def __init__(self, edges: Numbers, sensors: int, span: Span) -> None:
        """Begin without readings."""
        self._edges = edges
        self._span = span
        # A bucket that the range cuts is as long as what is left of it.
        self._laid = np.clip(edges, span.start, span.end)
        shape = (sensors, len(edges) - 1)
        self.increase: Floats = np.zeros(shape)
        self.integral: Floats = np.zeros(shape)
        self.covered: Numbers = np.zeros(shape, np.int64)
        # Before the range, and the first and last one in it that came so far.
        self._at: Numbers = np.full((3, sensors), _NONE)
        self._value: Floats = np.zeros((3, sensors))

    def begin(self, row: Numbers, at: Numbers, value: Floats) -> None:
        """Take the readings of some sensors that are the last ones before the range."""
        self._at[0, row], self._value[0, row] = at, value

    def add(self, row: Numbers, at: Numbers, value: Floats) -> None:
        """Take the next readings, those of each sensor in their order and not between others'."""
        new = np.diff(row, prepend=-1) != 0
        begins = np.flatnonzero(new)
        ends = np.append(begins[1:], len(row)) - 1
        before, held = np.roll(at, 1), np.roll(value, 1)
        before[begins], held[begins] = self._at[2, row[begins]], self._value[2, row[begins]]
        known = before != _NONE
        opened = begins[~known[begins]]
        self._at[1, row[opened]], self._value[1, row[opened]] = at[opened], value[opened]
        self._at[2, row[ends]], self._value[2, row[ends]] = at[ends], value[ends]
        self._step(row[known], before[known], at[known], held[known], value[known])

    def finish(self) -> None:
        """Take the steps from the readings before the range, and hold the last values to its end."""
        (before, first, last), (held, opening, closing) = self._at, self._value
        rows = np.flatnonzero((before != _NONE) & (first != _NONE))
        self._step(rows, before[rows], first[rows], held[rows], opening[rows])
        none = last == _NONE
        last, closing = np.where(none, before, last), np.where(none, held, closing)
        rows = np.flatnonzero((last != _NONE) & (last < self._span.until))
        self._hold(rows, last[rows], np.full(len(rows), self._span.until), closing[rows])

    def sums(self) -> dict[str, Floats]:
        """Return the sums by the names of their partials."""
        return {"increase": self.increase, "integral": self.integral}

    def _step(self, row: Numbers, begin: Numbers, end: Numbers, held: Floats, value: Floats) -> None:
        bucket = np.searchsorted(self._edges, end, "right") - 1
        np.add.at(self.increase, (row, bucket), np.where(value >= held, value - held, value))
        self._hold(row, begin, end, held)

    def _hold(self, row: Numbers, begin: Numbers, end: Numbers, value: Floats) -> None:
        """Hold values from `begin` to `end`, in each bucket for its own part of the time."""
        begin = np.maximum(begin, self._span.start)
        long = end > begin
        row, begin, end, value = row[long], begin[long], end[long], value[long]
        first = np.searchsorted(self._edges, begin, "right") - 1
        last = np.searchsorted(self._edges, end, "left") - 1
        # Of one sensor no bucket is the inner one of two spans, so these are no more than there are cells.
        many = last - first + 1
        which = np.repeat(np.arange(len(row)), many)
        bucket = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(many) - many, many)
        low = np.maximum(begin[which], self._laid[bucket])
        micros = np.minimum(end[which], self._laid[bucket + 1]) - low
        np.add.at(self.integral, (row[which], bucket), value[which] * (micros / _SECOND))
        np.add.at(self.covered, (row[which], bucket), micros)
