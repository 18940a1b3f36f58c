"""Questions become plans without a database."""

from datetime import UTC, datetime, timedelta

import numpy as np

from services.query.keyset import Keyset
from services.query.plan import FIRST, LAST, SQL, Question, hours, least, readings
from services.query.table import Column, Kind, Table

START = datetime(2025, 10, 22, 21, 10, tzinfo=UTC)
QUESTION = Question("sensor-1", START, START + timedelta(hours=2))


def test_every_named_block_is_a_statement_without_its_comments() -> None:
    assert list(SQL) == ["readings", "minimum", "changed", "hours"]
    for statement in SQL.values():
        assert statement.startswith(("select", "with"))
        assert "--" not in statement


def test_a_page_begins_behind_its_key_and_asks_for_one_row_more() -> None:
    plan = readings(QUESTION, Keyset(1_761_167_400_000_001, 7), 10)
    assert plan.arguments == ("sensor-1", START + timedelta(microseconds=1), QUESTION.end, 7)
    assert plan.limit == 11
    assert plan.limited(plan.limit).endswith("limit 11")


def test_without_a_page_all_rows_from_the_start_are_asked_for() -> None:
    plan = readings(QUESTION)
    assert plan.arguments == ("sensor-1", START, QUESTION.end, -(2**63))
    assert plan.limited(plan.limit).endswith("limit all")


def test_hours_are_those_that_start_in_the_range() -> None:
    assert hours(QUESTION).arguments[1:] == (START.replace(hour=22, minute=0), START.replace(hour=0, minute=0, day=23))
    assert hours(Question("sensor-1", FIRST, LAST)).arguments[1:] == (FIRST, LAST)


def test_readings_are_finished_with_their_sensor() -> None:
    rows = Table.of(readings(QUESTION).kinds, [(1, START, 2.5), (2, START, 3.5)])
    finished = readings(QUESTION).finish(rows)
    assert list(finished.columns) == ["id", "timestamp", "sensor_id", "value"]
    assert finished["sensor_id"].texts == ("sensor-1",)
    assert len(finished["sensor_id"].values) == 2


def test_an_average_never_lies_beside_its_extremes() -> None:
    columns = {name: Column(Kind.FLOAT, np.array([at])) for name, at in [("avg", 1.1), ("min", 1.0), ("max", 1.05)]}
    assert hours(QUESTION).finish(Table(columns))["avg"].values.tolist() == [1.05]


def test_the_least_value_is_one_row() -> None:
    plan = least(QUESTION)
    assert (plan.limit, list(plan.kinds.values())) == (1, [Kind.FLOAT])
