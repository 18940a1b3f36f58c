"""Keeping rollups where there is no TimescaleDB: tables of buckets that questions take in place of the rows.

`rollup_state` tells the hours that are computed, from one instant to another, and `late_ranges` those of them whose
rows changed since. A round computes the hours that are noted, then those that have ended, then a piece of the history,
the newest first. Each step is one transaction, which also moves the state or strikes off the notes that were read
before it: so a snapshot sees both or neither, and a step that is cut short has not been.

An hour that has ended is closed first: who writes readings of it from then on notes them. It is computed when everybody
is over who had written to the table by then, and may not have known.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from services.platform.postgres.connections import Connection, Connector
from services.platform.postgres.errors import (
    DATABASE_AWAY,
    DatabaseRefusedError,
    with_deadline,
)
from services.platform.runtime import failpoints
from services.platform.runtime.health import Health
from services.platform.runtime.metrics import refresh_seconds
from services.platform.settings import DatabaseSettings

from ..aggregates.refresh import LOCK_TIMEOUT
from .late_ranges import HOUR, NOTES_A_ROUND, PATIENCE, LateRange, Note, Repaired, merged, promptly

__all__ = ["RollupKeeper", "keeping"]

log = structlog.get_logger(__name__)

FIRST_STEP, LONGEST_STEP = timedelta(hours=6), timedelta(days=32)
QUICK, SLOW = 2.0, 20.0
"""Seconds of a step that is computed; the next one is longer or shorter."""

SETTLING = 10.0
"""Seconds that a round waits for transactions that write, before it leaves ended hours to the next one."""

LEFT_OVER = 100_000
"""Buckets of a forgotten history that a statement deletes."""


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    width: str
    columns: Mapping[str, str]


TABLES = (
    _Table(
        "sensor_rollup_1h",
        "1 hour",
        {"avg": "avg(d.value)", "min": "min(d.value)", "max": "max(d.value)", "samples": "count(*)"},
    ),
    _Table(
        "sensor_rollup_15m",
        "15 minutes",
        {
            "count": "count(*)",
            "sum": "sum(d.value)",
            "min": "min(d.value)",
            "max": "max(d.value)",
            "stddev": "stddev(d.value)",
        },
    ),
)

NOTES = """
-- A range that begins before the year 10 may begin anywhere.
select id,
  case when range_start >= '0010-01-01Z' then least(range_start, '9999-01-01Z') end as range_start,
  least(greatest(range_end, '0010-01-01Z'), '9999-01-01Z') as range_end
from late_ranges order by id limit $1
"""
NOTE = "insert into late_ranges (range_start, range_end) values ($1, $2)"
STRIKE_OFF = "delete from late_ranges where id = any($1::bigint[])"

# As a TRUNCATE does: the rows' table first.
LOCK = "lock table sensor_data in access share mode"

# Another process has the row for as long as it is at a step.
NOTED = """
select greatest(computed_from, $1) as low,
  case when greatest(computed_from, $1) < least(computed_until, $2) then least(computed_until, $2) end as high
from rollup_state for update skip locked
"""
FORGET = """
update rollup_state set computed_from = least(greatest(computed_from, $1), computed_until)
where id = (select id from rollup_state for update skip locked)
"""
CLOSE = """
update rollup_state set closed_until = hour
from (select date_bin('1 hour', now() - interval '1 minute', '2000-01-03Z') as hour) as ended
where id = (select id from rollup_state where closed_until < hour for update skip locked)
"""
CLOSED = "select closed_until from rollup_state where computed_until < closed_until"
BEGIN = """
update rollup_state set computed_from = $1, computed_until = $1
where id = (select id from rollup_state where computed_until = '-infinity' for update skip locked)
"""
ENDED = """
select computed_until as low, least(computed_until + $2::interval, $1) as high
from rollup_state where computed_until > '-infinity' and computed_until < $1 for update skip locked
"""
ADVANCE = "update rollup_state set computed_until = $1"
HISTORY = "select computed_from as high from rollup_state where computed_from > '-infinity' for update skip locked"
RECEDE = "update rollup_state set computed_from = coalesce($1::timestamptz, '-infinity')"

WRITERS = """
select array_agg(virtualtransaction) from pg_locks
where locktype = 'relation' and relation = 'public.sensor_data'::regclass and mode = 'RowExclusiveLock' and granted
  and database = (select oid from pg_database where datname = current_database())
"""
OVER = """
select not exists (
  select from pg_locks
  where locktype = 'relation' and relation = 'public.sensor_data'::regclass and mode = 'RowExclusiveLock'
    and virtualtransaction = any($1::text[])
)
"""

# The index has the sensors first: it is skipped through, for without a sensor it gives no range of time.
SENSORS = """
with recursive found as (
  (select sensor_id from sensor_data order by sensor_id limit 1)
  union all
  select (select d.sensor_id from sensor_data d where d.sensor_id > f.sensor_id order by d.sensor_id limit 1)
  from found f where f.sensor_id is not null
)"""

NEWEST = f"""
-- From where to compute, so that the newest row before $1 is in a step of $2; null where that is before the year 10.
{SENSORS}
select
  case when newest >= '0010-01-01Z'
    then date_bin('1 hour', newest, '2000-01-03Z') + interval '1 hour' - $2::interval end as low,
  newest is not null as found
