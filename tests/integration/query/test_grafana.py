"""What Grafana's PostgreSQL data source reads as the reader: the views, and the hours as `/hourly` has them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx

from tests.support import TestDatabase, eventually
from tests.support.late import connected
from tests.support.query import EPOCH, insert

HOUR = timedelta(hours=1)
HOURS = "select * from grafana_hourly($1, $2, $3)"


async def hourly(client: httpx.AsyncClient, sensor: str) -> list[dict[str, Any]]:
    answer = await client.get("/hourly", params={"sensor_id": sensor})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


async def by_sql(reader: Any, sensors: list[str], start: datetime, end: datetime) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {sensor: [] for sensor in sensors}
    for row in map(dict, await reader.fetch(HOURS, sensors, start, end)):
        stamp = row.pop("time").isoformat().replace("+00:00", "Z")
        found[row.pop("sensor_id")].append({"timestamp": stamp, **row})
    return found


async def test_hours_by_sql_are_those_of_the_service_at_every_moment_of_a_late_row(
    database: TestDatabase, connection: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    recent = datetime.now(UTC) - EPOCH - timedelta(hours=3)
    ever = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
    sensors = ["sensor-1", "sensor-2"]
    async with connected(database, "reader") as reader:

        async def compare(hours: int) -> None:
            expected = {sensor: await hourly(client, sensor) for sensor in sensors}
            assert await by_sql(reader, sensors, *ever) == expected
            assert sum(map(len, expected.values())) == hours

        for sensor in sensors:
            # Of equal values a sum of floats may leave an average beside them.
            await insert(connection, sensor, [(recent, 0.1)] * 3)
        await compare(2)
        if database.mode == "timescaledb":
            span = f"'{EPOCH + recent - 2 * HOUR}', '{EPOCH + recent + 2 * HOUR}'"
            await connection.execute(f"call refresh_continuous_aggregate('measurement_hourly', {span}, force => true)")
            await compare(2)
        await insert(connection, "sensor-1", [(timedelta(minutes=1), 26.75), (timedelta(minutes=70), 12.0)], late=True)
        await compare(4)
        await connection.execute("delete from sensor_data where value = 12.0")
        await compare(3)
        # Half-open, by the buckets' starts, as the service has it.
        first = EPOCH.replace(minute=0, second=0, microsecond=0)
        inner = await by_sql(reader, sensors, first + timedelta(minutes=1), first + HOUR)
        assert inner == {"sensor-1": [], "sensor-2": []}
        assert len((await by_sql(reader, sensors, first, first + HOUR))["sensor-1"]) == 1


async def test_hours_that_a_refresh_computed_behind_the_snapshot_of_a_question_are_in_its_answer(
    timescaledb: TestDatabase,
) -> None:
    recent = datetime.now(UTC) - EPOCH - timedelta(hours=3)
    # The statement has its snapshot, and waits before the function that it calls is planned.
    waiting = f"""
    select count(*), sum(samples)
    from (select length(pg_advisory_xact_lock_shared(7)::text) offset 0) as w (none)
    cross join lateral ({HOURS.replace("$3", "$3::timestamptz + make_interval(secs => w.none)")}) as h
    """
    async with (
        connected(timescaledb, "reader") as reader,
        connected(timescaledb, "owner") as holding,
        connected(timescaledb, "owner") as owner,
    ):
        await insert(owner, "sensor-1", [(recent, 1.0)])
        async with holding.transaction():
            await holding.execute("select pg_advisory_xact_lock(7)")
            asked = asyncio.create_task(reader.fetchrow(waiting, ["sensor-1"], EPOCH, EPOCH + recent + HOUR))
            await eventually(lambda: owner.fetchval("select 1 from pg_locks where not granted"))
            span = f"'{EPOCH + recent - HOUR}', '{EPOCH + recent + HOUR}'"
            await owner.execute(f"call refresh_continuous_aggregate('measurement_hourly', {span})")
        assert tuple(await asked) == (1, 1)


async def test_the_aggregate_can_be_made_anew_under_what_grafana_reads(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner:
        await owner.execute("drop materialized view measurement_hourly")


async def test_views_have_readings_with_what_their_sensors_are_called(
    database: TestDatabase, connection: asyncpg.Connection
) -> None:
    early, late = timedelta(minutes=1), timedelta(minutes=2)
    await insert(connection, "plain", [(early, 1.0), (late, 2.0), (late, 3.0)])
    await insert(connection, "unknown", [(early, 5.0)])
    await connection.execute("delete from sensors")
    await connection.execute("insert into sensors (sensor_id) values ('plain'), ('silent')")
    await connection.execute(
        "insert into sensors (sensor_id, name, labels) values ('t#1', 'temperature', '{\"site\": \"north\"}')"
    )
    await insert(connection, "t#1", [(early, 7.0)])
    async with connected(database, "reader") as reader:
        newest = await reader.fetch("select time, sensor_id, value from grafana_latest order by sensor_id")
        assert [tuple(row) for row in newest] == [(EPOCH + late, "plain", 3.0), (EPOCH + early, "t#1", 7.0)]
        named = await reader.fetch(
            "select sensor_id, name, labels ->> 'site' as site from grafana_readings order by value"
        )
        assert [tuple(row) for row in named] == [
            *[("plain", None, None)] * 3, ("unknown", None, None), ("t#1", "temperature", "north"),
        ]  # fmt: skip
        there = await reader.fetch("select sensor_id from grafana_sensors where time <= now() order by sensor_id")
        assert [row[0] for row in there] == ["plain", "silent", "t#1"]
