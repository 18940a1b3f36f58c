"""Made readings are the same for the same arguments, and a value is the number of its row."""

from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from services.sender.readings import Fleet, make

START = datetime(2026, 1, 1, tzinfo=UTC)
FLEET = Fleet(sensors=3, start=START, step=0.5)


def readings(fleet: Fleet, rows: int, size: int) -> list[dict[str, Any]]:
    return list(chain.from_iterable(orjson.loads(batch.body) for batch in make(fleet, rows, size)))


def test_sensors_take_turns_and_step_together() -> None:
    found = readings(FLEET, 4, 10)
    assert found == [
        {"sensor_id": "sensor-0001", "timestamp": "2026-01-01T00:00:00Z", "value": 0.0},
        {"sensor_id": "sensor-0002", "timestamp": "2026-01-01T00:00:00Z", "value": 1.0},
        {"sensor_id": "sensor-0003", "timestamp": "2026-01-01T00:00:00Z", "value": 2.0},
        {"sensor_id": "sensor-0001", "timestamp": "2026-01-01T00:00:00.500000Z", "value": 3.0},
    ]


@given(st.integers(1, 300), st.integers(1, 50), st.integers(1, 20), st.none() | st.integers(0, 9))
def test_values_number_the_rows_of_all_batches(rows: int, size: int, sensors: int, seed: int | None) -> None:
    fleet = Fleet(sensors, START, 1.0, seed)
    batches = list(make(fleet, rows, size))
    assert [batch.number for batch in batches] == list(range(len(batches)))
    for batch in batches:
        values = [reading["value"] for reading in orjson.loads(batch.body)]
        assert values == list(range(batch.first_row, batch.first_row + batch.rows))
    assert sum(batch.rows for batch in batches) == rows
    assert max(batch.rows for batch in batches) <= size


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_the_same_seed_makes_the_same_readings(seed: int, rows: int) -> None:
    fleet = Fleet(7, START, 1.0, seed)
    assert readings(fleet, rows, 10) == readings(fleet, rows, 10)


def test_a_seed_draws_only_sensors_of_the_fleet() -> None:
    found = {reading["sensor_id"] for reading in readings(Fleet(5, START, 1.0, 42), 500, 100)}
    assert found == {f"sensor-000{number}" for number in range(1, 6)}


def test_the_span_reaches_to_the_last_reading() -> None:
    last = readings(FLEET, 100, 7)[-1]["timestamp"]
    assert datetime.fromisoformat(last) == START + FLEET.span(100) == START + timedelta(seconds=16.5)
