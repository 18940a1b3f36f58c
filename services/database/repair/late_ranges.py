"""Refreshing what late readings or SQL touched, so that queries may trust the aggregates there again.

Notes are read first, then every continuous aggregate is refreshed over their ranges, then exactly those notes are
struck off. A refresh commits by itself, so a snapshot that sees no note sees the refreshed aggregates; a note that
came meanwhile stays for the next round. Repeating a refresh is harmless, and so a crash between any two steps is.
"""

from collections.abc import Awaitable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog

from services.contract.instants import EPOCH
from services.platform.postgres.capability import Capability
from services.platform.postgres.connections import Connection
from services.platform.postgres.errors import DATABASE_AWAY, DatabaseRefusedError, with_deadline
from services.platform.runtime.foreign_content import pass_over
from services.platform.runtime.health import Health

from ..aggregates.refresh import Aggregate, aggregates, refresh

__all__ = [
    "HOUR",
    "PATIENCE",
    "LateRange",
    "Note",
    "Repaired",
    "merged",
    "promptly",
    "recompute_changed",
    "repair_once",
]

T = TypeVar("T")

log = structlog.get_logger(__name__)

HOUR = timedelta(hours=1)

NOTES_A_ROUND = 50_000

PATIENCE = 30.0
"""Seconds that any statement but a refresh may take; a server that fell silent would hold it for ever."""

NOTES = """
-- Ranges of instants that Python, with an aggregate's padding, does not know are in nobody's notes but by hand.
select id, case when known then range_start end as range_start, case when known then range_end end as range_end
from (
  select *, range_start >= '0010-01-01Z' and range_end <= '9999-01-01Z' as known from late_ranges order by id limit $1
) noted
"""

# No refresh reads what is in the tier: there the aggregates stay behind, and questions read the files.
STRIKE_OFF = """
with struck as (
  delete from late_ranges where id = any($1::bigint[]) returning range_start, range_end
)
insert into tier_stale (range_start, range_end)
select lower(hours), upper(hours)
from (
  select unnest(tiered_ranges(tstzrange(range_start, range_end))) as hours from struck
) as in_tier
on conflict do nothing
"""

CHANGES_A_ROUND = 50
LONGEST_CHANGE = timedelta(days=7)
"""What is recomputed of a changed range at once, so that a range of years holds nothing up."""

WINDOW = """
-- What to refresh of an aggregate ($1) for a range [$2, $3): every closed bucket that it touches.
--
-- TimescaleDB refreshes the whole buckets inside a window, so the range is padded: by a bucket behind, by two in
-- front, for then there is always a whole one. The padding costs nothing, as only changed buckets are computed.
-- An open bucket is left to the policy: refreshing it would push the watermark past rows that are still coming. It
-- counts as open for a minute more, as for the policy, so that transactions that noted nothing are over.
-- A window beyond the watermark begins at it, for the refresh moves it past all between. Where nothing is
-- materialised yet (a watermark before all dates), it begins with what the usual policy refreshes; the history before
-- is a changed range like others, and recomputed piece by piece.
select
  least($2::timestamptz - 2 * width, case when known then watermark else now() - interval '7 days' end) as start,
  least($3::timestamptz + width, greatest(now() - interval '1 minute', watermark)) as stop
from (
  select
    b.bucket_width::interval as width,
    _timescaledb_functions.to_timestamp(w.watermark) as watermark,
    _timescaledb_functions.to_timestamp(w.watermark) >= '0001-01-01' as known
  from _timescaledb_catalog.continuous_agg a
  join _timescaledb_catalog.continuous_aggs_bucket_function b using (mat_hypertable_id)
  join _timescaledb_catalog.continuous_aggs_watermark w using (mat_hypertable_id)
  where a.mat_hypertable_id = $1
) aggregate
"""

CHANGED = """
-- The ranges of an aggregate ($1) that changed behind the windows of its refresh policies, which look after the others
-- within minutes, and as far as there are rows to compute them from. The first year of all is left to queries: Python
-- has no instant before it.
select lower(changed) as start, upper(changed) as stop
from _timescaledb_catalog.continuous_agg a
cross join lateral (
  select tstzrange('0002-01-01 00:00:00+00', coalesce((
    select min(now() - (j.config ->> 'start_offset')::interval)
    from timescaledb_information.jobs j
    where j.proc_name = 'policy_refresh_continuous_aggregate' and j.scheduled
      and (j.hypertable_schema, j.hypertable_name) = (a.user_view_schema, a.user_view_name)
  ), now() - interval '1 minute')) as old
) policies
cross join lateral unnest(
  changed_ranges(a.mat_hypertable_id, old) * chunk_ranges(a.raw_hypertable_id, old)
    - rows_gone(a.raw_hypertable_id, old)
) changed
where a.mat_hypertable_id = $1
order by 1 desc
limit $2
"""


@dataclass(frozen=True, slots=True)
class Note:
    """A row of `late_ranges`: readings came into `start <= timestamp < end` behind an aggregate."""

    id: int
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class LateRange:
    """A half-open range of whole hours, and the ids of the notes inside it."""

    start: datetime
    end: datetime
    notes: tuple[int, ...]


