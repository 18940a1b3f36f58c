"""Refreshing a continuous aggregate where the rows are that it was computed from, and nowhere else.

A refresh of a range whose rows retention has dropped finds nothing and deletes the buckets of all sensors there. So a
window is cut where rows are gone, and the chunks in it are locked, by a connection of their own, against being dropped
before the refresh has read them: a refresh commits several times and takes no lock from outside.

What a commit of it computed is seen some microseconds before other sessions hear of a chunk that it made, and throw
away the plans that lack it. So the hours that questions answer from the rows are noted, and stay so until it is over.
"""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from services.platform.postgres.connections import Connector
from services.platform.runtime.metrics import refresh_seconds
from services.platform.settings import DatabaseSettings

__all__ = ["LOCK_TIMEOUT", "Aggregate", "aggregates", "refresh", "refreshing"]

LOCK_TIMEOUT = 10_000
"""Milliseconds that a refresh waits for a lock: whoever drops a chunk waits for the guard of the refresh, and the
refresh, if it comes to that chunk later, for him."""

# The aggregates over sensor_data that this role may refresh, those over other aggregates behind these.
AGGREGATES = """
with recursive found as (
  select a.*, 1 as level
  from _timescaledb_catalog.hypertable h
  join _timescaledb_catalog.continuous_agg a on a.raw_hypertable_id = h.id
  where h.schema_name = 'public' and h.table_name = 'sensor_data'
  union all
  select a.*, found.level + 1
  from found
  join _timescaledb_catalog.continuous_agg a on a.raw_hypertable_id = found.mat_hypertable_id
)
select mat_hypertable_id, raw_hypertable_id, format('%I.%I', user_view_schema, user_view_name)
from found
join pg_class c on c.oid = format('%I.%I', user_view_schema, user_view_name)::regclass
where pg_has_role(c.relowner, 'usage')
order by level, mat_hypertable_id
"""

CHUNKS = """
select 'lock table ' || string_agg(format('%I.%I', c.chunk_schema, c.chunk_name), ', ') || ' in access share mode'
from timescaledb_information.chunks c
join _timescaledb_catalog.hypertable h on (h.schema_name, h.table_name) = (c.hypertable_schema, c.hypertable_name)
where h.id = $1 and c.range_start < $3 and c.range_end > coalesce($2::timestamptz, '-infinity')
"""

PIECES = """
with refresh as (select tstzrange(coalesce($3::timestamptz, '-infinity'), $4) as span)
select nullif(lower(piece), '-infinity') as start, upper(piece) as stop
from refresh, unnest(span::tstzmultirange - rows_gone($1, span) - rows_gone($2, span)) piece
order by piece
"""

NOTE = """
insert into late_ranges (range_start, range_end)
select
  date_bin('1 hour', lower(changed), '2000-01-03 00:00:00+00'),
  date_bin('1 hour', upper(changed) + interval '1 hour - 1 microsecond', '2000-01-03 00:00:00+00')
from (
  select tstzrange(coalesce($3::timestamptz, '-infinity'), $4) * tstzrange('0001-01-01Z', '9999-12-31Z') as span
) refresh, unnest(changed_ranges($1, span) * chunk_ranges($2, span)) changed
returning id
"""

STRIKE_OFF = "delete from late_ranges where id = any($1::bigint[])"

# Oldest first: a batch that commits moves the watermark, and must leave nothing uncomputed behind it.
REFRESH = """
call refresh_continuous_aggregate(
  $1::text::regclass, $2::timestamptz, $3::timestamptz, force => $4, options => '{"refresh_newest_first": false}'
)
"""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A continuous aggregate: TimescaleDB's ids of its own and its source's hypertable, and its quoted name."""

    id: int
    source: int
    name: str


async def aggregates(connection: asyncpg.Connection) -> list[Aggregate]:
    """Return the continuous aggregates over `sensor_data` that the owner may refresh, sources before their readers."""
    return [Aggregate(*row) for row in await connection.fetch(AGGREGATES)]


@contextlib.asynccontextmanager
async def refreshing(
    settings: DatabaseSettings, longest: float = 0
) -> AsyncIterator[tuple[asyncpg.Connection, asyncpg.Connection]]:
    """Lend two connections of the owner, the second the guard; a statement may take `longest` seconds, any time for 0.

    Raises:
        DATABASE_AWAY: there are none.
    """
    owner = Connector(
        settings.owner_url,
        settings,
        statement_timeout=int(longest * 1000),
        lock_timeout=LOCK_TIMEOUT,
        # The guard's transaction is idle for as long as a refresh takes.
        idle_in_transaction_session_timeout=0,
        client_min_messages="warning",
    )
    connection = await owner.session()
    try:
        guard = await owner.session()
        try:
            yield connection, guard
        finally:
            guard.terminate()
    finally:
        connection.terminate()


async def refresh(
    connection: asyncpg.Connection,
    guard: asyncpg.Connection,
    aggregate: Aggregate,
    window: tuple[datetime | None, datetime],
    *,
    force: bool = False,
) -> None:
    """Refresh the whole buckets of `aggregate` inside of `window`, but for those whose rows are gone.

    Args:
        connection: the owner's, outside a transaction, with a `lock_timeout`: who wants to drop a chunk waits for the
            guard, and the refresh would wait for him.
        guard: another of the owner's, outside a transaction.
        aggregate: what to refresh.
        window: first instant, None from the beginning, and the first instant after.
        force: compute what has not changed since its last refresh too.

    Raises:
        DatabaseRefusedError: the database refuses, or another refresh is at it.
        DATABASE_AWAY: a connection is lost.
    """
    start, stop = window
    async with guard.transaction():
        lock = await guard.fetchval(CHUNKS, aggregate.source, start, stop)
        if lock:
            await guard.execute(lock)
        for piece in await guard.fetch(PIECES, aggregate.source, aggregate.id, start, stop):
            began = time.perf_counter()
            noted = await connection.fetch(NOTE, aggregate.id, aggregate.source, *piece)
            try:
                await connection.execute(REFRESH, aggregate.name, *piece, force)
            except asyncpg.InvalidParameterValueError:
                # The piece holds no whole bucket.
                continue
            finally:
                # Where the connection is lost they stay, and the next round of repair strikes them off.
                if noted and not connection.is_closed():
                    await connection.execute(STRIKE_OFF, [note["id"] for note in noted])
            refresh_seconds.record(time.perf_counter() - began, {"aggregate": aggregate.name})
