"""Filling the catalogue with sensors whose readings no worker entered there: those of before it, and those of SQL.

A pass walks through the chunks from the oldest to the newest, and in each through the sensors from the last to the
first; a table without chunks is one. A step is one short transaction: it looks at some thousand sensors, by the index
or by what the columnstore knows of its batches, so that hardly any readings are read; adds those that lack; and notes
how far it came. So a crash repeats a step, and repeating it adds nothing. When the first pass is over, another follows
after a day, for what workers of the release before wrote meanwhile, and then one a week, for what comes by SQL.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from services.contract.instants import MICROSECOND
from services.platform.postgres.capability import Capability
from services.platform.postgres.connections import Connection, Connector
from services.platform.postgres.errors import with_deadline
from services.platform.runtime import failpoints
from services.platform.runtime.health import Health
from services.platform.settings import RepairSettings

from ..aggregates.refresh import LOCK_TIMEOUT
from .loop import Database, Rounds, reconnecting

__all__ = ["CatalogueLoop", "Step", "fill_once"]

log = structlog.get_logger(__name__)

SENSORS_A_STEP = 5000

SOON, AGAIN = timedelta(days=1), timedelta(days=7)
"""From the end of the first pass, and of each later one, to the beginning of the next."""

REST = 9
"""So many times as long as a step took is the pause behind it: without, a full load of writes lost half of its rate."""

QUIET = 30.0
"""Seconds between two lines of the log that tell how far a pass is."""

TAKE = """
select
  reached, reached_sensor, added, passes,
  started_at is not null or finished_at is null
    or finished_at < now() - case when passes < 2 then $1::interval else $2::interval end as due
from catalogue_filling for update skip locked
"""

# A chunk that begins before Python's first instant counts as beginning with it.
CHUNKS = """
select greatest(range_start, '0001-01-01Z') as range_start, format('%I.%I', chunk_schema, chunk_name) as relation,
  is_compressed
from timescaledb_information.chunks
where hypertable_schema = 'public' and hypertable_name = 'sensor_data'
  and greatest(range_start, '0001-01-01Z') >= coalesce($1::timestamptz, '-infinity')
order by chunks.range_start
limit 1
"""

# A chunk of the columnstore has a sensor's first instant in the metadata of its batches; elsewhere the index is skipped
# through. Both go backwards, for the index has each sensor's newest reading first.
COMPRESSED = """
select sensor_id, min(timestamp) as first from {relation} where {behind} group by 1 order by 1 desc limit {most}
"""
INDEXED = """
select distinct on (sensor_id) sensor_id, timestamp as first
from {relation} where {behind} order by sensor_id desc, timestamp limit {most}
"""
PLAIN = """
with recursive found as (
  (select sensor_id from {relation} where {behind} order by sensor_id desc limit 1)
  union all
  select (select d.sensor_id from {relation} d where d.sensor_id < f.sensor_id order by d.sensor_id desc limit 1)
  from found f where f.sensor_id is not null
)
select sensor_id, first
from (select sensor_id from found where sensor_id is not null limit {most}) as chosen
cross join lateral (
  select timestamp as first from {relation} d where d.sensor_id = chosen.sensor_id order by timestamp limit 1
) as earliest
"""
# Each node groups what it has; there is no skipping through the indexes of all.
SPREAD = COMPRESSED

# Python has no instants outside of the years 1 to 9999, and a reading of the future was not seen then.
KNOWN = """
select sensor_id, case when first >= '0001-01-02Z' then least(first, now()) else now() end as first
from ({step}) as step
"""

ENTER = """
insert into sensors (sensor_id, first_seen)
select sensor_id, first
from (select pg_advisory_xact_lock_shared(hashtext('millrace catalogue'))) as not_alone
cross join unnest($1::text[], $2::timestamptz[]) as step (sensor_id, first)
where not exists (select from sensors known where known.sensor_id = step.sensor_id)
order by sensor_id collate "C"
on conflict (sensor_id) do nothing
"""

# Workers enter what they meet while the first pass is still on its way to the readings of before.
EARLIER = """
update sensors set first_seen = step.first
from unnest($1::text[], $2::timestamptz[]) as step (sensor_id, first)
where sensors.sensor_id = step.sensor_id and sensors.sensor_id = any(array(
  select sensor_id from sensors join unnest($1::text[], $2::timestamptz[]) as s (sensor_id, first) using (sensor_id)
  where first_seen > first order by sensor_id collate "C" for no key update of sensors
))
"""

PROGRESS = """
update catalogue_filling
set started_at = coalesce(started_at, now()), reached = $1, reached_sensor = $2, added = added + $3
"""
FINISH = """
update catalogue_filling
set started_at = null, reached = null, reached_sensor = null, passes = passes + 1, finished_at = now()
"""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did.

    Attributes:
        more: whether another may follow at once.
        added: sensors that it added.
        total: sensors that were added by all.
        reached: the beginning of the chunk that it looked at; None where there are none.
        finished: whether it was a pass's last.
    """

    more: bool
    added: int = 0
    total: int = 0
    reached: datetime | None = None
    finished: bool = False


