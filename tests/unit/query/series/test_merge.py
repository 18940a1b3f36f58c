"""Partials merged by any way that they come in give what the reference makes of the readings."""

import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from services.contract.instants import EPOCH, MICROSECOND, instant_of
from services.query.grid import Grid
from services.query.series.merge import AGGREGATES, Merge, partials_of
from services.query.series.question import Limits, Parameters, SeriesQuestion, ask
from services.query.table import Column, Kind, Table
from tests.support import series
from tests.support.series import Asked, Reading

Row = tuple[Any, ...]


def question(sensors: dict[str, list[Reading]], asked: Asked) -> SeriesQuestion:
    bucket = None if asked.bucket is None else "{}{}".format(*asked.bucket)
    agg = ",".join(asked.aggregates) or None
    ends = asked.start.isoformat(), asked.end.isoformat()
    return ask(Parameters(list(sensors), *ends, agg, bucket, asked.zone, asked.fill), 0, Limits(10, 100_000))


def partial(side: int, ordinal: int, grain: int, values: list[float], names: tuple[str, ...]) -> Row:
    mean = math.fsum(values) / len(values)
    made = {
        "sum": sum(values),
        "min": min(values),
        "max": max(values),
        "first": values[0],
        "last": values[-1],
        "squares": math.fsum((value - mean) ** 2 for value in values),
    }
    return side, ordinal, instant_of(grain), len(values), *(made[name] for name in names)


def partials(sensors: dict[str, list[Reading]], asked: SeriesQuestion) -> list[Row]:
    """Return what the statement would give."""
    grid, names = asked.grid, partials_of(asked.aggregates)
    assert grid is not None
    rows = []
    for ordinal, sensor in enumerate(asked.sensors, 1):
        readings = sorted(sensors[sensor], key=lambda reading: reading[0])
        groups: dict[int, list[float]] = {}
        for at, value in readings:
            if asked.start <= at < asked.end:
                begun = ((at - EPOCH) // MICROSECOND - int(grid.edges[0])) // grid.grain
                groups.setdefault(int(grid.edges[0]) + begun * grid.grain, []).append(value)
        rows += [partial(0, ordinal, grain, values, names) for grain, values in groups.items()]
        outside = {-1: [each for each in readings if each[0] < asked.start][-1:]}
        outside[1] = [each for each in readings if each[0] >= asked.end][:1]
        for side, near in outside.items():
            if asked.fill == "linear" or (asked.fill == "previous" and side < 0):
                rows += [partial(side, ordinal, (at - EPOCH) // MICROSECOND, [value], names) for at, value in near]
    return rows


def rows_of(merge: Merge, asked: SeriesQuestion) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for table in merge.tables(asked.sensors, asked.zone, asked.fill):
        for number in range(len(table)):
            row: dict[str, Any] = {}
            for name, column in table.columns.items():
                value = column.values[number].item()
                value = column.texts[value] if column.kind is Kind.TEXT else value
                value = instant_of(value) if column.kind is Kind.INSTANT else value
                row[name] = None if column.nulls is not None and column.nulls[number] else value
            rows.append(row)
    return rows


@examples(max_examples=400, deadline=None)
@given(series.cases(), st.randoms(use_true_random=False), st.integers(1, 7))
def test_merged_partials_are_what_the_reference_makes_of_readings(
    case: tuple[dict[str, list[Reading]], Asked], shuffler: random.Random, part: int
) -> None:
    sensors, asked = case
    if not asked.aggregates:
        return
    put = question(sensors, asked)
    assert put.grid is not None
    merge = Merge(put.grid, len(sensors), put.aggregates)
    rows = partials(sensors, put)
    shuffler.shuffle(rows)
    kinds = {"side": Kind.INTEGER, "ordinal": Kind.INTEGER, "grain": Kind.INSTANT, "count": Kind.INTEGER}
    kinds |= dict.fromkeys(partials_of(put.aggregates), Kind.FLOAT)
    for begin in range(0, len(rows), part):
        merge.add(Table.of(kinds, rows[begin : begin + part]))
    series.same(rows_of(merge, put), series.answer(sensors, asked))


def test_a_deviation_far_from_zero_does_not_cancel() -> None:
    asked = ask(Parameters(["a"], "now-1h", "now", "stddev"), 10**16, Limits(1, 1))
    assert asked.grid is not None
    merge = Merge(asked.grid, 1, asked.aggregates)
    start = asked.grid.edges[0]
    for number in range(100):
        columns = {"side": 0, "ordinal": 1, "grain": start + number, "count": 2, "sum": 2e9 + 1, "squares": 0.5}
        merge.add(
            Table(
                {
                    n: Column(Kind.FLOAT if n in {"sum", "squares"} else Kind.INTEGER, np.array([v]))
                    for n, v in columns.items()
                }
            )
        )
    (row,) = rows_of(merge, asked)
    assert row["stddev"] == pytest.approx(math.sqrt(50 / 199), rel=1e-9)


def test_counts_stay_whole_where_they_can() -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    for fill, kind in [("null", int), ("previous", int), ("7", int), ("0.5", float), ("linear", float)]:
        asked = Asked(start, start + timedelta(hours=3), "UTC", ["count"], (1, "h"), fill)
        put = question({"a": []}, asked)
        assert isinstance(put.grid, Grid)
        merge = Merge(put.grid, 1, put.aggregates)
        merge.add(
            Table.of(
                dict.fromkeys(["side", "ordinal", "count"], Kind.INTEGER) | {"grain": Kind.INSTANT}, [(0, 1, 4, start)]
            )
        )
        assert type(rows_of(merge, put)[0]["count"]) is kind


def test_every_aggregate_has_its_partials() -> None:
    assert list(AGGREGATES) == series.AGGREGATES
    assert partials_of(["avg"]) == ("sum", "min", "max")
    assert partials_of(["count"]) == ()
    assert partials_of(series.AGGREGATES) == ("sum", "min", "max", "first", "last", "squares")
