"""Partials merged by any way that they come in give what the reference makes of the readings."""

import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from services.contract.instants import instant_of, micros_of
from services.query.grid import Grid
from services.query.series.aggregates import AGGREGATES, GROUPED, STEPPED, is_aggregate, partials_of
from services.query.series.groups import Groups, labelled, labels_of, unlabelled
from services.query.series.merge import BEFORE, Merge
from services.query.series.ordered import in_order, ordered
from services.query.series.question import Limits, Parameters, SeriesQuestion, ask
from services.query.table import Column, Kind, Table
from tests.support import series
from tests.support.aggregates import Placed
from tests.support.series import Asked, Reading

Row = tuple[Any, ...]


def question(sensors: dict[str, list[Reading]], asked: Asked) -> SeriesQuestion:
    bucket = None if asked.bucket is None else "{}{}".format(*asked.bucket)
    agg = ",".join(asked.aggregates) or None
    ends = asked.start.isoformat(), asked.end.isoformat()
    given = Parameters(list(sensors), *ends, agg, bucket, asked.zone, asked.fill, asked.by)
    return ask(given, micros_of(asked.now or asked.end), Limits(10, 100_000))


def groups_of(asked: SeriesQuestion) -> Groups:
    if asked.by in {("sensor_id",), ("all",)}:
        return unlabelled(asked.sensors, asked.by)
    rows = [
        (ordinal, place, series.LABELS[sensor][label])
        for ordinal, sensor in enumerate(asked.sensors, 1)
        for place, label in enumerate(asked.by, 1)
        if label in series.LABELS.get(sensor, {})
    ]
    return labelled(asked.sensors, asked.by, [Table.of(labels_of(asked.sensors, asked.by).kinds, rows)])


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


def partials(sensors: dict[str, list[Reading]], asked: SeriesQuestion, groups: Groups) -> list[Row]:
    """Return what the statement of partials would give."""
    grid, names = asked.grid, partials_of(asked.aggregates)
    assert grid is not None
    rows = []
    for ordinal, sensor in enumerate(asked.sensors, 1):
        grains: dict[int, list[float]] = {}
        for at, value in sorted(sensors[sensor], key=lambda reading: reading[0]):
            if asked.start <= at < asked.end:
                begun = (micros_of(at) - int(grid.edges[0])) // grid.grain
                grains.setdefault(int(grid.edges[0]) + begun * grid.grain, []).append(value)
        rows += [partial(0, ordinal, grain, values, names) for grain, values in grains.items()]
    for side, found in outside(sensors, asked, groups):
        ordinal = asked.sensors.index(found.sensor) + 1
        rows.append(partial(side, ordinal, micros_of(found.at), [found.value], names))
    return rows


def readings(sensors: dict[str, list[Reading]], asked: SeriesQuestion, groups: Groups) -> list[list[Row]]:
    """Return what the statement of readings in their order would give, those of each sensor by themselves."""
    rows: list[list[Row]] = []

    def row(side: int, placed: Placed) -> Row:
        return side, asked.sensors.index(placed.sensor) + 1, placed.at, placed.value, placed.id

    for sensor in asked.sensors:
        own = [placed for placed in placed_of(sensors) if placed.sensor == sensor]
        rows.append([row(0, placed) for placed in own if asked.start <= placed.at < asked.end])
        rows.append([row(BEFORE, placed) for placed in own if placed.at < asked.start][-1:])
    return [*rows, [row(*found) for found in outside(sensors, asked, groups)]]


def placed_of(sensors: dict[str, list[Reading]]) -> list[Placed]:
    """Return all readings in the order of instant and id."""
    placed: list[Placed] = []
    for sensor, own in sensors.items():
        placed += [Placed(at, len(placed) + number, value, sensor) for number, (at, value) in enumerate(own)]
    return sorted(placed, key=lambda reading: (reading.at, reading.id))


def outside(sensors: dict[str, list[Reading]], asked: SeriesQuestion, groups: Groups) -> list[tuple[int, Placed]]:
    """Return the nearest readings outside of the range that a fill needs, one of each group."""
    found: list[tuple[int, Placed]] = []
    for group in range(len(groups)):
        members = [sensor for sensor, of in zip(asked.sensors, groups.of.tolist(), strict=True) if of == group]
        own = [placed for placed in placed_of(sensors) if placed.sensor in members]
        if asked.fill in {"previous", "linear"}:
            found += [(-1, placed) for placed in own if placed.at < asked.start][-1:]
        if asked.fill == "linear":
            found += [(1, placed) for placed in own if placed.at >= asked.end][:1]
    return found


def rows_of(merge: Merge, asked: SeriesQuestion) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for table in merge.tables(groups_of(asked), asked.zone, asked.fill):
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
@given(series.cases(), st.randoms(use_true_random=False), st.integers(1, 7), st.integers(-60_000, 5000))
def test_merged_partials_are_what_the_reference_makes_of_readings(
    case: tuple[dict[str, list[Reading]], Asked], shuffler: random.Random, many: int, now: int
) -> None:
    sensors, asked = case
    # Percentiles are the database's own.
    names = [name for name in asked.aggregates if name not in series.PERCENTILES]
    asked = replace(asked, aggregates=names, now=asked.end + timedelta(minutes=now))
    if not asked.aggregates:
        return
    put = question(sensors, asked)
    groups = groups_of(put)
    assert put.grid is not None
    merge = Merge(put.grid, len(sensors), put.aggregates, len(groups), put.span)
    if in_order(put, groups):
        parts = readings(sensors, put, groups)
        shuffler.shuffle(parts)
        kinds = ordered(put, groups).kinds
        rows = [row for part in parts for row in part]
    else:
        rows = partials(sensors, put, groups)
        shuffler.shuffle(rows)
        kinds = {"side": Kind.INTEGER, "ordinal": Kind.INTEGER, "grain": Kind.INSTANT, "count": Kind.INTEGER}
        kinds |= dict.fromkeys(partials_of(put.aggregates), Kind.FLOAT)
    for begin in range(0, len(rows), many):
        merge.add(Table.of(kinds, rows[begin : begin + many]))
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
    assert all(is_aggregate(name) for name in series.PERCENTILES)
    assert not any(is_aggregate(name) for name in ["p", "p101", "p100.1", "p-1", "P5", "p5.", "p1e1", "p12.3456789"])
    assert partials_of(["avg"]) == ("sum", "min", "max")
    assert partials_of(["count"]) == ()
    assert partials_of(series.AGGREGATES) == (*GROUPED, *STEPPED)
    assert partials_of(["p9", "last"]) == ("last", "p9")
