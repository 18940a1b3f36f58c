"""Partials merged onto the grid, aggregates made of them, and gaps filled.

A partial is what one group of readings gives, from which that of a larger group can be made. Each sensor has a row of
cells: one for each bucket, and one at either end for the nearest reading outside of the range, where that is asked
for. All the cells lie in one array, so that memory is bounded by the question and not by how many partials come.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid, offsets
from ..table import Column, Kind, Table

__all__ = ["AGGREGATES", "FILLS", "Merge", "partials_of"]

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Array = NDArray[Any]

AGGREGATES = {
    "avg": ("sum", "min", "max"),
    "min": ("min",),
    "max": ("max",),
    "sum": ("sum",),
    "count": (),
    "first": ("first",),
    "last": ("last",),
    "stddev": ("sum", "squares"),
}
"""The aggregates, and which partials each is made of beside the count."""

FILLS = ("none", "null", "previous", "linear")

_START = {"sum": 0.0, "min": np.inf, "max": -np.inf, "first": 0.0, "last": 0.0, "squares": 0.0}
"""The partials, in the order that statements give them, and what an empty cell holds.

`squares` is the sum of squared differences from the mean: sums of squares themselves would cancel.
"""

_PART = 8192
"""Rows written at a time."""


def partials_of(aggregates: Sequence[str]) -> tuple[str, ...]:
    """Return the partials that aggregates are made of, in order."""
    needed = {partial for name in aggregates for partial in AGGREGATES[name]}
    return tuple(name for name in _START if name in needed)


class Merge:
    """The cells of one answer."""

    def __init__(self, grid: Grid, sensors: int, aggregates: Sequence[str]) -> None:
        """Begin with empty cells, `sensors` rows of them."""
        self._grid = grid
        self._sensors = sensors
        self._width = len(grid) + 2
        self._aggregates = tuple(aggregates)
        cells = sensors * self._width
        self._count = np.zeros(cells, np.int64)
        self._cells = {name: np.full(cells, _START[name]) for name in partials_of(aggregates)}
        # The grains that `first` and `last` came from, and where the readings outside of the range lie.
        low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        self._earliest = np.full(cells if "first" in self._cells else 0, high)
        self._latest = np.full(cells if "last" in self._cells else 0, low)
        self._outside = np.zeros((2, sensors), np.int64)

    def add(self, partials: Table) -> None:
        """Merge partials, in any order, at most one for each sensor and grain.

        Their columns are `side` (-1 before the range, 1 behind it, else 0), `ordinal` (of the sensor, from 1), `grain`
        (where it begins), `count`, and a float for each of `partials_of`.
        """
        side, row, grain = partials["side"].values, partials["ordinal"].values - 1, partials["grain"].values
        slot = np.searchsorted(self._grid.edges, grain, "right")
        slot = np.where(side < 0, 0, np.where(side > 0, self._width - 1, slot))
        for which, found in enumerate((side < 0, side > 0)):
            self._outside[which, row[found]] = grain[found]
        cell = row * self._width + slot
        order = np.lexsort((grain, cell))
        cell, grain = cell[order], grain[order]
        begins = np.flatnonzero(np.diff(cell, prepend=-1))
        ends = np.append(begins[1:], len(cell)) - 1
        into = cell[begins]
        given = {name: partials[name].values[order] for name in self._cells}
        count = partials["count"].values[order]
        if "squares" in given:
            # It needs the cells as they were before this.
            self._add_squares(given, count, begins, into)
        self._count[into] += np.add.reduceat(count, begins)
        for name, values in given.items():
            there = self._cells[name]
            match name:
                case "sum":
                    there[into] += np.add.reduceat(values, begins)
                case "min":
                    there[into] = np.minimum(there[into], np.minimum.reduceat(values, begins))
                case "max":
                    there[into] = np.maximum(there[into], np.maximum.reduceat(values, begins))
                case "first":
                    better = grain[begins] < self._earliest[into]
                    there[into[better]] = values[begins[better]]
                    self._earliest[into[better]] = grain[begins[better]]
                case "last":
                    better = grain[ends] > self._latest[into]
                    there[into[better]] = values[ends[better]]
                    self._latest[into[better]] = grain[ends[better]]

    def _add_squares(self, given: dict[str, Array], count: Numbers, begins: Numbers, into: Numbers) -> None:
        """Merge sums of squared differences by Chan's formula: each mean's distance from that of both counts too."""
        many = np.add.reduceat(count, begins)
        mean = np.add.reduceat(given["sum"], begins) / many
        lengths = np.diff(np.append(begins, len(count)))
        distance = given["sum"] / count - np.repeat(mean, lengths)
        squares = np.add.reduceat(given["squares"] + count * distance**2, begins)
        before = self._count[into]
        distance = mean - self._cells["sum"][into] / np.maximum(before, 1)
        self._cells["squares"][into] += squares + distance**2 * (many * (before / (many + before)))

    def tables(
        self, sensors: Sequence[str], zone: ZoneInfo, fill: str | float, *, descending: bool = False
    ) -> Iterator[Table]:
        """Yield the answer's rows in the order of sensors and buckets, some at a time, their instants in a zone.

        Args:
            sensors: the ids in the order of their ordinals.
            zone: whose offsets instants are written with.
            fill: what stands in empty buckets: a name out of `FILLS`, or a number; `none` leaves them out.
            descending: whether the last bucket of a sensor comes first.
        """
        shown = self._count.reshape(-1, self._width) > 0
        if fill != "none":
            shown[:] = True
        # What lies outside of the range is no row.
        shown[:, 0] = shown[:, -1] = False
        cells = np.flatnonzero(shown)
        if descending:
            cells = cells[np.lexsort((-cells, cells // self._width))]
        labels = self._grid.edges[:-1]
        minutes = None if zone.key == "UTC" else offsets(labels, zone)
        sources = self._sources(fill)
        places = self._places() if fill == "linear" else None
        for begin in range(0, len(cells), _PART):
            part = cells[begin : begin + _PART]
            row, bucket = part // self._width, part % self._width - 1
            at = None if minutes is None else minutes[bucket]
            columns = {
                "sensor_id": Column(Kind.TEXT, row, None, tuple(sensors)),
                "timestamp": Column(Kind.INSTANT, labels[bucket], offsets=at),
            }
            low, high = (source[part] for source in sources)
            for name in self._aggregates:
                if places is not None:
                    columns[name] = self._on_the_line(name, low, high, _shares(places, part, low, high))
                else:
                    columns[name] = self._taken(name, low, fill)
            yield Table(columns)

    def _sources(self, fill: str | float) -> tuple[Numbers, Numbers]:
        """Return for each cell of which ones it is made, on its left and on its right; -1 for none.

        A cell with readings is made of itself.
        """
        own = np.where(self._count > 0, np.arange(len(self._count)), -1)
        if fill not in {"previous", "linear"}:
            return own, own
        before = np.maximum.accumulate(own.reshape(-1, self._width), axis=1)
        if fill == "previous":
            return before.ravel(), before.ravel()
        beyond = len(own)
        backwards = np.where(own < 0, beyond, own).reshape(-1, self._width)[:, ::-1]
        behind = np.minimum.accumulate(backwards, axis=1)[:, ::-1].ravel()
        return before.ravel(), np.where(behind == beyond, -1, behind)

    def _places(self) -> Numbers:
        """Return where each cell stands: at its label, outside of the range at that of the bucket of its reading."""
        at = np.empty((self._sensors, self._width), np.int64)
        at[:, 1:-1] = self._grid.edges[:-1]
        for side, column in ((0, 0), (1, -1)):
            at[:, column] = [self._grid.floor(instant) for instant in self._outside[side].tolist()]
        return at.ravel()

    def _taken(self, name: str, source: Numbers, fill: str | float) -> Column:
        """Return an aggregate of other cells, filled where there is none."""
        values, nulls = self._made(name, np.maximum(source, 0))
        empty = source < 0
        if isinstance(fill, float):
            # A whole number leaves counts whole.
            whole = fill.is_integer() and abs(fill) < 2**53 and values.dtype == np.int64
            return _column(np.where(empty, int(fill) if whole else fill, values), nulls & ~empty)
        return _column(np.where(empty, values.dtype.type(0), values), nulls | empty)

    def _on_the_line(self, name: str, low: Numbers, high: Numbers, share: Floats) -> Column:
        """Return an aggregate on the lines between cells; null where either is."""
        (left, no_left), (right, no_right) = (self._made(name, np.maximum(source, 0)) for source in (low, high))
        nulls = (low < 0) | (high < 0) | no_left | no_right
        left, right = (np.where(nulls, 0.0, side) for side in (left, right))
        return _column(left + (right - left) * share, nulls)

    def _made(self, name: str, of: Numbers) -> tuple[Array, Flags]:
        """Return an aggregate of cells with readings, and where it is null all the same."""
        count, none = self._count[of], np.zeros(len(of), np.bool_)
        match name:
            case "count":
                return count, none
            case "avg":
                # A sum of floats is rounded, and the average of equal values may lie beside them.
                low, high = self._cells["min"][of], self._cells["max"][of]
                return np.clip(self._cells["sum"][of] / np.maximum(count, 1), low, high), none
            case "stddev":
                return np.sqrt(self._cells["squares"][of] / np.maximum(count - 1, 1)), count == 1
        return self._cells[name][of], none


def _shares(places: Numbers, cells: Numbers, low: Numbers, high: Numbers) -> Floats:
    """Return how far cells stand from one place to another, 0 where these are the same."""
    begin = places[np.maximum(low, 0)]
    span = places[np.maximum(high, 0)] - begin
    return np.where(span > 0, (places[cells] - begin) / np.where(span > 0, span, 1), 0.0)


def _column(values: Array, nulls: Flags) -> Column:
    kind = Kind.INTEGER if values.dtype == np.int64 else Kind.FLOAT
    return Column(kind, values, nulls if nulls.any() else None)
