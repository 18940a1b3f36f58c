"""The promise as a whole: at every moment, under writers, policy, repair and SQL by hand, hours and rows agree."""

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from services.database.repair.late_ranges import recompute_changed, repair_once
from services.platform.postgres.capability import capability
from services.platform.runtime.health import Health
from tests.support import TestDatabase
from tests.support.rollups import NOTE

HOUR = timedelta(hours=1)
LONG_AGO = datetime(2025, 10, 22, tzinfo=UTC)

# What queries would count over all hours, beside what is there, in one snapshot.
BOTH = """
with late as materialized (select hours_from_rows(tstzrange('0001-01-01', '9999-12-31')) as ranges)
select
  coalesce((select sum(samples) from measurement_hourly where not (select ranges from late) @> bucket), 0)
    + (select count(*) from sensor_data where (select ranges from late) @> timestamp) as counted,
  (select count(*) from sensor_data) as stored
"""

# Each takes a number of hours, up to 300. TimescaleDB refuses to move rows across the edge of a chunk.
BY_HAND = (
    """
    delete from sensor_data
    where timestamp between '2025-10-22'::timestamptz + $1::float8 * interval '1 hour'
      and '2025-10-22'::timestamptz + ($1::float8 + 20) * interval '1 hour'
    """,
    """
    delete from sensor_data
    where sensor_id = 'sensor-1'
      and timestamp > now() - ($1::float8 / 30) * interval '1 hour' and timestamp < now() - interval '5 minutes'
    """,
    """
    update sensor_data set timestamp = timestamp + interval '1 hour'
    where sensor_id = 'sensor-2' and extract(hour from timestamp at time zone 'UTC') < 22
      and timestamp between '2025-10-22' and '2025-10-22'::timestamptz + $1::float8 * interval '1 hour'
    """,
    """
    insert into sensor_data (timestamp, sensor_id, value)
    select at, 'history', 1
    from generate_series('2025-10-22'::timestamptz + $1::float8 * interval '1 hour', '2025-11-05', '5 hours') at
    """,
)
NOTHING_WAITS = "select isempty(hours_from_rows(tstzrange('0001-01-01', now() - interval '7 days')))"
POLICY = """
call refresh_continuous_aggregate('measurement_hourly', now() - interval '7 days', now() - interval '1 minute')
"""


async def test_hours_and_rows_agree_at_every_moment(timescaledb: TestDatabase) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    owner_url = timescaledb.settings.owner_url.get_secret_value()
    writer_url = timescaledb.settings.writer_url.get_secret_value()
    reader_url = timescaledb.settings.reader_url.get_secret_value()
    urls = [owner_url, owner_url, owner_url, owner_url, writer_url, writer_url, writer_url, reader_url]
    connections = [await asyncpg.connect(url) for url in urls]
    policy, repair, guard, by_hand, *writers, reader = connections
    done = asyncio.Event()
    try:
        background = [
            asyncio.create_task(task)
            for task in (
                _refresh(policy, done),
                _repair(repair, guard, done),
                _change(by_hand, random.Random(seed - 1), done),
                _compare(reader, done),
            )
        ]
        await asyncio.gather(*(_write(writer, random.Random(seed + n)) for n, writer in enumerate(writers)))
        done.set()
        await asyncio.gather(*background)
        counted = await reader.fetchval("select sum(samples) from measurement_hourly")
        assert counted == await reader.fetchval("select count(*) from sensor_data")
    finally:
        for connection in connections:
            connection.terminate()


async def _write(writer: Any, choice: random.Random) -> None:
    for _ in range(150):
        moment = await writer.fetchval("select now()")
        time = choice.choice(
            (
                moment - timedelta(minutes=choice.uniform(0, 55)),
                moment - timedelta(hours=choice.uniform(0, 12)),
                LONG_AGO + timedelta(hours=choice.uniform(0, 300)),
            )
        )
        async with writer.transaction():
            records = [(time, f"sensor-{choice.randrange(5)}", 1.0)]
            columns = ["timestamp", "sensor_id", "value"]
            await writer.copy_records_to_table("sensor_data", records=records, columns=columns)
            await writer.execute(NOTE, time)
            await asyncio.sleep(choice.uniform(0, 0.01))


async def _refresh(policy: Any, done: asyncio.Event) -> None:
    while not done.is_set():
        with suppress(asyncpg.LockNotAvailableError):
            await policy.execute(POLICY)


async def _repair(owner: Any, guard: Any, done: asyncio.Event) -> None:
    """Repair until the writers are done and nothing waits."""
    able, health = await capability(owner), Health("database")
    while True:
        finishing = done.is_set()
        await repair_once(owner, guard, able, health)
        await recompute_changed(owner, guard, health)
        if finishing and await owner.fetchval(NOTHING_WAITS):
            return


async def _change(owner: Any, choice: random.Random, done: asyncio.Event) -> None:
    """Change rows as a person with psql does."""
    while not done.is_set():
        await owner.execute(choice.choice(BY_HAND), choice.uniform(0, 300))
        await asyncio.sleep(choice.uniform(0, 0.02))


async def _compare(reader: Any, done: asyncio.Event) -> None:
    while not done.is_set():
        # As queries ask: the snapshot is there before the plan.
        async with reader.transaction(isolation="repeatable_read"):
            counted, stored = await reader.fetchrow(BOTH)
        assert counted == stored
