"""Partials merged onto the grid, aggregates made of them, and gaps filled.

A partial is what one group of readings gives, from which that of a larger group can be made. Each sensor has a row of
cells: one for each bucket, and one at either end for the nearest reading outside of the range, where that is asked
for. All the cells lie in one array, so that memory is bounded by the question and not by how many partials come.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid, zoned
from ..table import Column, Kind, Table
from .aggregates import STEPPED, partials_of, percentiles_of
from .groups import Groups
from .steps import Span, Steps

__all__ = ["BEFORE", "FILLS", "PERCENTILES", "Merge"]

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Array = NDArray[Any]

FILLS = ("none", "null", "previous", "linear")

_START = {"sum": 0.0, "min": np.inf, "max": -np.inf, "first": 0.0, "last": 0.0, "squares": 0.0}
"""The partials that are merged, and what an empty cell holds.

`squares` is the sum of squared differences from the mean: sums of squares themselves would cancel.
"""

BEFORE, PERCENTILES = -2, 2
"""The sides of rows that are no partials: a sensor's last reading before the range, and the first percentile."""

_HELD = ("integral", "twa")
"""The aggregates that a bucket without readings has, too, where a value is held in it."""

_PART = 8192
"""Rows written at a time."""


class Merge:
    """The cells of one answer, a row of them for each sensor, or for each group of sensors."""

    def __init__(
        self, grid: Grid, sensors: int, aggregates: Sequence[str], groups: int | None = None, span: Span | None = None
    ) -> None:
        """Begin with empty cells.

        Args:
            grid: the buckets.
            sensors: how many rows there are.
            aggregates: what is made of them.
            groups: how many rows of percentiles there are; as many as sensors where it is absent.
            span: the range, where it is not that of the grid.
        """
        self._grid = grid
        self._sensors = sensors
        self._width = len(grid) + 2
        self._aggregates = tuple(aggregates)
        cells = sensors * self._width
        self._count = np.zeros(cells, np.int64)
        needed = partials_of(aggregates)
        self._cells = {name: np.full(cells, empty) for name, empty in _START.items() if name in needed}
        # The instants that `first` and `last` came from, their readings' ids, and where what is outside lies.
        low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        self._earliest = np.full((2, cells if "first" in self._cells else 0), high)
        self._latest = np.full((2, cells if "last" in self._cells else 0), low)
        self._outside = np.zeros((2, sensors), np.int64)
        self._beside = np.zeros((2, sensors))
        self._span = span or Span(int(grid.edges[0]), int(grid.edges[-1]), int(grid.edges[-1]))
        self._steps = Steps(grid.edges, sensors, self._span) if set(needed) & set(STEPPED) else None
        self._percentiles = {
            name: np.zeros((sensors if groups is None else groups) * self._width) for name in percentiles_of(aggregates)
        }
        self._covered = np.zeros(0, np.int64)

    def add(self, table: Table) -> None:
        """Take partials, readings, or what a statement gives beside them, by their `side`.

        Every table has `side`, `ordinal` (of the sensor, from 1) and `grain` (an instant):

        * partials have side 0, -1 for the nearest reading before the range, 1 for that behind it; with `count` and a
          float for each of the partials, in any order, at most one for each sensor and grain;
        * readings have the same sides, and a `value`; those of a sensor come in their order, not between others';
          where sensors are aggregated together, `id` tells which one of an instant is the first;
        * side `BEFORE` is a sensor's last reading before the range, as value;
        * sides from `PERCENTILES` on are the percentiles in their order, as value, by group instead of sensor.
        """
        side = table["side"].values
        named = np.flatnonzero(side >= PERCENTILES)
        if len(named):
            self._name(table, named)
        held = np.flatnonzero(side == BEFORE)
        if len(held) and self._steps:
            self._steps.begin(
                table["ordinal"].values[held] - 1, table["grain"].values[held], table["value"].values[held]
            )
        if len(named) + len(held):
            rest = np.flatnonzero(np.abs(side) <= 1)
            table = Table({name: Column(each.kind, each.values[rest]) for name, each in table.columns.items()})
        if len(table):
            self._merge(table)

    def _name(self, table: Table, rows: Numbers) -> None:
        """Take percentiles, whose sides tell which, by the buckets that their instants lie in."""
        side, group = table["side"].values[rows] - PERCENTILES, table["ordinal"].values[rows] - 1
        slot = np.searchsorted(self._grid.edges, table["grain"].values[rows], "right")
        value = table["value"].values[rows]
        for place, cells in enumerate(self._percentiles.values()):
            of = side == place
            cells[group[of] * self._width + slot[of]] = value[of]

    def _merge(self, partials: Table) -> None:
        side, row, grain = partials["side"].values, partials["ordinal"].values - 1, partials["grain"].values
        slot = np.searchsorted(self._grid.edges, grain, "right")
        slot = np.where(side < 0, 0, np.where(side > 0, self._width - 1, slot))
        for which, found in enumerate((side < 0, side > 0)):
            self._outside[which, row[found]] = grain[found]
            if self._percentiles:
                self._beside[which, row[found]] = partials["value"].values[found]
        inside = side == 0
        if self._steps and inside.any():
            self._steps.add(row[inside], grain[inside], partials["value"].values[inside])
        cell = row * self._width + slot
        order = np.lexsort((grain, cell))
        cell, grain = cell[order], grain[order]
        begins = np.flatnonzero(np.diff(cell, prepend=-1))
        ends = np.append(begins[1:], len(cell)) - 1
        into = cell[begins]
        given = {name: _given(partials, name)[order] for name in self._cells}
        ids = _given(partials, "id")[order]
        count = _given(partials, "count")[order]
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
                    better = grain[begins] < self._earliest[0, into]
                    there[into[better]] = values[begins[better]]
                    self._earliest[:, into[better]] = grain[begins[better]], ids[begins[better]]
                case "last":
                    # Readings of one instant come in the order of their ids.
                    better = grain[ends] >= self._latest[0, into]
                    there[into[better]] = values[ends[better]]
                    self._latest[:, into[better]] = grain[ends[better]], ids[ends[better]]

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

    def _join(self, groups: Groups) -> None:
        """Make rows of cells for groups of those for their sensors, once all that comes is there."""
        order = np.argsort(groups.of, kind="stable")
        begins = np.flatnonzero(np.diff(groups.of[order], prepend=-1))

        def over(function: np.ufunc, values: Array) -> Array:
            """Return what a function makes of the rows of each group, or of the cells in them."""
            rows = values.reshape(-1, self._width)
            return rows.ravel() if groups.each else function.reduceat(rows[order], begins).ravel()

        cells = dict(self._cells)
        if "delta" in self._aggregates:
            cells["delta"] = cells["last"] - cells["first"]
        if self._steps:
            self._steps.finish()
            # Outside of the range nothing is known of steps.
            cells |= {name: _widened(values) for name, values in self._steps.sums().items()}
            self._covered = over(np.add, _widened(self._steps.covered))
        joined = {
            name: over({"min": np.minimum, "max": np.maximum}.get(name, np.add), values)
            for name, values in cells.items()
            if name not in {"first", "last", "squares"}
        }
        count = over(np.add, self._count)
        if "squares" in cells:
            squares = cells["squares"]
            if not groups.each:
                # By Chan's formula for many: each sensor's mean has a distance from that of its group.
                mean = (joined["sum"] / np.maximum(count, 1)).reshape(-1, self._width)[groups.of].ravel()
                distance = np.where(self._count > 0, cells["sum"] / np.maximum(self._count, 1) - mean, 0.0)
                squares = over(np.add, squares + self._count * distance**2)
            joined["squares"] = squares
        for name, instants, sign in (("first", self._earliest, 1), ("last", self._latest, -1)):
            if name in cells:
                joined[name] = self._nearest(cells[name], sign * instants, groups, over)
        self._cells, self._count, self._sensors = joined, count, len(groups)
        self._outside = self._outside if groups.each else np.add.reduceat(self._outside[:, order], begins, axis=1)
        beside = self._beside if groups.each else np.add.reduceat(self._beside[:, order], begins, axis=1)
        for values in self._percentiles.values():
            rows = values.reshape(-1, self._width)
            rows[:, 0], rows[:, -1] = beside

    def _nearest(self, values: Floats, instants: Numbers, groups: Groups, over: Callable[..., Array]) -> Array:
        """Return for each cell of groups the value of the sensor whose reading has the least instant and id."""
        if groups.each:
            return values
        best = self._count > 0
        for key in instants:
            least = over(np.minimum, np.where(best, key, np.iinfo(np.int64).max))
            best &= key == least.reshape(-1, self._width)[groups.of].ravel()
        return over(np.add, np.where(best, values, 0.0))

    def tables(self, groups: Groups, zone: ZoneInfo, fill: str | float, *, descending: bool = False) -> Iterator[Table]:
        """Yield the answer's rows in the order of groups and buckets, some at a time, their instants in a zone.

        Args:
            groups: which sensors are aggregated together.
            zone: whose offsets instants are written with.
            fill: what stands in empty buckets: a name out of `FILLS`, or a number; `none` leaves them out.
            descending: whether the last bucket of a group comes first.
        """
        self._join(groups)
        shown = self._count.reshape(-1, self._width) > 0
        if fill != "none":
            shown[:] = True
        # What lies outside of the range is no row.
        shown[:, 0] = shown[:, -1] = False
        cells = np.flatnonzero(shown)
        if descending:
            cells = cells[np.lexsort((-cells, cells // self._width))]
        labels = zoned(self._grid.edges[:-1], zone)
        counted = self._sources(fill, self._count > 0)
        held = self._sources(fill, self._covered > 0) if len(self._covered) else counted
        places = self._places() if fill == "linear" else None
        for begin in range(0, len(cells), _PART):
            part = cells[begin : begin + _PART]
            row, bucket = part // self._width, part % self._width - 1
            columns = groups.columns(row) | {"timestamp": labels.taken(bucket)}
            for name in self._aggregates:
                low, high = (source[part] for source in (held if name in _HELD else counted))
                if places is not None:
                    columns[name] = self._on_the_line(name, low, high, _shares(places, part, low, high))
                else:
                    columns[name] = self._taken(name, low, fill)
            yield Table(columns)

    def _sources(self, fill: str | float, there: Flags) -> tuple[Numbers, Numbers]:
        """Return for each cell of which ones it is made, on its left and on its right; -1 for none.

        A cell in which something is `there` is made of itself.
        """
        own = np.where(there, np.arange(len(there)), -1)
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
            case "increase" | "rate":
                column = of % self._width
                seconds = np.append(np.append(1.0, self._span.seconds(self._grid.edges)), 1.0)
                rise = self._cells["increase"][of]
                return rise if name == "increase" else rise / seconds[column], (column == 0) | (
                    column == self._width - 1
                )
            case "integral" | "twa":
                covered = self._covered[of]
                area = self._cells["integral"][of]
                return area if name == "integral" else area / np.maximum(covered, 1) * 1e6, covered == 0
        values = self._percentiles[name] if name in self._percentiles else self._cells[name]
        return values[of], none


def _shares(places: Numbers, cells: Numbers, low: Numbers, high: Numbers) -> Floats:
    """Return how far cells stand from one place to another, 0 where these are the same."""
    begin = places[np.maximum(low, 0)]
    span = places[np.maximum(high, 0)] - begin
    return np.where(span > 0, (places[cells] - begin) / np.where(span > 0, span, 1), 0.0)


def _column(values: Array, nulls: Flags) -> Column:
    kind = Kind.INTEGER if values.dtype == np.int64 else Kind.FLOAT
    return Column(kind, values, nulls if nulls.any() else None)


def _given(partials: Table, name: str) -> Array:
    """Return a column of partials; of readings, each of which is a partial by itself, what it would be."""
    if name in partials.columns:
        return partials[name].values
    if name == "id":
        return np.zeros(len(partials), np.int64)
    if name == "count":
        return np.ones(len(partials), np.int64)
    return np.zeros(len(partials)) if name == "squares" else partials["value"].values


def _widened(cells: Array) -> Array:
    """Return the cells of buckets with an empty one at either end of a row."""
    return np.pad(cells, ((0, 0), (1, 1))).ravel()
