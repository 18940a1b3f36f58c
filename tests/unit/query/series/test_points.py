"""Plots keep few readings and the picture: against plain Python, in any cut of the batches."""

import math
import random
from collections.abc import Sequence
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.query.series.points import DOWNSAMPLES, CellReducer, LttbReducer, Reducer, TooManyHeldError
from services.query.table import Column, Kind, Table

Reading = tuple[int, int, float]
"""The number of a sensor, microseconds, value."""

SENSORS = ("a", "b", "c")
END = 1000
VALUES = st.sampled_from([0.0, 1.0, 2.0, -3.0]) | st.floats(-1e6, 1e6)
READINGS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, END - 1), VALUES), max_size=120).map(
    lambda rows: sorted(rows, key=lambda row: row[:2])
)
CUTS = st.lists(st.integers(0, 120), max_size=4)
POINTS = st.integers(4, 60)


def table(rows: Sequence[Reading], ids: Sequence[int]) -> Table:
    sensor, at, value = (list(column) for column in zip(*rows, strict=True))
    return Table({
        "id": Column(Kind.INTEGER, np.array(ids, np.int64)),
        "sensor_id": Column(Kind.TEXT, np.array(sensor, np.int64), None, SENSORS),
        "timestamp": Column(Kind.INSTANT, np.array(at, np.int64)),
        "value": Column(Kind.FLOAT, np.array(value, np.float64)),
    })  # fmt: skip


def reduced(reducer: Reducer, rows: Sequence[Reading], cuts: Sequence[int]) -> list[Reading]:
    """Return what is kept of readings in the order of their ids; cells get each sensor's in another order."""
    numbered = list(enumerate(rows))
    if isinstance(reducer, CellReducer):
        random.Random(str(numbered)).shuffle(numbered)
        numbered.sort(key=lambda row: row[1][0])
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    found = [
        kept
        for a, b in pairwise(edges)
        for kept in reducer.take(table([row for _, row in numbered[a:b]], [number for number, _ in numbered[a:b]]))
    ]
    return [
        row
        for kept in [*found, *reducer.rest()]
        for row in zip(*(kept[name].values.tolist() for name in ("sensor_id", "timestamp", "value")), strict=True)
    ]


def made(by: str, points: int, start: int = 0) -> Reducer:
    return LttbReducer(points, 1000) if by == "lttb" else CellReducer(start, END, points, ends=by == "m4")


@given(st.sampled_from(list(DOWNSAMPLES)), READINGS, POINTS, CUTS)
def test_points_are_readings_in_their_order_the_ends_among_them_and_no_more_than_asked(
    by: str, rows: list[Reading], points: int, cuts: list[int]
) -> None:
    found = reduced(made(by, points), rows, cuts)
    assert found == sorted(found, key=lambda row: row[:2])
    for sensor in range(3):
        there, kept = ([row for row in each if row[0] == sensor] for each in (rows, found))
        assert len(kept) <= points
        left = list(there)
        for row in kept:
            left.remove(row)
        if there:
            assert (kept[0], kept[-1]) == (there[0], there[-1])
        if by == "lttb":
            assert len(kept) == min(points, len(there))


