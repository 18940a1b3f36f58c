"""Carrying out deletions: readings that people take back, slice by slice of time.

A slice is one transaction. It deletes the rows, notes their hours as late, so that questions answer these from the
rows until a refresh, and moves `deleted_until` on: so a crash repeats at most a slice, and repeating it finds nothing.

Workers that have not seen a deletion are over when it is taken; those that have leave out what it covers and write
rows with ids above its `last_id`. So what is deleted here was all stored before; on a Citus cluster it begins when all
nodes show that.
"""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from services.contract.instants import MICROSECOND
from services.platform.postgres.capability import Capability
from services.platform.postgres.connections import Connection, Connector
from services.platform.postgres.errors import (
    DATABASE_AWAY,
    DatabaseRefusedError,
    StatementCancelledError,
    with_deadline,
    words_of,
)
from services.platform.runtime import failpoints
from services.platform.runtime.health import Health
from services.platform.runtime.metrics import deletions_waiting, rows_deleted
from services.platform.settings import RepairSettings

from ..aggregates.refresh import LOCK_TIMEOUT
from .loop import Database, Rounds, reconnecting
from .settling import NotShownError, parts_shown

__all__ = ["DeletionLoop", "delete_once"]

log = structlog.get_logger(__name__)

SLICE_ROWS = 50_000
"""Most rows that a transaction deletes, unless one microsecond has more; fewer where that takes too long."""

PATIENCE = 45.0
"""Seconds that a transaction may take: as with the worker's, notes rely on its being below a minute."""

UNFINISHED = "select deletion_id from deletions where finished_at is null order by number"

TAKE = """
select sensor_ids, range_end, deleted_until, last_id
from deletions where deletion_id = $1 and finished_at is null for update skip locked
"""

# One more row than a slice may have is enough to know that it is too long. asyncpg sends the first and the last instant
# that Python has as infinities.
HOURS = """
select time_bucket(interval '1 hour', timestamp) as hour, count(*) as rows
from (
  select timestamp from sensor_data
  where sensor_id = any($1) and id <= $4
    and timestamp >= greatest($2, timestamptz '0001-01-01Z')
    and timestamp < least($3, timestamptz '9999-12-31 23:59:59.999999Z')
  limit $5
) as found
group by 1
"""

DELETE = """
delete from sensor_data
where sensor_id = any($1) and id <= $4
  and timestamp >= greatest($2, timestamptz '0001-01-01Z')
  and timestamp < least($3, timestamptz '9999-12-31 23:59:59.999999Z')
"""

NOTE = """
insert into late_ranges (range_start, range_end)
select lower(hours), upper(hours)
from (
  select unnest(range_agg(tstzrange(hour, hour + interval '1 hour'))) as hours
  from unnest($1::timestamptz[]) as hour
  where hour < (select late_before())
) as touched
"""

PROGRESS = """
update deletions
set
  deleted_until = least($2, timestamptz '9999-12-31 23:59:59.999999Z'),
  rows = rows + $3,
  hours = hours + (select count(*) from unnest($4::timestamptz[]) as hour where hour > last_hour),
  last_hour = greatest(last_hour, (select max(hour) from unnest($4::timestamptz[]) as hour)),
  finished_at = case when $2 >= range_end then clock_timestamp() end,
  problem = null
where deletion_id = $1
returning rows, hours, finished_at
"""

PROBLEM = "update deletions set problem = $2 where deletion_id = $1 and finished_at is null"


class DeletionLoop:
    """Carries deletions out for as long as it runs. Beside repair, so that no refresh holds it up."""

    def __init__(self, settings: RepairSettings, health: Health, database: Database) -> None:
        """Take what waits for the database; it is asked at each new connection."""
        self._settings, self._health, self._database = settings, health, database
        self._waiting: int | None = None
        deletions_waiting.show(lambda: self._waiting)

    async def run(self) -> None:
        """Round after round, until cancelled; a slice that is cut short is repeated."""
        await reconnecting(self._health, "deletions", self._rounds_on_a_connection)

    async def _rounds_on_a_connection(self, rounds: Rounds) -> None:
        database, capability = await self._database()
        owner = Connector(
            database.owner_url,
            database,
            # Sooner than the transaction's, so that the server ends it, and that is told as the reason.
            statement_timeout=int(PATIENCE * 1000 * 2 / 3),
            lock_timeout=LOCK_TIMEOUT,
            # Chunks are left out by values, which a generic plan does not have.
            plan_cache_mode="force_custom_plan",
            client_min_messages="warning",
            **{"millrace.notes": "own"},
        )
        connection = await owner.session()
        try:
            with rounds.connected():
                while True:
                    self._waiting = await delete_once(connection, capability)
                    rounds.done()
                    await asyncio.sleep(self._settings.interval)
        finally:
            connection.terminate()


