"""What the questions answer, through the whole app, on real databases."""

import json
from datetime import timedelta
from operator import itemgetter
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from services.query.fetch import Fetcher
from services.query.plan import FIRST, LAST, Question, hours, readings
from tests.support import TestDatabase
from tests.support.late import connected
from tests.support.query import EPOCH, asking, insert, owner, query_settings, some_sensor

DEMO = [
    (timedelta(minutes=0), 25.3),
    (timedelta(minutes=1), 26.7),
    (timedelta(minutes=5), 30.7),
    (timedelta(minutes=60), 10.0),
    (timedelta(minutes=66), 12.0),
    (timedelta(minutes=66), 114.0),
]
FEW_READINGS, FEW_HOURS = (plan(Question("", FIRST, LAST)).few for plan in (readings, hours))
STATEMENTS = """
select distinct query from pg_stat_activity
where usename = 'millrace_reader' and datname = current_database() and query like '%from sensor_data%'
"""
HOUR = {"start": "2025-10-22T21:00:00Z", "end": "2025-10-22T22:00:00Z"}


async def answer(client: httpx.AsyncClient, path: str, **parameters: Any) -> Any:
    response = await client.get(path, params={key: value for key, value in parameters.items() if value is not None})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


async def test_the_demo_is_answered_to_the_letter(database: TestDatabase) -> None:
    async with owner(database) as connection:
        await insert(connection, "sensor-1", DEMO)
    async with asking(query_settings(database)) as client:
        readings = await client.get("/get_range?sensor_id=sensor-1&start=2025-10-22T21:00:00Z&end=2025-10-22T21:00:01Z")
        least = await client.get("/min?sensor_id=sensor-1&start=2025-10-22T21:00:00Z&end=2026-10-22T21:00:01Z")
        hours = await client.get("/hourly?sensor_id=sensor-1")
    assert readings.text == (
        '{"data":[{"id":1,"timestamp":"2025-10-22T21:00:00Z","sensor_id":"sensor-1","value":25.3}]}'
    )
    assert json.loads(least.text) == {"min_value": 10.0}
    assert hours.text == (
        '[{"timestamp":"2025-10-22T21:00:00Z","avg":27.566666666666666,"min":25.3,"max":30.7,"samples":3},'
        '{"timestamp":"2025-10-22T22:00:00Z","avg":45.333333333333336,"min":10.0,"max":114.0,"samples":3}]'
    )


async def test_an_unknown_sensor_has_no_data(database: TestDatabase) -> None:
    async with asking(query_settings(database)) as client:
        assert await answer(client, "/get_range", sensor_id="nobody", **HOUR) == {"data": []}
        assert await answer(client, "/get_range", sensor_id="nobody", limit=5, **HOUR) == {"data": []}
        assert await answer(client, "/min", sensor_id="nobody", **HOUR) == {"min_value": None}
        assert await answer(client, "/hourly", sensor_id="nobody") == []


async def test_answers_are_the_same_on_both_sides_of_where_copy_begins(database: TestDatabase) -> None:
    sensor = "it's $1 \\ " + some_sensor()
    async with owner(database) as connection:
        stored = [(timedelta(hours=number), number / 4) for number in range(FEW_HOURS + 1)]
        await insert(connection, sensor, stored, late=True)
    async with asking(query_settings(database)) as client:
        for many in (FEW_READINGS - 1, FEW_READINGS, FEW_READINGS + 1, FEW_HOURS, FEW_HOURS + 1):
            span = {"sensor_id": sensor, "start": EPOCH.isoformat(), "end": (EPOCH + timedelta(hours=many)).isoformat()}
            rows = [(f"{EPOCH + timedelta(hours=number):%Y-%m-%dT%H:%M:%SZ}", number / 4) for number in range(many)]
            found = (await answer(client, "/get_range", **span))["data"]
            assert [(row["timestamp"], row["value"]) for row in found] == rows
            assert await answer(client, "/get_range", limit=many, **span) == {"data": found}
            hours = await answer(client, "/hourly", **span)
            assert [(row["timestamp"], row["min"]) for row in hours] == rows