@given(READINGS, POINTS, CUTS)
def test_m4_keeps_first_last_least_and_greatest_of_each_cell(rows: list[Reading], points: int, cuts: list[int]) -> None:
    width = math.ceil(END / (points // 4))
    found = reduced(made("m4", points), rows, cuts)
    there, kept = (
        {key: list(group) for key, group in groupby(each, lambda row: (row[0], row[1] // width))}
        for each in (rows, found)
    )
    assert there.keys() == kept.keys()
    for key, cell in there.items():
        values, left = [row[2] for row in cell], [row[2] for row in kept[key]]
        assert (left[0], left[-1], min(left), max(left)) == (values[0], values[-1], min(values), max(values))
        assert len(left) <= 4


@given(READINGS, st.sampled_from([4, 8, 20, 40]), CUTS)
def test_m4_draws_the_same_pixels(rows: list[Reading], points: int, cuts: list[int]) -> None:
    one = [row for row in rows if row[0] == 0]
    width = math.ceil(END / (points // 4))
    drawn, reference = (pixels(each, width) for each in (reduced(made("m4", points), one, cuts), one))
    assert drawn == reference


def pixels(rows: Sequence[Reading], width: int, height: int = 20) -> set[tuple[int, int]]:
    """Return what a line through readings covers: columns of pixels are cells, a row of them one of `height`."""
    if not rows:
        return set()
    low, high = min(row[2] for row in rows), max(row[2] for row in rows)
    found: set[tuple[int, int]] = set()

    def level(value: float) -> int:
        return math.floor((value - low) / ((high - low) or 1.0) * height)

    for (_, x1, y1), (_, x2, y2) in pairwise([rows[0], *rows]):
        for column in range(x1 // width, x2 // width + 1):
            # The part of the line that lies over this column.
            share = [
                0.0 if x1 == x2 else min(max((edge - x1) / (x2 - x1), 0.0), 1.0)
                for edge in (column * width, (column + 1) * width)
            ]
            if x1 == x2:
                share = [0.0, 1.0]
            ends = sorted(level(y1 if part == 0.0 else y2 if part == 1.0 else y1 + (y2 - y1) * part) for part in share)
            found |= {(column, line) for line in range(ends[0], ends[1] + 1)}
    return found


@given(READINGS, POINTS, CUTS)
def test_minmax_keeps_the_extremes_of_each_cell(rows: list[Reading], points: int, cuts: list[int]) -> None:
    width = math.ceil(END / ((points - 2) // 2))
    found = reduced(made("minmax", points), rows, cuts)
    there, kept = (
        {key: [row[2] for row in group] for key, group in groupby(each, lambda row: (row[0], row[1] // width))}
        for each in (rows, found)
    )
    assert {key: (min(cell), max(cell)) for key, cell in there.items()} == {
        key: (min(cell), max(cell)) for key, cell in kept.items()
    }


@given(READINGS, st.integers(3, 40), CUTS)
def test_lttb_is_that_of_plain_python(rows: list[Reading], points: int, cuts: list[int]) -> None:
    found = reduced(LttbReducer(points, 1000), rows, cuts)
    for sensor in range(3):
        there, kept = ([row[1:] for row in each if row[0] == sensor] for each in (rows, found))
        if len(there) <= points:
            assert kept == there
            continue
        edges = [1 + number * (len(there) - 2) // (points - 2) for number in range(points - 1)]
        # Each is the best of its part, given the one before; of nearly equal triangles either may be.
        for number in range(points - 2):
            behind = there[edges[number + 1] : edges[number + 2] if number < points - 3 else len(there)]
            beyond = (sum(at for at, _ in behind) / len(behind), sum(value for _, value in behind) / len(behind))
            part = there[edges[number] : edges[number + 1]]
            assert kept[number + 1] in part
            areas = [area(kept[number], row, beyond) for row in part]
            size = 1e-9 * (1 + max(abs(value) for _, value in there)) * END
            assert area(kept[number], kept[number + 1], beyond) >= max(areas) - size


def area(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return abs((a[0] - c[0]) * (b[1] - a[1]) - (a[0] - b[0]) * (c[1] - a[1]))


@pytest.mark.parametrize("by", DOWNSAMPLES)
def test_a_range_before_1970_and_of_a_microsecond_has_cells(by: str) -> None:
    rows = [(0, -5, 1.0), (0, -5, 3.0), (0, -5, 2.0)]
    for end in (-4, 5):
        reducer = made(by, 4) if by == "lttb" else CellReducer(-5, end, 4, ends=by == "m4")
        assert reduced(reducer, rows, []) == rows


def test_values_that_are_no_number_do_not_hide_the_others() -> None:
    rows = [(0, 0, 5.0), (0, 1, math.nan), (0, 2, 7.0), (0, 3, -7.0), (0, 4, 6.0), (1, 0, math.nan), (1, 1, math.inf)]
    assert [row[2] for row in reduced(made("m4", 4), rows, [2])][:4] == [5.0, 7.0, -7.0, 6.0]


def test_lttb_holds_no_more_than_it_may() -> None:
    rows = [(0, at, 1.0) for at in range(10)]
    assert len(reduced(LttbReducer(4, 10), [*rows, *((1, at, value) for _, at, value in rows)], [3])) == 8
    with pytest.raises(TooManyHeldError):
        reduced(LttbReducer(4, 9), rows, [3, 6])
