"""`/hourly` shows what the rows say, at once and after the repair, whoever changed them and by whatever SQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest

from tests.integration.database.test_retention import repaired
from tests.support import TestDatabase
from tests.support.late import connected, filled
from tests.support.patience import eventually
from tests.support.query import asking, query_settings

HOUR = timedelta(hours=1)
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
OLD, RECENT = NOW - timedelta(days=60), NOW - timedelta(days=2)

HISTORY = """
insert into sensor_data (timestamp, sensor_id, value)
select at + sensor * interval '7 minutes', 'sensor-' || sensor, extract(hour from at)
from generate_series($1::timestamptz, $1::timestamptz + interval '12 hours', '20 minutes') at,
  generate_series(1, 3) sensor
"""
TRUTH = """
select date_trunc('hour', timestamp at time zone 'UTC') at time zone 'UTC', min(value), max(value), count(*)
from sensor_data where sensor_id = $1 group by 1 order by 1
"""
WATERMARK = """
select _timescaledb_functions.to_timestamp(watermark)
from _timescaledb_catalog.continuous_aggs_watermark join _timescaledb_catalog.continuous_agg using (mat_hypertable_id)
where user_view_name = 'measurement_hourly'
"""
CHANGES = {
    "delete of a sensor": (
        "delete from sensor_data where sensor_id = 'sensor-1' and timestamp < {at} + interval '5 hours'"
    ),
    "delete of all": "delete from sensor_data where timestamp < {at} + interval '3 hours' and timestamp >= {at}",
    "update of values": "update sensor_data set value = value + 100 where sensor_id = 'sensor-1'",
    "update of times": (
        "update sensor_data set timestamp = timestamp + interval '90 minutes'"
        " where sensor_id = 'sensor-1' and timestamp between {at} and {at} + interval '1 hour'"
    ),
    "insert of a history": (
        "insert into sensor_data (timestamp, sensor_id, value)"
        " select at, 'sensor-1', 7 from generate_series({at} - interval '30 hours', {at}, '10 minutes') at"
    ),
    "insert from another table": (
        "create table other as select timestamp, 'sensor-1'::text as sensor_id, 5.0 as value from sensor_data;"
        "insert into sensor_data (timestamp, sensor_id, value) select * from other"
    ),
    "truncate": "truncate sensor_data",
    "truncate, then a reading where the others were": (
        "truncate sensor_data;"
        "insert into sensor_data (timestamp, sensor_id, value) values ({at} + interval '2 hours', 'sensor-1', 7)"
    ),
    "an aggregate dropped and made anew": (
        "drop materialized view measurement_hourly;"
        "create materialized view measurement_hourly with (timescaledb.continuous) as"
        " select time_bucket(interval '1 hour', timestamp) as bucket, sensor_id, avg(value) as avg, min(value) as min,"
        " max(value) as max, count(*) as samples from sensor_data group by 1, 2 with no data;"
        "grant select on measurement_hourly to millrace_reader"
    ),
    "a chunk's compression, then a delete": (
        "select compress_chunk(c) from show_chunks('sensor_data') c;"
        "delete from sensor_data where sensor_id = 'sensor-1' and timestamp >= {at} + interval '2 hours'"
    ),
}


@pytest.fixture
async def client(timescaledb: TestDatabase) -> AsyncIterator[httpx.AsyncClient]:
    """A query service on two half days of rows whose hours are all materialised."""
    async with connected(timescaledb, "owner") as owner:
        await owner.execute("select remove_continuous_aggregate_policy('measurement_hourly')")
        for start in (OLD, RECENT):
            await owner.execute(HISTORY, start)
        await filled(timescaledb, "measurement_hourly")
        assert await owner.fetchval(WATERMARK) > RECENT
    async with asking(query_settings(timescaledb)) as asked:
        yield asked


async def agrees(client: httpx.AsyncClient, owner: Any, sensor: str) -> None:
    """Hold an answer against the rows."""
    truth = [tuple(row) for row in await owner.fetch(TRUTH, sensor)]
    hours = (await client.get("/hourly", params={"sensor_id": sensor})).json()
    keys = ("min", "max", "samples")
    assert [(datetime.fromisoformat(hour["timestamp"]), *(hour[key] for key in keys)) for hour in hours] == truth


@pytest.mark.parametrize("at", [OLD, RECENT], ids=["old", "recent"])
@pytest.mark.parametrize("change", CHANGES)
async def test_hours_follow_what_sql_changed_at_once_and_after_the_repair(
    timescaledb: TestDatabase, client: httpx.AsyncClient, change: str, at: datetime
) -> None:
    async with connected(timescaledb, "owner") as owner:
        await agrees(client, owner, "sensor-1")
        for statement in CHANGES[change].format(at=f"timestamptz '{at}'").split(";"):
            await owner.execute(statement)
        await agrees(client, owner, "sensor-1")
        await agrees(client, owner, "sensor-2")
        await repaired(timescaledb)
        await agrees(client, owner, "sensor-1")
        await agrees(client, owner, "sensor-2")


NOTED = "select coalesce(range_agg(tstzrange(range_start, range_end)), '{}') @> $1::timestamptz from late_ranges"
LOCK = """
select format('lock table %I.%I in access exclusive mode', h.schema_name, h.table_name)
from _timescaledb_catalog.continuous_agg a
join _timescaledb_catalog.hypertable h on h.id = a.mat_hypertable_id
where a.user_view_name = 'measurement_hourly'
"""


async def test_hours_that_a_refresh_computes_are_noted_until_it_is_over(
    timescaledb: TestDatabase, client: httpx.AsyncClient
) -> None:
    async with connected(timescaledb, "owner") as owner, connected(timescaledb, "owner") as other:
        await owner.execute("update sensor_data set value = value + 100 where timestamp < $1", RECENT)
        assert not await owner.fetchval(NOTED, OLD)
        async with asyncio.TaskGroup() as tasks, other.transaction():
            # The refresh cannot write what it computed.
            await other.execute(await other.fetchval(LOCK))
            repair = tasks.create_task(repaired(timescaledb))
            await eventually(partial(owner.fetchval, NOTED, OLD), 20)
            assert not repair.done()
        assert not await owner.fetchval("select count(*) from late_ranges")
        await agrees(client, owner, "sensor-1")


YEARS = ["4000-06-01 12:00:00 BC", "0001-01-01 00:00:00", "9999-12-31 23:30:00", "12000-06-01 12:00:00", "290000-06-01"]
FIRST, LAST = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"


async def test_rows_of_any_year_hold_up_neither_questions_nor_repair(
    timescaledb: TestDatabase, client: httpx.AsyncClient
) -> None:
    """Ingest takes the years 1 to 9999; SQL takes more, and questions are about those that Millrace knows."""
    whole = {"sensor_id": "sensor-1", "start": FIRST, "end": LAST}
    async with connected(timescaledb, "owner") as owner:
        truth = [tuple(row) for row in await owner.fetch(TRUTH, "sensor-1")]
        for number, year in enumerate(YEARS):
            await owner.execute(
                f"insert into sensor_data (timestamp, sensor_id, value) values ('{year}+00', 'sensor-1', {-number - 1})"
            )
        for _ in range(2):
            for bounds in ({}, {"start": FIRST, "end": LAST}):
                hours = await client.get("/hourly", params={"sensor_id": "sensor-1", **bounds})
                assert hours.status_code == 200, hours.text
                assert [hour["timestamp"] for hour in (hours.json()[0], hours.json()[-1])] == [
                    "0001-01-01T00:00:00Z", "9999-12-31T23:00:00Z"
                ]  # fmt: skip
                assert len(hours.json()) == len(truth) + 2
            assert (await client.get("/min", params=whole)).json() == {"min_value": -3.0}
            for limit in ({}, {"limit": "3"}):
                rows = (await client.get("/get_range", params={**whole, **limit})).json()
                assert rows["data"][0]["timestamp"] == "0001-01-01T00:00:00Z"
                assert limit or rows["data"][-1]["timestamp"] == "9999-12-31T23:30:00Z"
            await repaired(timescaledb)
