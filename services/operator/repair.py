"""Refreshing what late readings touched, so that queries may trust the aggregates there again.

Notes are read first, then every continuous aggregate is refreshed over their ranges, then exactly those notes are
struck off. A refresh commits by itself, so a snapshot that sees no note sees the refreshed aggregates; a note that
came meanwhile stays for the next round. Repeating a refresh is harmless, and so a crash between any two steps is.
"""

import time
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import structlog

from services.platform.health import Health
from services.platform.metrics import refresh_seconds
from services.platform.postgres import DATABASE_AWAY, Capability, answered

from .ranges import LateRange, Note, merged

__all__ = ["Repaired", "repair_once"]

log = structlog.get_logger(__name__)

NOTES_A_ROUND = 50_000

NOTES = "select id, range_start, range_end from late_ranges order by id limit $1"

STRIKE_OFF = "delete from late_ranges where id = any($1::bigint[])"

AGGREGATES = """
-- The aggregates over sensor_data that this role may refresh, those over other aggregates behind these.
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
select format('%I.%I', user_view_schema, user_view_name)
from found
join pg_class c on c.oid = format('%I.%I', user_view_schema, user_view_name)::regclass
where pg_has_role(c.relowner, 'usage')
order by level, mat_hypertable_id
"""

WINDOW = """
-- What to refresh of an aggregate ($1) for a late range [$2, $3): every closed bucket that it touches.
--
-- TimescaleDB refreshes the whole buckets inside a window, so the range is padded: by a bucket behind, by two in
-- front, for then there is always a whole one. The padding costs nothing, as only changed buckets are computed.
-- An open bucket is left to the policy: refreshing it would push the watermark past rows that are still coming. It
-- counts as open for a minute more, as for the policy, so that transactions that noted nothing are over.
-- A window beyond the watermark begins at it, for the refresh moves it past all between. Where nothing is
-- materialised yet (a watermark before all dates), that is everything.
select
  case when known then least($2::timestamptz - 2 * width, watermark) end as start,
  least($3::timestamptz + width, greatest(now() - interval '1 minute', watermark)) as stop
from (
  select
    b.bucket_width::interval as width,
    _timescaledb_functions.to_timestamp(w.watermark) as watermark,
    _timescaledb_functions.to_timestamp(w.watermark) >= '0001-01-01' as known
  from _timescaledb_catalog.continuous_agg a
  join _timescaledb_catalog.continuous_aggs_bucket_function b using (mat_hypertable_id)
  join _timescaledb_catalog.continuous_aggs_watermark w using (mat_hypertable_id)
  where format('%I.%I', a.user_view_schema, a.user_view_name) = $1
) aggregate
"""

# Oldest first: a batch that commits moves the watermark, and must leave nothing uncomputed behind it.
REFRESH = """
call refresh_continuous_aggregate(
  $1::text::regclass, $2::timestamptz, $3::timestamptz, options => '{"refresh_newest_first": false}'
)
"""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a round did: ranges that are right again, and those that still wait."""

    ranges: int
    waiting: int


async def repair_once(
    connection: asyncpg.Connection, capability: Capability, health: Health, patience: float = 5.0
) -> Repaired:
    """Refresh every range noted so far and strike its notes off.

    A range whose refresh the database refuses, because it takes too long or another refresh is at it, keeps its
    notes for the next round; the others go on.

    Args:
        connection: the owner's, outside a transaction; its statement_timeout bounds each refresh.
        capability: of its database; without aggregates the notes are struck off as they are.
        health: hears a beat for each range.
        patience: seconds that reading the notes may take; a server that fell silent would hold it for ever.

    Raises:
        DATABASE_AWAY: the connection is lost; what was not struck off stays.
    """
    found = await answered(connection.fetch(NOTES, NOTES_A_ROUND), patience, connection.terminate)
    notes = [Note(*row) for row in found]
    ranges = merged(notes)
    rows = await connection.fetch(AGGREGATES) if notes and capability.edition == "full" else []
    right = 0
    for late in ranges:
        health.beat()
        if await _refreshed(connection, [row[0] for row in rows], late):
            await connection.execute(STRIKE_OFF, late.notes)
            right += 1
    if right:
        log.info("late ranges refreshed", action="repair", ranges=right, notes=len(notes))
    return Repaired(right, len(ranges) - right)


async def _refreshed(connection: asyncpg.Connection, aggregates: list[str], late: LateRange) -> bool:
    try:
        for aggregate in aggregates:
            if not await _refresh(connection, aggregate, late):
                return False
    except DATABASE_AWAY:
        raise
    except asyncpg.PostgresError as error:
        log.warning(
            "a late range stays for the next round",
            action="repair",
            start=late.start.isoformat(),
            end=late.end.isoformat(),
            problem=str(error),
        )
        return False
    return True


async def _refresh(connection: asyncpg.Connection, aggregate: str, late: LateRange) -> bool:
    window = await connection.fetchrow(WINDOW, aggregate, late.start, late.end)
    # It was dropped meanwhile, or has another name since a rebuild: the next round looks again.
    if window is None:
        return False
    start: datetime | None
    start, stop = window
    if stop <= late.start:
        return True
    began = time.perf_counter()
    await connection.execute(REFRESH, aggregate, start, stop)
    refresh_seconds.record(time.perf_counter() - began, {"aggregate": aggregate})
    return True
