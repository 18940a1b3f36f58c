"""What is done to the tier's files behind the moves: deletions carried out in them, retention, and what nobody needs.

Files never change. One that deletions touch is written anew without their readings, and the old one is garbage: it is
removed after a grace in which every question that may still read it has ended.
"""

import asyncio
import uuid
from typing import Any

import structlog

from services.contract.instants import instant_of, micros_of
from services.platform.postgres.connections import Connection
from services.platform.runtime import failpoints
from services.platform.tier.files import Deleted, Writer, fingerprint, hash_of, read, verified
from services.platform.tier.storage import Storage

from .export import TierError

__all__ = ["collect", "distrust", "expire", "rewrite"]

log = structlog.get_logger(__name__)

_PIECE = 1 << 20

TOUCHED = """
select f.file_id, f.path, f.bucket, f.buckets, f.rows, f.deletions
from tier_files f
where exists (
  select from deletions d where d.number > f.deletions and d.range_start <= f.last and d.range_end > f.first
)
order by f.file_id
"""

LATER = """
select d.number, d.sensor_ids, d.range_start, d.range_end, d.last_id
from deletions d
join tier_files f on d.number > f.deletions and d.range_start <= f.last and d.range_end > f.first
where f.file_id = $1
"""

NEWEST = "select coalesce(max(number), 0) from deletions"

EXPIRED = """
with gone as (
  delete from tier_chunks where range_end <= now() - retention_age() returning chunk_id, range_start, range_end
), files as (
  insert into tier_garbage (path)
  select path from tier_files where chunk_id in (select chunk_id from gone)
  on conflict (path) do update set since = now()
)
delete from tier_stale t using gone g where t.range_start >= g.range_start and t.range_end <= g.range_end
"""

# Chunks expire from the oldest on: whose newest reading was in one has none left.
EXPIRED_SENSORS = """
delete from tier_sensors where last < coalesce((select min(range_start) from tier_chunks), 'infinity')
"""

UNBOUND = """
select t.sensor_id, t.last, t.last_id
from tier_sensors t
where exists (
  select from deletions d
  where t.sensor_id = any (d.sensor_ids) and t.last >= d.range_start and t.last < d.range_end and t.last_id <= d.last_id
)
"""

BEFORE = """
select path, bucket, buckets from tier_files where first <= $1 order by day desc, last desc
"""

BIND = """
update tier_sensors set last = $3, last_id = $4, last_value = $5 where sensor_id = $1 and last_id = $2
"""

# A refresh of what is in the tier finds no rows, and would empty the buckets.
DISTRUSTED = """
with reaching as (
  select c.chunk_id, array_agg(a.mat_hypertable_id) as ids, string_agg(a.user_view_name, ', ') as aggregates
  from tier_chunks c
  join _timescaledb_catalog.continuous_agg a on a.mat_hypertable_id = any (c.aggregates)
  join timescaledb_information.jobs j
    on (j.hypertable_schema, j.hypertable_name) = (a.user_view_schema, a.user_view_name)
  where j.proc_name = 'policy_refresh_continuous_aggregate' and j.scheduled
    and c.range_end > now() - coalesce((j.config ->> 'start_offset')::interval, 'infinity')
  group by 1
)
update tier_chunks c set aggregates = array(select unnest(c.aggregates) except select unnest(r.ids))
from reaching r
where r.chunk_id = c.chunk_id
returning r.aggregates, c.range_start, c.range_end
"""

GARBAGE = "select path from tier_garbage where since < now() - make_interval(secs => $1) order by since limit 1000"


async def rewrite(connection: Connection, storage: Storage) -> int:
    """Write the files anew that deletions touched since; return how many readings left them.

    Raises:
        TierError: what was written is not what is left of a file; it stays as it was.
        STORAGE_FAILURES, DATABASE_FAILURES: as it was, too.
    """
    gone = 0
    for file in await connection.fetch(TOUCHED):
        async with connection.writing("repeatable read"):
            newest = await connection.fetchval(NEWEST)
            found = await connection.fetch(LATER, file["file_id"])
        meant = [deleted for row in found if (deleted := _deleted(row, file["bucket"], file["buckets"])).sensors]
        gone += await _rewritten(connection, storage, file, meant, newest)
    await _bound(connection, storage)
    if gone:
        log.info("deleted readings left the tier's files", action="tier", rows=gone)
    return gone


