"""Rollups that the repair loop keeps where there is no TimescaleDB, kept as a test wants it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from services.database.repair.rollups import RollupKeeper, keeping
from services.platform.runtime.health import Health

from .databases import TestDatabase

__all__ = ["AGREE", "OWN", "changing", "complete", "keeper", "kept"]

OWN = "set millrace.notes = 'own'"
"""Of a session that notes what it writes, as workers do."""

ALL = "insert into late_ranges (range_start, range_end) values ('0001-01-01Z', '9999-12-31Z')"

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