from (
  select max(latest.timestamp) as newest
  from found
  cross join lateral (
    select d.timestamp from sensor_data d
    where d.sensor_id = found.sensor_id and d.timestamp < $1 order by d.timestamp desc limit 1
  ) latest
) before
"""  # noqa: S608 -- of constants


def _compute(table: _Table) -> str:
    """Return the statement that makes the buckets of `$1 <= bucket < $2`, from the first where $1 is null, right."""
    names = ", ".join(table.columns)
    kept, found, new = (", ".join(f"{row}.{name}" for name in table.columns) for row in ("kept", "c", "excluded"))
    aggregates = ", ".join(f"{term} as {name}" for name, term in table.columns.items())
    return f"""
{SENSORS}, computed as materialized (
  select buckets.*
  from found
  cross join lateral (
    select date_bin('{table.width}', d.timestamp, '2000-01-03Z') as bucket, d.sensor_id, {aggregates}
    from sensor_data d
    where d.sensor_id = found.sensor_id
      and d.timestamp >= coalesce($1::timestamptz, '-infinity') and d.timestamp < $2::timestamptz
    group by 1, 2
  ) buckets
), gone as (
  delete from {table.name} kept
  where kept.bucket >= coalesce($1::timestamptz, '-infinity') and kept.bucket < $2::timestamptz
    and not exists (select from computed c where c.sensor_id = kept.sensor_id and c.bucket = kept.bucket)
)
insert into {table.name} (bucket, sensor_id, {names})
select c.bucket, c.sensor_id, {found} from computed c
-- What is right already is not even locked.
where not exists (
  select from {table.name} kept
  where kept.bucket >= coalesce($1::timestamptz, '-infinity') and kept.bucket < $2::timestamptz
    and kept.sensor_id = c.sensor_id and kept.bucket = c.bucket and ({kept}) is not distinct from ({found})
)
on conflict (sensor_id, bucket) do update set ({names}) = ({new})
"""  # noqa: S608 -- of constants


COMPUTE = {table.name: _compute(table) for table in TABLES}

CLEAR = """
delete from {table} where ctid = any(array(select ctid from {table} where bucket < $1 limit {most}))
"""


@contextlib.asynccontextmanager
async def keeping(settings: DatabaseSettings, longest: float) -> AsyncIterator[Connection]:
    """Lend a connection of the owner for a `RollupKeeper`; a statement may take `longest` seconds.

    Raises:
        DATABASE_AWAY: there is none.
    """
    owner = Connector(
        settings.owner_url,
        settings,
        statement_timeout=int(longest * 1000),
        lock_timeout=LOCK_TIMEOUT,
        jit="off",
        client_min_messages="warning",
        # What it strikes off it has computed.
        **{"millrace.notes": "own"},
    )
    connection = await owner.session()
    try:
        yield connection
    finally:
        connection.terminate()


class _LeftError(Exception):
    """A step is left to the next round; the message is the database's."""


