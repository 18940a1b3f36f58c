"""Readings that come late, and what queries make of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from services.operator.reconcile.apply import fill_aggregate

from .databases import TestDatabase

__all__ = ["HOUR", "LATE", "connected", "filled", "hourly", "insert", "insert_late", "notes"]

HOUR = timedelta(hours=1)
LATE = datetime(2025, 10, 22, 21, tzinfo=UTC)

# As queries ask: hours that changed from the rows, the others from the aggregate, in one statement.
HOURLY = """
with changed as materialized (select hours_from_rows(tstzrange('0001-01-01', '9999-12-31')) as ranges)
select bucket, samples from measurement_hourly where sensor_id = $1 and not (select ranges from changed) @> bucket
union all
select time_bucket(interval '1 hour', timestamp), count(*) from sensor_data
where sensor_id = $1 and (select ranges from changed) @> timestamp group by 1
order by 1
"""


@asynccontextmanager
async def connected(database: TestDatabase, role: str) -> AsyncIterator[Any]:
    """Connect as "owner", "writer", "reader" or "superuser"."""
    url = (
        database.superuser_url if role == "superuser" else getattr(database.settings, f"{role}_url").get_secret_value()
    )
    # A refresh beside its guard wants one, or waits for ever for who wants to drop or compress a chunk.
    connection = await asyncpg.connect(url, server_settings={"lock_timeout": "60s"})
    try:
        yield connection
    finally:
        await connection.close()


async def filled(database: TestDatabase, name: str) -> None:
    """Fill an aggregate as the operator does."""
    async with connected(database, "owner") as owner, connected(database, "owner") as guard:
        await fill_aggregate(owner, guard, name)


async def insert(connection: Any, *times: datetime, sensor: str = "a") -> None:
    records = [(time, sensor, 1.0) for time in times]
    await connection.copy_records_to_table("sensor_data", records=records, columns=["timestamp", "sensor_id", "value"])


async def insert_late(writer: Any, *times: datetime) -> None:
    """Insert readings as the worker does: with a note for each hour, in one transaction."""
    async with writer.transaction():
        await writer.execute("set local millrace.notes = 'own'")
        await insert(writer, *times)
        hours = sorted({time.replace(minute=0, second=0, microsecond=0) for time in times})
        for hour in hours:
            await writer.execute("insert into late_ranges (range_start, range_end) values ($1, $2)", hour, hour + HOUR)


async def hourly(database: TestDatabase) -> dict[datetime, int]:
    async with connected(database, "reader") as reader:
        return dict(await reader.fetch(HOURLY, "a"))


async def notes(database: TestDatabase) -> int:
    async with connected(database, "reader") as reader:
        count: int = await reader.fetchval("select count(*) from late_ranges")
        return count
