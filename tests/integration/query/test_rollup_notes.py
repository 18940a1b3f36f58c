"""What a worker's notes of late readings say of rollups whose watermark is younger than the readings' hour."""

from datetime import UTC, datetime, timedelta

import asyncpg
import httpx

from tests.support import TestDatabase

OLD = datetime(2024, 3, 28, 1, 1, tzinfo=UTC)


async def noted(owner: asyncpg.Connection, *instants: datetime) -> None:
    """Insert readings as a worker does: one transaction, with notes of the hours that are late."""
    async with owner.transaction():
        await owner.executemany(
            "insert into sensor_data (timestamp, sensor_id, value) values ($1, 'a', 2)", [(at,) for at in instants]
        )
        await owner.executemany(
            "insert into late_ranges (range_start, range_end)"
            " select $1, $1::timestamptz + interval '1 hour' where $1 < late_before()",
            [(at.replace(minute=0, second=0, microsecond=0),) for at in instants],
        )


async def counted(client: httpx.AsyncClient, start: datetime, end: datetime) -> int:
    parameters = {"sensor_id": "a", "start": start.isoformat(), "end": end.isoformat(), "agg": "count", "bucket": "6h"}
    answer = await client.get("/series", params=parameters)
    assert answer.status_code == 200, answer.text
    return sum(row["count"] for row in answer.json()["data"])


async def refreshed(database: TestDatabase, owner: asyncpg.Connection, end: datetime) -> None:
    """Compute the quarters of a day up to `end`, so that the watermark is there; plain mode has none."""
    if database.mode == "timescaledb":
        await owner.execute(
            f"call refresh_continuous_aggregate('sensor_rollup_15m', '{end - timedelta(days=1)}', '{end}')"
        )


async def test_a_note_hides_no_younger_reading_from_quarters(
    database: TestDatabase, connection: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    """A transaction notes its late hour; what else it wrote into a quarter that is computed already counts too."""
    now = await connection.fetchval("select date_bin('15 minutes', now(), '2000-01-03Z')")
    young = now - timedelta(minutes=15)
    await connection.execute("insert into sensor_data (timestamp, sensor_id, value) values ($1, 'a', 1)", young)
    await refreshed(database, connection, now)
    assert await counted(client, now - timedelta(hours=6), now) == 1
    await noted(connection, young + timedelta(minutes=1), OLD)
    assert await counted(client, now - timedelta(hours=6), now) == 2


async def test_readings_that_are_all_late_leave_the_rollups_of_today_to_be_asked(
    database: TestDatabase, connection: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    """A watermark beyond the hour in which the notes were made: always, but for an hour's first quarters."""
    now = await connection.fetchval("select now()")
    ahead = now + timedelta(hours=3)
    await connection.execute("insert into sensor_data (timestamp, sensor_id, value) values ($1, 'a', 1)", ahead)
    await refreshed(database, connection, ahead + timedelta(hours=1))
    for late in (OLD, now - timedelta(days=2), now - timedelta(hours=5)):
        await noted(connection, late)
    assert await counted(client, OLD - timedelta(days=1), ahead + timedelta(hours=1)) == 4