class RollupKeeper:
    """Keeps the rollups of a database that has them, round by round.

    Attributes:
        connection: on which it works.
        step: how much of the time is computed at once.
    """

    def __init__(self, connection: Connection, health: Health, longest: float) -> None:
        """Take a connection as `keeping` lends it, and who hears a beat for each step."""
        self.connection, self._health, self._longest = connection, health, longest
        self.step = FIRST_STEP

    async def round(self) -> Repaired:
        """Compute what is noted, what has ended, and a piece of the history; tell of the notes.

        A step whose rows the database does not give, because it takes too long or somebody has locked them, is left to
        the next round.

        Raises:
            DATABASE_FAILURES: the connection is lost, or the database refuses else; the steps before it stay.
        """
        repaired = await self._noted()
        for step in (self._ended, self._history):
            try:
                while await step():
                    self._health.beat()
            except _LeftError as left:
                log.warning("a range stays for the next round", action="repair", problem=str(left))
        return repaired

    async def _noted(self) -> Repaired:
        found = await promptly(self.connection, self.connection.fetch(NOTES, NOTES_A_ROUND))
        if unbounded := [row for row in found if row["range_start"] is None]:
            await promptly(self.connection, self._forgotten(unbounded))
        ranges = merged(Note(*row) for row in found if row["range_start"] is not None)
        right = 0
        for late in ranges:
            self._health.beat()
            try:
                right += await self._within(self._repaired(late))
            except _LeftError as left:
                where = {"start": late.start.isoformat(), "end": late.end.isoformat()}
                log.warning("a range stays for the next round", action="repair", **where, problem=str(left))
        if right:
            log.info("late ranges refreshed", action="repair", ranges=right, notes=len(found))
        return Repaired(right, len(ranges) - right)

    async def _forgotten(self, notes: Sequence[Any]) -> None:
        """Have all before the end of notes computed anew, as part of the history."""
        async with self.connection.transaction():
            if await self.connection.execute(FORGET, max(note["range_end"] for note in notes)) != "UPDATE 0":
                await self.connection.execute(STRIKE_OFF, [note["id"] for note in notes])

    async def _repaired(self, late: LateRange) -> bool:
        """Compute the newest piece of a range, and note the rest of it; tell whether all of it is right."""
        async with self.connection.transaction():
            await self._lock()
            row = await self.connection.fetchrow(NOTED, late.start, late.end)
            if row is None:
                return False
            rest = False
            if row["high"] is not None:
                start = max(row["low"], row["high"] - self.step)
                await self._computed(start, row["high"])
                if rest := start > row["low"]:
                    await self.connection.execute(NOTE, late.start, start)
            await self.connection.execute(STRIKE_OFF, late.notes)
            failpoints.reach("rollups.before_commit")
        return not rest

    async def _ended(self) -> bool:
        """Close the hours that have ended, and compute a piece of those that were; tell whether there may be more."""
        connection = self.connection
        await promptly(connection, connection.execute(CLOSE))
        closed = await promptly(connection, connection.fetchval(CLOSED))
        if closed is None or not await self._settled():
            return False
        await promptly(connection, connection.execute(BEGIN, closed))
        return await self._within(self._advanced(closed))

    async def _advanced(self, closed: datetime) -> bool:
        """Compute a piece of what was closed and has settled; tell whether there was any."""
        async with self.connection.transaction():
            await self._lock()
            row = await self.connection.fetchrow(ENDED, closed, self.step)
            if row is None:
                return False
            await self._computed(row["low"], row["high"])
            await self.connection.execute(ADVANCE, row["high"])
            failpoints.reach("rollups.before_commit")
        return True

    async def _settled(self) -> bool:
        """Wait for all who have written to the table and have not ended; tell whether they have."""
        connection = self.connection
        writers = await promptly(connection, connection.fetchval(WRITERS))
        until = time.monotonic() + SETTLING
        while writers and not await promptly(connection, connection.fetchval(OVER, writers)):
            if time.monotonic() > until:
                log.info("an ended hour waits for a transaction that writes", action="repair", writers=len(writers))
                return False
            self._health.beat()
            await asyncio.sleep(0.1)
        return True

    async def _history(self) -> bool:
        """Compute a piece of what is before all that is computed; no more of it in a round."""
        if await self._within(self._receded()):
            log.info("the history of the rollups is computed", action="repair")
        return False

    async def _receded(self) -> bool:
        """Compute the newest piece of the history that lacks; tell whether it was the last."""
        async with self.connection.transaction():
            await self._lock()
            row = await self.connection.fetchrow(HISTORY)
            if row is None:
                return False
            low, found = await self.connection.fetchrow(NEWEST, row["high"], self.step)
            if found:
                await self._computed(low, row["high"])
            elif not await self._cleared(row["high"]):
                return False
            await self.connection.execute(RECEDE, low)
            failpoints.reach("rollups.before_commit")
        return low is None

    async def _lock(self) -> None:
        with _left():
            await self.connection.execute(LOCK)

    async def _computed(self, low: datetime | None, high: datetime) -> None:
        """Compute the buckets of a range in the transaction that is under way, and learn how long steps may be."""
        began = time.monotonic()
        try:
            with _left():
                for name, statement in COMPUTE.items():
                    at = time.perf_counter()
                    await self.connection.execute(statement, low, high)
                    refresh_seconds.record(time.perf_counter() - at, {"aggregate": name})
        except _LeftError:
            self.step = max(self.step / 2, HOUR)
            raise
        took = time.monotonic() - began
        if took > SLOW:
            self.step = max(self.step / 2, HOUR)
        elif took < QUICK and (low is None or high - low >= self.step):
            self.step = min(self.step * 2, LONGEST_STEP)

    async def _cleared(self, high: datetime) -> bool:
        """Delete some of the buckets of rows that are gone; tell whether none is left."""
        gone = 0
        for table in TABLES:
            status = await self.connection.execute(CLEAR.format(table=table.name, most=LEFT_OVER), high)
            gone += int(status.split()[-1])
        return not gone

    async def _within(self, step: Coroutine[Any, Any, bool]) -> bool:
        """Return what a transaction comes to, whose connection is dropped where the server falls silent."""
        return await with_deadline(step, len(COMPUTE) * self._longest + PATIENCE, self.connection.terminate)


@contextlib.contextmanager
def _left() -> Iterator[None]:
    """Tell what is refused in the block, as it may pass or others may go on, from all else."""
    try:
        yield
    except DATABASE_AWAY:
        raise
    except DatabaseRefusedError as error:
        raise _LeftError(str(error)) from error