def merged(notes: Iterable[Note]) -> list[LateRange]:
    """Return the hours that `notes` touch as ranges in order of time; no two overlap or meet."""
    spans: list[tuple[datetime, datetime, list[int]]] = []
    for note in sorted(notes, key=lambda note: note.start):
        start, end = _floor(note.start), _ceiling(note.end)
        if spans and start <= spans[-1][1]:
            first, last, ids = spans.pop()
            start, end = first, max(last, end)
        else:
            ids = []
        ids.append(note.id)
        spans.append((start, end, ids))
    return [LateRange(start, end, tuple(ids)) for start, end, ids in spans]


def _floor(time: datetime) -> datetime:
    return time - (time - EPOCH) % HOUR


def _ceiling(time: datetime) -> datetime:
    return time + (EPOCH - time) % HOUR


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a round did: ranges that are right again, and those that still wait."""

    ranges: int
    waiting: int


async def repair_once(
    connection: Connection,
    guard: Connection,
    capability: Capability,
    health: Health,
) -> Repaired:
    """Refresh every range noted so far and strike its notes off.

    A range whose refresh the database refuses, because it takes too long or another refresh is at it, keeps its
    notes for the next round; the others go on.

    Args:
        connection: the owner's, outside a transaction; its statement_timeout bounds each refresh.
        guard: another of the owner's, which holds the chunks that a refresh reads.
        capability: of its database; without aggregates the notes are struck off as they are.
        health: hears a beat for each range.

    Raises:
        DATABASE_AWAY: a connection is lost; what was not struck off stays.
    """
    found = await promptly(connection, connection.fetch(NOTES, NOTES_A_ROUND))
    notes = [Note(*row) for row in found if row["range_start"] is not None]
    if len(notes) < len(found):
        pass_over("late_range", "late_ranges", f"{len(found) - len(notes)} rows reach out of the years 10 to 9998")
    ranges = merged(notes)
    touched: list[Aggregate] = []
    if notes and capability.edition == "full":
        touched = await promptly(connection, aggregates(connection))
    right = 0
    for late in ranges:
        health.beat()
        if await _done(_refresh_all(connection, guard, touched, late), late.start, late.end):
            await promptly(connection, connection.execute(STRIKE_OFF, late.notes))
            right += 1
    if right:
        log.info("late ranges refreshed", action="repair", ranges=right, notes=len(notes))
    return Repaired(right, len(ranges) - right)


async def recompute_changed(connection: Connection, guard: Connection, health: Health) -> int:
    """Refresh what somebody's SQL changed behind the windows of the policies, and return the number of ranges.

    TimescaleDB logs such changes, and nobody else would ever refresh them: rows that were deleted, updated or inserted
    from elsewhere, an aggregate that was made anew. Queries answer these ranges from the rows until then.

    Args:
        connection: the owner's, outside a transaction, to a database with TimescaleDB's full edition.
        guard: another of the owner's, which holds the chunks that a refresh reads.
        health: hears a beat for each range.

    Raises:
        DATABASE_AWAY: a connection is lost; what was not refreshed stays in the log.
    """
    right = 0
    for aggregate in await promptly(connection, aggregates(connection)):
        for start, stop in await promptly(connection, connection.fetch(CHANGED, aggregate.id, CHANGES_A_ROUND)):
            health.beat()
            piece = max(start, stop - LONGEST_CHANGE)
            right += await _done(_refresh(connection, guard, aggregate, piece, stop), piece, stop)
    if right:
        log.info("changed ranges recomputed", action="repair", ranges=right)
    return right


async def promptly(connection: Connection, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` gets on a connection, which is dropped where it takes longer than `PATIENCE`.

    Raises:
        TimeoutError: it took longer.
    """
    return await with_deadline(work, PATIENCE, connection.terminate)


async def _done(refreshing: Awaitable[bool], start: datetime, end: datetime) -> bool:
    try:
        return await refreshing
    except DATABASE_AWAY:
        raise
    except DatabaseRefusedError as error:
        log.warning(
            "a range stays for the next round",
            action="repair",
            start=start.isoformat(),
            end=end.isoformat(),
            problem=str(error),
        )
        return False


async def _refresh_all(connection: Connection, guard: Connection, touched: list[Aggregate], late: LateRange) -> bool:
    for aggregate in touched:
        if not await _refresh(connection, guard, aggregate, late.start, late.end):
            return False
    return True


async def _refresh(
    connection: Connection, guard: Connection, aggregate: Aggregate, start: datetime, end: datetime
) -> bool:
    """Refresh the closed buckets that a range touches; tell whether the aggregate still was there."""
    window = await promptly(connection, connection.fetchrow(WINDOW, aggregate.id, start, end))
    # It was dropped meanwhile, or has another name since a rebuild: the next round looks again.
    if window is None:
        return False
    if window["stop"] > start:
        await refresh(connection, guard, aggregate, (window["start"], window["stop"]))
    return True
