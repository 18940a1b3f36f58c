"""Moving chunks into the tier: first the files, then one transaction that lists them and drops the chunk.

A crash before it leaves files that are noted as garbage, and the chunk where it was; a crash behind it leaves nothing
to do. What came into the chunk while it was read shows in its mark, which is taken anew under a lock that keeps writers
off; then another round moves it.
"""

import uuid
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import structlog

from services.contract.instants import instant_of
from services.platform.postgres.connections import Connection
from services.platform.runtime import failpoints
from services.platform.tier.storage import Storage

from .export import Chunk, Exported, TierError, export, mark_of

__all__ = ["Moved", "due", "move"]

log = structlog.get_logger(__name__)

SETTLED = timedelta(days=1)
"""The age of a chunk that late readings made where others are in the tier: what comes meanwhile goes with it."""

# The youngest first: to drop a chunk logs a change of the instant behind it too, where a chunk that is still there
# would have to be computed anew.
DUE = """
select format('%I.%I', c.chunk_schema, c.chunk_name) as relation, c.range_start, c.range_end
from timescaledb_information.chunks c
cross join tier_policy p
where c.hypertable_schema = 'public' and c.hypertable_name = 'sensor_data'
  and c.range_end <= now() - p.after and c.range_start >= '1800-01-01Z'
  and (
    c.chunk_creation_time < now() - $1::interval or isempty(tiered_ranges(tstzrange(c.range_start, c.range_end)))
  )
order by c.range_start desc
"""

# What an aggregate has computed stays right when the rows are gone; what it has not would be lost to it for ever.
HINDERED = """
with of_readings as (
  select a.mat_hypertable_id as id, format('%I.%I', a.user_view_schema, a.user_view_name) as name, a.user_view_schema,
    a.user_view_name, _timescaledb_functions.to_timestamp(w.watermark) as watermark
  from _timescaledb_catalog.hypertable h
  join _timescaledb_catalog.continuous_agg a on a.raw_hypertable_id = h.id
  join _timescaledb_catalog.continuous_aggs_watermark w using (mat_hypertable_id)
  where h.schema_name = 'public' and h.table_name = 'sensor_data'
), chunk as (
  select tstzrange($1, $2) as span
)
select
  coalesce((select array_agg(id) from of_readings), '{}') as aggregates,
  (select coalesce(max(number), 0) from deletions) as newest,
  array_remove(array[
    (select 'a deletion is under way' where exists (
      select from deletions where finished_at is null and range_start < $2 and range_end > $1)),
    (select 'late readings wait for a refresh' where exists (
      select from late_ranges where range_start < $2 and range_end > $1)),
    (select 'not computed yet: ' || string_agg(name, ', ') from of_readings, chunk
      where watermark <= $3
        or not isempty(changed_ranges(id, span) - tiered_ranges(span, id))),
    (select 'in the refresh window of ' || string_agg(name, ', ') from of_readings
      join timescaledb_information.jobs j
        on (j.hypertable_schema, j.hypertable_name) = (user_view_schema, user_view_name)
      where j.proc_name = 'policy_refresh_continuous_aggregate' and j.scheduled
        and $2 > now() - coalesce((j.config ->> 'start_offset')::interval, 'infinity'))
  ], null) as reasons
"""

ENTER = """
insert into sensors (sensor_id, first_seen)
select sensor_id, $2
from (select pg_advisory_xact_lock_shared(hashtext('millrace catalogue'))) as not_alone
cross join unnest($1::text[]) as chunk (sensor_id)
where not exists (select from sensors known where known.sensor_id = chunk.sensor_id)
order by sensor_id collate "C"
on conflict (sensor_id) do nothing
"""

BOUNDS = """
insert into tier_sensors as known (sensor_id, first, last, last_id, last_value)
select * from unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::bigint[], $5::double precision[])
on conflict (sensor_id) do update set
  first = least(known.first, excluded.first),
  last = greatest(known.last, excluded.last),
  last_id = case when (excluded.last, excluded.last_id) > (known.last, known.last_id)
    then excluded.last_id else known.last_id end,
  last_value = case when (excluded.last, excluded.last_id) > (known.last, known.last_id)
    then excluded.last_value else known.last_value end
"""

LIST_CHUNK = """
insert into tier_chunks (range_start, range_end, rows, aggregates, deletions)
values ($1, $2, $3, $4, $5) returning chunk_id
"""

