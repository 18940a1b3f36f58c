"""Partials of files are those that plain Python makes of their readings."""

import math
from statistics import fmean

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.platform.tier.files import Readings
from services.query.reads import Grouped
from services.query.tier.grouping import grouped

EDGES = np.array([0, 10, 25, 100], np.int64)
SENSORS = ("a", "b", "c")
rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 99), st.floats(-1e6, 1e6)), max_size=50).map(sorted)


@given(rows)
def test_each_sensor_and_bucket_has_the_partials_of_its_readings(found: list[tuple[int, int, float]]) -> None:
    place, at = (np.array([row[column] for row in found], np.int64) for column in (0, 1))
    value = np.array([row[2] for row in found], np.float64)
    readings = Readings(SENSORS, place, np.arange(len(found)), at, value)
    wanted = Grouped(EDGES, ("sum", "min", "max", "squares"))
    table = grouped(readings, wanted, {"a": 3, "b": 1, "c": 2})
    assert list(table.columns) == ["side", "ordinal", "grain", "count", "sum", "min", "max", "squares"]
    got = {
        row[:2]: row[2:] for row in zip(*(table[name].values.tolist() for name in list(table.columns)[1:]), strict=True)
    }
    assert len(got) == len(table)
    groups: dict[tuple[int, int], list[float]] = {}
    for number, instant, reading in found:
        start = int(EDGES[np.searchsorted(EDGES, instant, "right") - 1])
        groups.setdefault(({0: 3, 1: 1, 2: 2}[number], start), []).append(reading)
    assert got.keys() == groups.keys()
    for key, values in groups.items():
        count, total, least, most, squares = got[key]
        assert (count, least, most) == (len(values), min(values), max(values))
        assert math.isclose(total, math.fsum(values), rel_tol=1e-9, abs_tol=1e-6)
        mean = fmean(values)
        assert math.isclose(squares, sum((each - mean) ** 2 for each in values), rel_tol=1e-6, abs_tol=1e-3)


def test_the_least_leaves_out_what_is_no_number_and_the_greatest_is_it_as_in_sql() -> None:
    readings = Readings(("a",), np.zeros(3, np.int64), np.arange(3), np.arange(3), np.array([1.0, math.nan, 0.5]))
    table = grouped(readings, Grouped(EDGES, ("min", "max")), {"a": 1})
    assert table["min"].values.tolist() == [0.5]
    assert math.isnan(table["max"].values[0])