async def _bound(connection: Connection, storage: Storage) -> None:
    """Find the newest readings of sensors that lost theirs to a deletion; the files are without it by now."""
    for sensor, last, last_id in await connection.fetch(UNBOUND):
        number, day, best = hash_of(sensor), "", None
        for file in await connection.fetch(BEFORE, last):
            if best is not None and file["path"].split("/")[0] != day:
                break
            if number % file["buckets"] != file["bucket"]:
                continue
            found = await asyncio.to_thread(read, storage, file["path"], [sensor])
            if len(found):
                newest = int(found.at[-1]), int(found.id[-1]), float(found.value[-1])
                best, day = max(best or newest, newest), file["path"].split("/")[0]
        if best is None:
            await connection.execute("delete from tier_sensors where sensor_id = $1 and last_id = $2", sensor, last_id)
        else:
            await connection.execute(BIND, sensor, last_id, instant_of(best[0]), *best[1:])


def _deleted(row: Any, bucket: int, buckets: int) -> Deleted:
    """Return a deletion, with those of its sensors alone that are in a bucket."""
    number, sensors, start, end, last_id = row
    own = frozenset(sensor for sensor in sensors if hash_of(sensor) % buckets == bucket)
    return Deleted(number, own, micros_of(start), micros_of(end), last_id)


async def _rewritten(connection: Connection, storage: Storage, file: Any, meant: list[Deleted], newest: int) -> int:
    """Write one file anew where deletions leave less of it; return how many readings left it."""
    left = await asyncio.to_thread(read, storage, file["path"], deleted=meant) if meant else None
    if left is None or len(left) == file["rows"]:
        await connection.execute("update tier_files set deletions = $2 where file_id = $1", file["file_id"], newest)
        return 0
    path = f"{file['path'].rpartition('/')[0]}/{uuid.uuid4().hex}.parquet"
    size = 0
    if len(left):
        await connection.execute("insert into tier_garbage (path) values ($1)", path)
        failpoints.reach("tier.after_intent")

        def written() -> int:
            writer = Writer(storage, path)
            try:
                for begin in range(0, len(left), _PIECE):
                    writer.add(left.taken(slice(begin, begin + _PIECE)))
            finally:
                writer.close()
            return storage.size(path)

        size = await asyncio.to_thread(written)
        failpoints.reach("tier.after_write")
        if await asyncio.to_thread(verified, storage, path) != fingerprint(left):
            raise TierError(f"{path} read back is not what was written")
        failpoints.reach("tier.after_verify")
    async with connection.writing():
        await connection.execute("insert into tier_garbage (path) values ($1)", file["path"])
        if len(left):
            await connection.execute(
                "update tier_files set path = $2, rows = $3, bytes = $4, deletions = $5 where file_id = $1",
                *(file["file_id"], path, len(left), size, newest),
            )
            await connection.execute("delete from tier_garbage where path = $1", path)
        else:
            await connection.execute("delete from tier_files where file_id = $1", file["file_id"])
        failpoints.reach("tier.after_drop")
    failpoints.reach("tier.after_commit")
    return int(file["rows"]) - len(left)


async def expire(connection: Connection) -> None:
    """Let go of the chunks of the tier that a retention policy would have taken; their files are garbage."""
    async with connection.writing():
        await connection.execute(EXPIRED)
        await connection.execute(EXPIRED_SENSORS)


async def distrust(connection: Connection) -> None:
    """Have questions no longer believe aggregates where their refresh policies reach into the tier: files answer."""
    for row in await connection.fetch(DISTRUSTED):
        log.error(
            "a refresh policy reaches into the tier, and would empty buckets there; files answer in their place",
            action="tier",
            aggregates=row["aggregates"],
            start=str(row["range_start"]),
            end=str(row["range_end"]),
        )


async def collect(connection: Connection, storage: Storage, grace: float) -> int:
    """Remove files that have been garbage for longer than `grace` seconds; return how many.

    Raises:
        STORAGE_FAILURES, DATABASE_FAILURES: those that are left stay noted.
    """
    paths = [row[0] for row in await connection.fetch(GARBAGE, grace)]
    for path in paths:
        await asyncio.to_thread(storage.remove, path)
        failpoints.reach("tier.after_removal")
        await connection.execute("delete from tier_garbage where path = $1", path)
    return len(paths)