LIST_FILE = """
insert into tier_files (chunk_id, path, day, bucket, buckets, first, last, rows, bytes, deletions)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""

NOT_GARBAGE = "delete from tier_garbage where path = any($1::text[])"

DROP = "select drop_chunks('public.sensor_data', older_than => $1::timestamptz, newer_than => $2::timestamptz)"


@dataclass(frozen=True, slots=True)
class Moved:
    """A chunk that is in the tier."""

    chunk: Chunk
    rows: int
    files: int
    bytes: int


async def due(connection: Connection, settled: timedelta = SETTLED) -> list[Chunk]:
    """Return the chunks that are old enough, the youngest first; those made anew only once they are `settled`."""
    return [Chunk(*row) for row in await connection.fetch(DUE, settled)]


async def move(connection: Connection, storage: Storage, chunk: Chunk) -> Moved:
    """Move a chunk into the tier.

    Args:
        connection: the owner's, outside a transaction, of a session that holds the tier's lock.
        storage: where its files go.
        chunk: which one.

    Raises:
        TierError: it cannot go now, and stays as it is.
        STORAGE_FAILURES: the storage is away or refuses; the chunk stays.
        DATABASE_FAILURES: the database is away or refuses; where the last commit was under way, it may have gone.
    """
    last = await connection.fetchval(f"select max(timestamp) from {chunk.relation}")  # noqa: S608 -- it is quoted
    await _hindered(connection, chunk, last)
    exported = await export(connection, storage, chunk, uuid.uuid4().hex)
    try:
        await _listed(connection, chunk, exported)
    except asyncpg.LockNotAvailableError:
        raise TierError("a question or a writer is at it") from None
    failpoints.reach("tier.after_commit")
    moved = Moved(chunk, exported.mark.rows, len(exported.files), sum(file.bytes for file in exported.files))
    log.info(
        "a chunk went to the tier",
        action="tier",
        start=chunk.start.isoformat(),
        end=chunk.end.isoformat(),
        rows=moved.rows,
        files=moved.files,
        bytes=moved.bytes,
    )
    return moved


async def _hindered(connection: Connection, chunk: Chunk, last: object) -> tuple[list[int], int]:
    """Return the aggregates over readings, all of which have computed a chunk, and the newest deletion's number.

    Raises:
        TierError: something has still to be done with its rows.
    """
    row = await connection.fetchrow(HINDERED, chunk.start, chunk.end, last or chunk.start)
    if row["reasons"]:
        raise TierError("; ".join(row["reasons"]))
    return row["aggregates"], row["newest"]


async def _listed(connection: Connection, chunk: Chunk, exported: Exported) -> None:
    """List a chunk's files and drop it, in one transaction.

    Questions lock the chunks that they may read, or the gate, before they have their snapshot: so whoever does not see
    the files listed still has the chunk, and who sees them does not see it.
    """
    async with connection.writing():
        await connection.execute("set local lock_timeout = '2s'")
        # No deletion is taken meanwhile.
        await connection.execute("select pg_advisory_xact_lock_shared(hashtext('millrace deletions'))")
        # Writers wait from here on, questions from the next lock on, which is there at once or not at all.
        await connection.execute(f"lock table {chunk.relation} in share mode")
        if await mark_of(connection, chunk.relation) != exported.mark:
            raise TierError("readings came or went while it was read")
        aggregates, newest = await _hindered(connection, chunk, exported.mark.last)
        if exported.sensors:
            await connection.execute(ENTER, list(exported.sensors), chunk.start)
            bounds = exported.sensors.values()
            await connection.execute(
                BOUNDS,
                list(exported.sensors),
                [instant_of(each.first) for each in bounds],
                [instant_of(each.last) for each in bounds],
                [each.last_id for each in bounds],
                [each.last_value for each in bounds],
            )
        listed = [file.path for file in exported.files]
        status = await connection.execute(NOT_GARBAGE, listed)
        if int(status.split()[-1]) != len(listed):
            raise TierError("its files took longer than MILLRACE_TIER_GRACE, and may have been removed")
        chunk_id = await connection.fetchval(LIST_CHUNK, chunk.start, chunk.end, exported.mark.rows, aggregates, newest)
        await connection.executemany(
            LIST_FILE,
            [
                (chunk_id, f.path, f.day, f.bucket, f.buckets, f.first, f.last, f.rows, f.bytes, newest)
                for f in exported.files
            ],
        )
        await connection.execute(f"lock table tier_gate, {chunk.relation} in access exclusive mode")
        dropped = [row[0] for row in await connection.fetch(DROP, chunk.end, chunk.start)]
        if dropped != [chunk.relation]:
            raise TierError(f"its range has other chunks too: {', '.join(dropped)}")
        await connection.execute("select note_dropped_ranges()")
        failpoints.reach("tier.after_drop")