async def delete_once(connection: Connection, capability: Capability) -> int:
    """Carry out every deletion taken so far; return how many must wait for the next round.

    Args:
        connection: the owner's, outside a transaction; a transaction that takes too long ends it.
        capability: of its database.

    Raises:
        DATABASE_AWAY: the connection is lost; the slices before stay.
    """
    found = await with_deadline(connection.fetch(UNFINISHED), PATIENCE, connection.terminate)
    waiting = 0
    for (deletion_id,) in found:
        try:
            step: timedelta | None = timedelta.max
            most = SLICE_ROWS
            if capability.spread:
                await parts_shown(connection, lambda: None)
            while step:
                try:
                    slice_ = _slice(connection, capability, deletion_id, step, most)
                    step = await with_deadline(slice_, PATIENCE, connection.terminate)
                except StatementCancelledError:
                    # Such as of compressed rows on a slow disk: the same again would never end.
                    if most == 1:
                        raise
                    most = max(1, most // 10)
        except DATABASE_AWAY:
            raise
        except (DatabaseRefusedError, NotShownError) as error:
            waiting += 1
            problem = words_of(error)
            log.warning(
                "a deletion goes on in the next round",
                action="delete",
                deletion_id=str(deletion_id),
                problem=problem,
            )
            await with_deadline(connection.execute(PROBLEM, deletion_id, problem), PATIENCE, connection.terminate)
    return waiting


async def _slice(
    connection: Connection, capability: Capability, deletion_id: uuid.UUID, step: timedelta, most: int
) -> timedelta | None:
    """Delete up to `most` rows from a slice of `step`; return the next step, None where nothing is left to do here."""
    async with connection.transaction():
        deletion = await connection.fetchrow(TAKE, deletion_id)
        if deletion is None:
            return None  # another process is at it, or has finished it
        sensor_ids, end, start, last_id = deletion
        stop, hours = await _fitting(connection, deletion, end if step >= end - start else start + step, most)
        if hours:
            if capability.edition == "full":
                # The slice bounds it: its own rows, and the rest of the columnstore batches that it cuts.
                await connection.execute("set local timescaledb.max_tuples_decompressed_per_dml_transaction = 0")
            if capability.spread:
                # Who has changed rows on one node alone commits there first, and the notes afterwards or never; who has
                # copied, be it nothing, commits in two phases.
                await connection.copy_records_to_table(
                    "sensor_data", records=[], columns=["timestamp", "sensor_id", "value"]
                )
            status = await connection.execute(DELETE, sensor_ids, start, stop, last_id)
            await connection.execute(NOTE, list(hours))
        gone = int(status.split()[-1]) if hours else 0
        failpoints.reach("deletion.before_commit")
        rows, touched, finished_at = await connection.fetchrow(PROGRESS, deletion_id, stop, gone, list(hours))
    rows_deleted.add(gone, {"where": "table"})
    if finished_at:
        log.info("readings deleted", action="delete", deletion_id=str(deletion_id), rows=rows, hours=touched)
        return None
    length: timedelta = stop - start
    return length * 2 if sum(hours.values()) < most // 2 else length


async def _fitting(
    connection: Connection, deletion: Sequence[Any], stop: datetime, most: int
) -> tuple[datetime, dict[datetime, int]]:
    """Bring `stop` nearer until a transaction can take the rows; return it, and how many rows each hour has."""
    sensor_ids, _, start, last_id = deletion
    while True:
        rows = await connection.fetch(HOURS, sensor_ids, start, stop, last_id, most + 1)
        hours = dict(map(tuple, rows))
        if sum(hours.values()) <= most or stop - start <= MICROSECOND:
            return stop, hours
        stop = start + (stop - start) / 2