async def test_sensor_ids_are_data_whatever_they_hold(database: TestDatabase) -> None:
    ids = ["it's", '"quoted"', "back\\slash", "$1", "%s;--", "naïve ☃ 𝄞", "a b\nc", "null"]
    async with owner(database) as connection:
        for value, sensor in enumerate(ids):
            await insert(connection, sensor, [(timedelta(0), value)])
    async with asking(query_settings(database)) as client:
        for value, sensor in enumerate(ids):
            found = await answer(client, "/get_range", sensor_id=sensor, **HOUR)
            assert [(row["sensor_id"], row["value"]) for row in found["data"]] == [(sensor, value)]
            assert await answer(client, "/min", sensor_id=sensor, **HOUR) == {"min_value": value}
            assert len(await answer(client, "/hourly", sensor_id=sensor)) == 1


async def test_ranges_hold_their_start_and_not_their_end(database: TestDatabase) -> None:
    micro = timedelta(microseconds=1)
    rows = [(-micro, 0.0), (timedelta(0), 1.0), (timedelta(hours=1) - micro, 2.0), (timedelta(hours=1), 0.5)]
    async with owner(database) as connection:
        await insert(connection, "sensor-1", rows)
    async with asking(query_settings(database)) as client:
        found = await answer(client, "/get_range", sensor_id="sensor-1", **HOUR)
        assert [(row["timestamp"], row["value"]) for row in found["data"]] == [
            ("2025-10-22T21:00:00Z", 1.0),
            ("2025-10-22T21:59:59.999999Z", 2.0),
        ]
        assert await answer(client, "/min", sensor_id="sensor-1", **HOUR) == {"min_value": 1.0}


async def test_offsets_name_the_same_instants(database: TestDatabase) -> None:
    async with owner(database) as connection:
        await insert(connection, "sensor-1", DEMO)
    async with asking(query_settings(database)) as client:
        elsewhere = {"start": "2025-10-23T02:45:00+05:45", "end": "2025-10-22t14:00:00.5-07:00"}
        assert await answer(client, "/min", sensor_id="sensor-1", **elsewhere) == {"min_value": 25.3}


@pytest.mark.parametrize(("start", "end"), [("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")])
async def test_all_of_time_can_be_asked(database: TestDatabase, start: str, end: str) -> None:
    async with owner(database) as connection:
        await insert(connection, "sensor-1", DEMO)
    async with asking(query_settings(database)) as client:
        found = await answer(client, "/get_range", sensor_id="sensor-1", start=start, end=end)
        assert len(found["data"]) == len(DEMO)
        assert len(await answer(client, "/hourly", sensor_id="sensor-1", start=start, end=end)) == 2


@examples(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(
    lines=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400).map(lambda n: n / 4)), max_size=30),
    limit=st.integers(1, 8),
)
async def test_pages_put_together_are_the_whole_range(
    connection: asyncpg.Connection, client: httpx.AsyncClient, lines: list[tuple[int, float]], limit: int
) -> None:
    sensor = some_sensor()
    await insert(connection, sensor, [(timedelta(minutes=minute), value) for minute, value in lines])
    whole = await answer(client, "/get_range", sensor_id=sensor, **HOUR)
    assert [row["value"] for row in whole["data"]] == [value for _, value in sorted(lines, key=itemgetter(0))]
    assert "next" not in whole
    found: list[dict[str, Any]] = []
    cursor = None
    for _ in range(0, max(1, len(lines)), limit):
        page = await answer(client, "/get_range", sensor_id=sensor, limit=limit, cursor=cursor, **HOUR)
        found += page["data"]
        cursor = page.get("next")
        assert (cursor is None) == (len(found) == len(lines))
    assert found == whole["data"]


async def test_pages_of_any_size_share_a_few_statements(database: TestDatabase) -> None:
    """A connection plans each text anew and keeps a hundred, the server's plans of all chunks among them."""
    sensor = some_sensor()
    async with owner(database) as connection:
        await insert(connection, sensor, [(timedelta(hours=number), 1.0) for number in range(200)])
    settings = query_settings(database)
    one = settings.database.model_copy(update={"pool_size": 1})
    fetcher = Fetcher(settings.model_copy(update={"database": one}))
    question = Question(sensor, FIRST, LAST)
    texts = set()
    async with connected(database, "superuser") as watching:
        for limit in range(1, 151):
            async with fetcher.fetch(readings(question, limit=limit)) as batches:
                assert sum([len(batch) async for batch in batches]) == limit + 1
                texts |= {row["query"] for row in await watching.fetch(STATEMENTS)}
    fetcher.close()
    assert 1 <= len(texts) <= 4
