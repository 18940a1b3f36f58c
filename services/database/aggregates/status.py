"""How hypertables, continuous aggregates and their policies fare, from the database's own catalogs."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from services.platform.postgres.capability import Capability, capability
from services.platform.settings import DatabaseSettings

from ..schema.apply import connected

__all__ = [
    "AggregateStatus",
    "HypertableStatus",
    "JobStatus",
    "aggregate_status",
    "aggregate_statuses",
    "hypertable_status",
    "job_statuses",
]

# An instant that has not come is infinite or absent, as it pleases TimescaleDB.
JOBS = """
select
  j.proc_name::text as procedure,
  case when isfinite(s.last_run_started_at) then s.last_run_started_at end as last_run,
  case when isfinite(s.next_start) then s.next_start end as next_run,
  extract(epoch from s.last_run_duration)::float8 as last_duration,
  coalesce(s.total_failures, 0) as failures,
  case when s.last_run_status = 'Failed' then coalesce(e.err_message, 'no message; see the server log') end
    as last_error
from timescaledb_information.jobs j
left join timescaledb_information.job_stats s using (job_id)
left join lateral (
  select err_message
  from timescaledb_information.job_errors
  where job_id = j.job_id
  order by start_time desc
  limit 1
) e on true
where j.hypertable_schema = 'public' and j.hypertable_name = $1
order by j.job_id
"""

CHUNKS = """
select count(*) as chunks, count(*) filter (where is_compressed) as compressed
from timescaledb_information.chunks
where hypertable_schema = 'public' and hypertable_name = $1
"""

# Where nothing is materialised yet, the watermark lies before all dates. Late ranges are those of sensor_data, on
# which an aggregate stands at once or through others.
WATERMARK = """
with recursive roots as (
  select mat_hypertable_id, raw_hypertable_id
  from _timescaledb_catalog.continuous_agg
  where user_view_schema = 'public' and user_view_name = $1
  union all
  select a.mat_hypertable_id, a.raw_hypertable_id
  from roots
  join _timescaledb_catalog.continuous_agg a on a.mat_hypertable_id = roots.raw_hypertable_id
)
select
  case when at >= '0001-01-01' then at end as watermark,
  case when exists (
    select from roots
    join _timescaledb_catalog.hypertable h on h.id = roots.raw_hypertable_id
    where h.schema_name = 'public' and h.table_name = 'sensor_data'
  ) then (select count(*) from late_ranges) else 0 end as late_ranges
from (
  select _timescaledb_functions.to_timestamp(w.watermark) as at
  from _timescaledb_catalog.continuous_agg a
  join _timescaledb_catalog.continuous_aggs_watermark w using (mat_hypertable_id)
  where a.user_view_schema = 'public' and a.user_view_name = $1
) watermark
"""

NAMES = """
select view_name::text
from timescaledb_information.continuous_aggregates
where view_schema = 'public'
order by 1
"""

# Where there is no TimescaleDB, the repair loop keeps tables in place of aggregates, all of them together.
KEPT = """
select name, case when isfinite(computed_until) then computed_until end as watermark,
  (select count(*) from late_ranges) as late_ranges
from rollup_state cross join unnest(array['sensor_rollup_1h', 'sensor_rollup_15m']) as name
"""

POLICIES = {
    "policy_refresh_continuous_aggregate": "refresh",
    "policy_compression": "columnstore",
    "policy_retention": "retention",
}


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How a policy's job fares.

    Attributes:
        last_run: when it last began; None before the first time.
        next_run: when it runs next, as far as that is known.
        last_duration: of the last run in seconds.
        last_error: of the last run; None where it went well.
        failures: runs that have failed so far.
    """

    last_run: datetime | None
    next_run: datetime | None
    last_duration: float | None
    last_error: str | None
    failures: int


@dataclass(frozen=True, slots=True)
class HypertableStatus:
    """How a hypertable stands.

    Attributes:
        chunks: how many there are.
        compressed: how many of them are in the columnstore.
        jobs: its policies, by "columnstore" and "retention".
    """

    chunks: int
    compressed: int
    jobs: dict[str, JobStatus]


@dataclass(frozen=True, slots=True)
class AggregateStatus:
    """How far a continuous aggregate is.

    Attributes:
        watermark: up to where it is materialised, at most the end of the newest reading's bucket; None before the
            first refresh.
        late_ranges: notes of late rows below it that wait for a refresh.
        jobs: its policies, by "refresh", "columnstore" and "retention".
    """

    watermark: datetime | None
    late_ranges: int
    jobs: dict[str, JobStatus]


async def job_statuses(connection: asyncpg.Connection, name: str) -> dict[str, JobStatus]:
    """Return how the policies of a hypertable or a continuous aggregate fare, by their kind.

    Args:
        connection: the owner's, for errors are shown to a job's owner alone; the database has TimescaleDB.
        name: of the table or view in the schema public.
    """
    rows = await connection.fetch(JOBS, name)
    return {
        POLICIES[row["procedure"]]: JobStatus(
            row["last_run"], row["next_run"], row["last_duration"], row["last_error"], row["failures"]
        )
        for row in rows
        if row["procedure"] in POLICIES
    }


async def hypertable_status(connection: asyncpg.Connection, name: str) -> HypertableStatus:
    """Return how a hypertable stands; an ordinary table has no chunks and no policies.

    Args:
        connection: the owner's; the database has TimescaleDB.
        name: of the table in the schema public.
    """
    row = await connection.fetchrow(CHUNKS, name)
    return HypertableStatus(row["chunks"], row["compressed"], await job_statuses(connection, name))


async def aggregate_status(connection: asyncpg.Connection, name: str) -> AggregateStatus | None:
    """Return how far a continuous aggregate is, or None where there is none of that name.

    Args:
        connection: the owner's; the database has TimescaleDB's full edition.
        name: of the view in the schema public.
    """
    row = await connection.fetchrow(WATERMARK, name)
    if row is None:
        return None
    jobs = await job_statuses(connection, name)
    return AggregateStatus(row["watermark"], row["late_ranges"], jobs)


async def aggregate_statuses(settings: DatabaseSettings) -> tuple[Capability, dict[str, AggregateStatus]]:
    """Return what the database of `settings.owner_url` can do, and how far its aggregates are, by name.

    Without TimescaleDB these are the tables that the repair loop keeps.

    Raises:
        SchemaError: the database is away or refuses.
    """
    async with connected(settings.owner_url, settings) as connection:
        able = await capability(connection)
        if able.rollups:
            kept = await connection.fetch(KEPT)
            return able, {row["name"]: AggregateStatus(row["watermark"], row["late_ranges"], {}) for row in kept}
        if able.edition != "full":
            return able, {}
        found = {row[0]: await aggregate_status(connection, row[0]) for row in await connection.fetch(NAMES)}
    return able, {name: status for name, status in found.items() if status}