class CatalogueLoop:
    """Fills the catalogue for as long as it runs. Beside repair, so that neither holds the other up."""

    def __init__(self, settings: RepairSettings, health: Health, database: Database) -> None:
        """Take what waits for the database; it is asked at each new connection."""
        self._settings, self._health, self._database = settings, health, database

    async def run(self) -> None:
        """Step after step, until cancelled; one that is cut short is repeated."""
        await reconnecting(self._health, "catalogue", self._rounds_on_a_connection)

    async def _rounds_on_a_connection(self, rounds: Rounds) -> None:
        database, capability = await self._database()
        patience = self._settings.refresh_timeout
        owner = Connector(
            database.owner_url,
            database,
            statement_timeout=int(patience * 1000),
            lock_timeout=LOCK_TIMEOUT,
            # It has time; what else goes on has not.
            max_parallel_workers_per_gather=0,
            client_min_messages="warning",
        )
        connection = await owner.session()
        told = time.monotonic()
        try:
            with rounds.connected():
                while True:
                    began = time.monotonic()
                    step = await with_deadline(fill_once(connection, capability), patience + 10, connection.terminate)
                    rounds.done()
                    now = time.monotonic()
                    if step.finished:
                        log.info("the catalogue is filled", action="fill_catalogue", added=step.total)
                    elif step.more and now - told > QUIET:
                        told = now
                        reached = str(step.reached)
                        log.info("filling the catalogue", action="fill_catalogue", added=step.total, reached=reached)
                    await asyncio.sleep(REST * (now - began) if step.more else self._settings.interval)
        finally:
            connection.terminate()


async def fill_once(connection: Connection, capability: Capability, most: int = SENSORS_A_STEP) -> Step:
    """Take one step of the pass that is under way, or begin one where it is time.

    Args:
        connection: the owner's, outside a transaction.
        capability: of its database.
        most: sensors that a step looks at.

    Raises:
        DATABASE_FAILURES: the step is not taken; those before stay.
    """
    async with connection.transaction():
        at = await connection.fetchrow(TAKE, SOON, AGAIN)
        if at is None or not at["due"]:
            return Step(more=False)
        chunk = await _chunk(connection, capability, at["reached"])
        if chunk is None:
            await connection.execute(FINISH)
            return Step(more=False, total=at["added"], finished=True)
        start, statement = chunk
        same = start == at["reached"]
        behind = "sensor_id < $1" if same and at["reached_sensor"] is not None else "$1::text is null"
        found = await _sensors(connection, statement, behind, at["reached_sensor"] if same else None, most)
        added = 0
        if found:
            ids, firsts = map(list, zip(*found, strict=True))
            added = int((await connection.execute(ENTER, ids, firsts)).split()[-1])
            if not at["passes"]:
                await connection.execute(EARLIER, ids, firsts)
        failpoints.reach("catalogue.before_commit")
        if len(found) == most:
            await connection.execute(PROGRESS, start, found[-1][0], added)
        else:
            await connection.execute(PROGRESS, start + MICROSECOND if start else None, None, added)
            if start is None:
                await connection.execute(FINISH)
                return Step(more=False, added=added, total=at["added"] + added, finished=True)
    return Step(more=True, added=added, total=at["added"] + added, reached=start)


async def _chunk(
    connection: Connection, capability: Capability, reached: datetime | None
) -> tuple[datetime | None, str] | None:
    """Return where the next chunk begins, and the statement that finds its sensors; None behind the last.

    A table without chunks begins nowhere.
    """
    if capability.edition != "full":
        return None, (SPREAD if capability.spread else PLAIN).replace("{relation}", "sensor_data")
    row = await connection.fetchrow(CHUNKS, reached)
    if row is None:
        return None
    statement = COMPRESSED if row["is_compressed"] else INDEXED
    return row["range_start"], statement.replace("{relation}", row["relation"])


async def _sensors(
    connection: Connection, statement: str, behind: str, sensor: str | None, most: int
) -> list[tuple[str, datetime]]:
    """Return the next sensors, from the last to the first, and the first instant of each that is known."""
    step = KNOWN.replace("{step}", statement.replace("{behind}", behind).replace("{most}", str(most)))
    rows: list[Any] = await connection.fetch(step, sensor)
    return [(row["sensor_id"], row["first"]) for row in rows]
