"""Plots of millions of readings: at most so many of each sensor, chosen so that the picture stays what it is.

Every point is a reading, and the first and last one of a sensor are among them.

* `m4` keeps the first, last, least and greatest reading of each of `points // 4` cells of equal time: a line through
  them covers the same pixels of so many columns as one through all readings does.
* `minmax` keeps the least and greatest of each of `(points - 2) // 2` such cells.
* `lttb` (largest triangle, three buckets) keeps of each of `points - 2` parts of as many readings the one that makes
  the largest triangle with the one kept before and the average of the part behind.

Sensors come in their order. For `lttb` their readings come in the order of timestamp and id, and all of one are held.
Cells take them in any order, which spares the database a sort that takes longer than all else: what is kept of a cell
is kept of any part of it, so each batch is thinned out by itself, and what was kept of the batches once more.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..table import Column, Table

__all__ = ["DOWNSAMPLES", "CellReducer", "LttbReducer", "Reducer", "TooManyHeldError"]

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]

DOWNSAMPLES = {"m4": 4, "minmax": 4, "lttb": 3}
"""The ways to choose points, and the fewest points that each can give."""


_HELD_POINTS = 4
"""So many times the points of a sensor are held before they are thinned out once more."""


class TooManyHeldError(ValueError):
    """A sensor has more readings than may be held."""


class Reducer(Protocol):
    """Takes readings, sensor by sensor, and gives what is kept of them."""

    def take(self, table: Table) -> Iterator[Table]:
        """Take the next readings, and yield those that are kept for certain."""

    def rest(self) -> Iterator[Table]:
        """Yield what is kept of the last ones."""


class CellReducer:
    """Keeps few readings of each cell of time, by `m4` or `minmax`; they have an `id`, and come in any order."""

    def __init__(self, start: int, end: int, points: int, *, ends: bool) -> None:
        """Lay the cells over a range of microseconds; `ends`: whether each keeps its first and last reading."""
        cells = points // 4 if ends else (points - 2) // 2
        self._start = start
        self._width = max(-(-(end - start) // cells), 1)
        self._ends = ends
        self._most = _HELD_POINTS * points
        self._held: list[Table] = []

    def take(self, table: Table) -> Iterator[Table]:
        """Take readings, and yield those that are kept of the sensors that are over."""
        kept = self._kept(table)
        sensor = kept["sensor_id"]
        last = int(np.searchsorted(sensor.values, sensor.values[-1]))
        if last or (self._held and _name(self._held[0]["sensor_id"], 0) != _name(sensor, 0)):
            over = self._kept(Table.joined([*self._held, kept.taken(slice(0, last))]))
            if len(over):
                yield _shown(over)
            self._held = []
        self._held.append(kept.taken(slice(last, None)))
        if sum(map(len, self._held)) > self._most:
            # Batches that each reach over the whole range keep as much as all of them together.
            self._held = [self._kept(Table.joined(self._held))]

    def rest(self) -> Iterator[Table]:
        """Yield what is kept of the last sensor."""
        if self._held:
            yield _shown(self._kept(Table.joined(self._held)))

    def _kept(self, table: Table) -> Table:
        """Return what is kept of some readings, in the order of sensor, timestamp and id."""
        table = _sorted(table)
        value = table["value"].values
        if not len(value):
            return table
        cell = (table["timestamp"].values - self._start) // self._width
        new = np.diff(table["sensor_id"].values, prepend=-1) != 0
        begins = np.flatnonzero(new | (np.diff(cell, prepend=-1) != 0))
        ends = np.append(begins[1:], len(value)) - 1
        opens = new[begins]
        first, last = (begins, ends) if self._ends else (begins[opens], ends[np.append(opens[1:], True)])
        extremes = [_places(value, begins, least=least) for least in (True, False)]
        return table.taken(np.unique(np.concatenate([first, last, *extremes])))


def _sorted(table: Table) -> Table:
    """Return readings in the order of sensor, timestamp and id."""
    keys = [table[name].values for name in ("id", "timestamp", "sensor_id")]
    later = np.ones(max(len(table) - 1, 0), bool)
    for values in keys:
        step = np.diff(values)
        later = (step > 0) | ((step == 0) & later)
    # Mostly they are in order: so the columnstore has them, and an index.
    return table if later.all() else table.taken(np.lexsort(keys))


def _shown(table: Table) -> Table:
    return Table({name: column for name, column in table.columns.items() if name != "id"})


def _places(values: Floats, begins: Numbers, *, least: bool) -> Numbers:
    """Return where the first least, or greatest, value of each group stands; no number is neither, unless it is all."""
    best = (np.fmin if least else np.fmax).reduceat(values, begins)
    lengths = np.diff(np.append(begins, len(values)))
    each = np.repeat(best, lengths)
    found = np.flatnonzero((values == each) | (np.isnan(values) & np.isnan(each)))
    return found[np.searchsorted(found, begins)]


class LttbReducer:
    """Keeps readings by `lttb`. All that is kept is given at the end, as a sensor may turn out to be too much."""

    def __init__(self, points: int, most: int) -> None:
        """Take the most readings that are kept of a sensor, and that may be held."""
        self._points = points
        self._most = most
        self._held: list[Table] = []
        self._count = 0
        self._kept: list[Table] = []

    def take(self, table: Table) -> Iterator[Table]:
        """Take the next readings, and yield none.

        Raises:
            TooManyHeldError: a sensor has more than may be held.
        """
        yield from ()
        sensor = table["sensor_id"]
        edges = [0, *(np.flatnonzero(np.diff(sensor.values)) + 1).tolist(), len(table)]
        for begin, end in pairwise(edges):
            if self._held and _name(self._held[0]["sensor_id"], 0) != _name(sensor, begin):
                self._reduce()
            self._held.append(table.taken(slice(begin, end)))
            self._count += end - begin
            if self._count > self._most:
                raise TooManyHeldError

    def rest(self) -> Iterator[Table]:
        """Yield what is kept of all sensors."""
        if self._held:
            self._reduce()
        yield from self._kept

    def _reduce(self) -> None:
        table = Table.joined(self._held)
        self._held, self._count = [], 0
        self._kept.append(table.taken(_lttb(table["timestamp"].values, table["value"].values, self._points)))


def _name(sensor: Column, row: int) -> str:
    return sensor.texts[int(sensor.values[row])]


def _lttb(at: Numbers, value: Floats, points: int) -> Numbers:
    """Return which readings are kept, at most `points`, in their order."""
    many = len(at)
    if many <= points:
        return np.arange(many)
    # Seconds from the first one: a square of microseconds would lose digits.
    x = (at - at[0]) / 1e6
    y = np.where(np.isfinite(value), value, 0.0)
    # Of finite values a triangle may still be too large for a float.
    y = y / max(float(np.abs(y).max()), 1.0)
    edges = 1 + np.arange(points - 1) * (many - 2) // (points - 2)
    kept = np.empty(points, np.int64)
    kept[0], kept[-1] = 0, many - 1
    for number in range(points - 2):
        begin, end = int(edges[number]), int(edges[number + 1])
        behind = slice(end, int(edges[number + 2]) if number < points - 3 else many)
        x_behind, y_behind = x[behind].mean(), y[behind].mean()
        x_before, y_before = x[kept[number]], y[kept[number]]
        area = (x_before - x_behind) * (y[begin:end] - y_before) - (x_before - x[begin:end]) * (y_behind - y_before)
        kept[number + 1] = begin + int(np.abs(area).argmax())
    return kept
