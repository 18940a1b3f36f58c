"""Rollups that the repair loop keeps where there is no TimescaleDB, kept as a test wants it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

from services.database.repair.rollups import RollupKeeper, keeping
from services.platform.postgres.errors import DATABASE_FAILURES
from services.platform.runtime.health import Health

from .databases import TestDatabase

__all__ = [
    "AGREE",
    "CLOSE",
    "COLUMNS",
    "DIFFERENT",
    "NOTE",
    "OWN",
    "SENSORS",
    "agree",
    "changing",
    "complete",
    "copied",
    "keep_until",
    "keeper",
    "kept",
    "written",
]

OWN = "set millrace.notes = 'own'"
"""Of a session that notes what it writes, as workers do."""

ALL = "insert into late_ranges (range_start, range_end) values ('0001-01-01Z', '9999-12-31Z')"

# As the worker notes.
NOTE = """
insert into late_ranges (range_start, range_end)
select hour, hour + interval '1 hour' from time_bucket(interval '1 hour', $1::timestamptz) as hour
where hour < (select late_before())
"""

COMPLETE = """
select computed_from = '-infinity' and computed_until > '-infinity' and computed_until = closed_until
  and not exists (select from late_ranges)
from rollup_state
"""

# All that questions would say, beside what is there, in one snapshot. Sums of whole numbers are exact.
AGREE = """
with changed as materialized (select hours_from_rows(tstzrange(null, null)) as ranges from rollup_state),
loose as (
  select count(*) as readings, coalesce(sum(value), 0) as total from sensor_data
  where (select ranges from changed) @> timestamp
)
select
  (select count(*) from sensor_data) as stored,
  (select coalesce(sum(value), 0) from sensor_data) as total,
  (select readings from loose)
    + (select coalesce(sum(samples), 0) from sensor_rollup_1h where not (select ranges from changed) @> bucket)
    as hours,
  (select readings from loose)
    + (select coalesce(sum(count), 0) from sensor_rollup_15m where not (select ranges from changed) @> bucket)
    as quarters,
  (select total from loose)
    + (select coalesce(sum(sum), 0) from sensor_rollup_15m where not (select ranges from changed) @> bucket)
    as summed,
  (select coalesce(sum(samples), 0) from measurement_hourly) as shown
"""


# An hour ends with each round, among those that are written to.
CLOSE = """
update rollup_state set closed_until = greatest(closed_until, '2025-10-22') + interval '3 hours'
where id = (select id from rollup_state where closed_until < '2025-11-05' for update skip locked)
"""
# Every bucket beside what the rows say.
DIFFERENT = """
select count(*) from (
  select date_bin('1 hour', timestamp, '2000-01-03Z'), sensor_id, min(value), max(value), count(*)
  from sensor_data, rollup_state where timestamp < computed_until group by 1, 2
) as truth (bucket, sensor_id, min, max, samples)
full join (select bucket, sensor_id, min, max, samples from sensor_rollup_1h) as hours using (bucket, sensor_id)
where (truth.min, truth.max, truth.samples) is distinct from (hours.min, hours.max, hours.samples)
"""

COLUMNS = ["timestamp", "sensor_id", "value"]
SENSORS = [f"sensor-{number}" for number in range(20)]
"""Enough for both nodes of a Citus cluster to have some."""


@asynccontextmanager
async def changing(owner: Any, database: TestDatabase) -> AsyncIterator[None]:
    """Have a transaction in which a person changes rows; on a Citus cluster he notes that, as docs/citus.md says."""
    async with owner.transaction():
        if database.mode == "citus":
            await owner.execute(ALL)
        yield


@asynccontextmanager
async def keeper(database: TestDatabase) -> AsyncIterator[RollupKeeper]:
    """Lend what the repair loop has; a test asks it for rounds."""
    async with keeping(database.settings, 60) as connection:
        yield RollupKeeper(connection, Health("repair"), 60, spread=database.mode == "citus")


async def complete(owner: Any) -> bool:
    """Tell whether everything that has ended is computed, and nothing is noted."""
    return bool(await owner.fetchval(COMPLETE))


async def kept(database: TestDatabase) -> None:
    """Have rounds until everything is computed."""
    async with keeper(database) as keeping_:
        for _ in range(100):
            await keeping_.round()
            if await complete(keeping_.connection):
                return
    raise AssertionError("the rollups are not computed after 100 rounds")


async def agree(connection: Any) -> None:
    """Hold everything that is shown against the rows, in one snapshot."""
    found = await connection.fetchrow(AGREE)
    assert (found["hours"], found["quarters"], found["shown"]) == (found["stored"],) * 3, found
    assert found["summed"] == found["total"], found


async def written(writer: Any, *times: datetime, value: float = 1.0) -> None:
    """Write a reading of each of `SENSORS` at each time, as a worker does: with notes, in one transaction."""
    async with writer.transaction():
        await copied(writer, *times, value=value)


async def copied(writer: Any, *times: datetime, value: float = 1.0) -> None:
    """Write them in the transaction that is under way."""
    await writer.execute(OWN)
    records = [(time, sensor, value) for time in times for sensor in SENSORS]
    await writer.copy_records_to_table("sensor_data", records=records, columns=COLUMNS)
    for time in times:
        await writer.execute(NOTE, time)


async def keep_until(done: asyncio.Event, database: TestDatabase) -> None:
    """Have rounds, on connections one after the other where servers die, until something is done."""
    while not done.is_set():
        with suppress(*DATABASE_FAILURES):
            async with keeper(database) as one:
                while not done.is_set():
                    one.step = timedelta(hours=7)
                    await one.round()
                    await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)
