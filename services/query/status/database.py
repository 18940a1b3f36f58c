"""What the database tells, by the reader's role: aggregates, late ranges, sizes, and the ledger.

Nothing here reads rows of readings: TimescaleDB's catalogs and PostgreSQL's own tell, some of it as estimates.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from services.platform.postgres.capability import Capability, capability
from services.platform.postgres.connections import Connection, Connector
from services.platform.postgres.errors import (
    DATABASE_AWAY,
    DATABASE_FAILURES,
    DatabaseRefusedError,
    StatementCancelledError,
    refused,
    why_away,
    with_deadline,
)
from services.platform.postgres.pool import Pool
from services.platform.settings import DatabaseSettings

from .problems import LONGEST, Part, problem

__all__ = ["DatabaseLook"]

# Where nothing is materialised yet, the watermark lies before all dates; an instant that has not come is infinite.
_AGGREGATES = """
select
  a.user_view_name::text as name,
  case when w.at >= '0001-01-01Z' and w.at < '10000-01-01Z' then w.at end as watermark,
  case when w.at >= '0001-01-01Z' then greatest(0, extract(epoch from now() - w.at))::float8 end as behind,
  case when isfinite(s.last_run_started_at) then s.last_run_started_at end as last_run,
  lower(s.last_run_status) as last_status,
  case when j.scheduled and isfinite(s.next_start) then s.next_start end as next_run,
  extract(epoch from j.schedule_interval)::float8 as schedule_interval
from _timescaledb_catalog.continuous_agg a
left join lateral (
  select _timescaledb_functions.to_timestamp(watermark) as at
  from _timescaledb_catalog.continuous_aggs_watermark
  where mat_hypertable_id = a.mat_hypertable_id
) w on true
left join timescaledb_information.jobs j
  on j.hypertable_schema = a.user_view_schema and j.hypertable_name = a.user_view_name
  and j.proc_name = 'policy_refresh_continuous_aggregate'
left join timescaledb_information.job_stats s using (job_id)
where a.user_view_schema = 'public'
order by 1, j.job_id
"""

# Where there is no TimescaleDB, the tables that the repair loop keeps; no policy runs there.
_KEPT = """
select
  name,
  case when isfinite(computed_until) then computed_until end as watermark,
  case when isfinite(computed_until) then greatest(0, extract(epoch from now() - computed_until))::float8 end as behind,
  null::timestamptz as last_run,
  null::text as last_status,
  null::timestamptz as next_run,
  null::float8 as schedule_interval
from public.rollup_state
cross join unnest(array['sensor_rollup_1h', 'sensor_rollup_15m']) as name
"""

_LATE = """
select
  count(*) as count,
  extract(epoch from now() - min(noted_at) filter (where isfinite(noted_at)))::float8 as oldest_age
from public.late_ranges
"""

# What an aggregate keeps stands in a hypertable of its own, and is told by the aggregate's name.
_HYPERTABLES = """
with found as (
  select
    coalesce(a.user_view_name, h.table_name)::text as name,
    h.schema_name,
    h.table_name,
    coalesce(a.user_view_schema, h.schema_name) as job_schema,
    c.oid::regclass as relation
  from _timescaledb_catalog.hypertable h
  join pg_namespace n on n.nspname = h.schema_name
  join pg_class c on c.relnamespace = n.oid and c.relname = h.table_name
  left join _timescaledb_catalog.continuous_agg a on a.mat_hypertable_id = h.id
  where coalesce(a.user_view_schema, h.schema_name) = 'public'
), chunks as (
  select hypertable_schema, hypertable_name, count(*) as chunks, count(*) filter (where is_compressed) as compressed
  from timescaledb_information.chunks
  group by 1, 2
)
select
  f.name,
  hypertable_approximate_size(f.relation) as bytes,
  coalesce(k.chunks, 0) as chunks,
  coalesce(k.compressed, 0) as columnstore_chunks,
  s.before_compression_total_bytes as bytes_before_compression,
  s.after_compression_total_bytes as bytes_after_compression,
  (
    select min(extract(epoch from (j.config ->> 'drop_after')::interval))::float8
    from timescaledb_information.jobs j
    where j.proc_name = 'policy_retention' and j.scheduled
      and j.hypertable_schema = f.job_schema and j.hypertable_name = f.name
  ) as retention
from found f
left join chunks k on k.hypertable_schema = f.schema_name and k.hypertable_name = f.table_name
left join lateral hypertable_columnstore_stats(f.relation) s on true
order by 1
"""

_PLAIN_TABLES = """
select c.relname::text as name, pg_total_relation_size(c.oid) as bytes, null::bigint as chunks,
  null::bigint as columnstore_chunks, null::bigint as bytes_before_compression,
  null::bigint as bytes_after_compression, null::float8 as retention
from pg_class c
where c.oid = any (array(select to_regclass('public.' || name)::oid from unnest($1::text[]) as name))
order by 1
"""

_ORDINARY = ["sensor_data", "sensors", "sensor_rollup_1h", "sensor_rollup_15m"]

# On all nodes together. Partitions with both ends are what chunks are elsewhere.
_SPREAD_TABLE = """
select 'sensor_data' as name, coalesce(p.bytes, citus_total_relation_size(c.oid::regclass)) as bytes,
  case when c.relkind = 'p' then p.chunks end as chunks,
  null::bigint as columnstore_chunks, null::bigint as bytes_before_compression,
  null::bigint as bytes_after_compression, extract(epoch from public.retention_age())::float8 as retention
from pg_class c
cross join lateral (
  select sum(citus_total_relation_size(part.oid::regclass))::bigint as bytes,
    count(*) filter (where pg_get_expr(part.relpartbound, part.oid) !~ 'MINVALUE|MAXVALUE') as chunks
  from pg_inherits
  join pg_class part on part.oid = inhrelid
  where inhparent = c.oid
) as p
where c.oid = 'public.sensor_data'::regclass
union all
select name, citus_total_relation_size(to_regclass('public.' || name)), null, null, null, null, null
from unnest(array['sensor_rollup_1h', 'sensor_rollup_15m']) as name
where to_regclass('public.' || name) is not null
"""

# A small ledger is counted; of a large one the statistics tell, as of the last time that they were gathered.
_LEDGER = """
select
  case when pg_relation_size(c.oid) < 8388608 then (select count(*) from public.ingest_ledger)
    else coalesce(nullif(pg_stat_get_live_tuples(c.oid), 0), nullif(c.reltuples, -1)::bigint) end as estimated_rows,
  case when pg_relation_size(c.oid) < 8388608 then (select min(committed_at) from public.ingest_ledger)
    else (
      select (histogram_bounds::text::timestamptz[])[1] from pg_stats
      where schemaname = 'public' and tablename = 'ingest_ledger' and attname = 'committed_at'
    ) end as estimated_oldest,
  pg_total_relation_size(c.oid) as bytes
from pg_class c
where c.oid = 'public.ingest_ledger'::regclass
"""


class DatabaseLook:
    """Looks at the database; nothing connects before the first look."""

    def __init__(self, settings: DatabaseSettings, horizon: float) -> None:
        """`horizon` is the ledger's, in hours."""
        connector = Connector(
            settings.reader_url,
            settings,
            statement_timeout=int(LONGEST * 1000),
            default_transaction_read_only="on",
            jit="off",
        )
        # One for each of the two looks.
        self._pool = Pool(connector, 2)
        self._horizon = horizon * 3600

    def close(self) -> None:
        """Drop all connections."""
        self._pool.drop()

    async def fares(self) -> Mapping[str, Part]:
        """Return `database`, `late_ranges` and `aggregates`."""
        return await self._look({"database": _edition, "late_ranges": _late_ranges, "aggregates": _aggregates})

    async def sizes(self) -> Mapping[str, Part | datetime]:
        """Return `tables` and `ledger`, and `sizes_as_of`, the instant of both."""
        now = datetime.now(UTC)

        async def ledger(connection: Connection, _: Capability) -> Part:
            return {**(await connection.fetchrow(_LEDGER)), "horizon": self._horizon}

        return {**await self._look({"tables": _tables, "ledger": ledger}), "sizes_as_of": now}

    async def _look(self, parts: Mapping[str, Callable[[Connection, Capability], Awaitable[Part]]]) -> dict[str, Part]:
        """Return all parts; what one statement ends by is its part's problem, a database that is away all's."""
        found: dict[str, Part] = {}

        async def ask() -> None:
            async with self._pool.answering() as connection:
                async with connection.asking():
                    able = await capability(connection)
                for name, part in parts.items():
                    try:
                        async with connection.asking():
                            found[name] = await part(connection, able)
                    except DATABASE_AWAY:
                        raise
                    except StatementCancelledError:
                        found[name] = problem(f"the database did not answer within {LONGEST:g} s")
                    except DatabaseRefusedError as error:
                        found[name] = problem(refused(error))

        why = ""
        try:
            await with_deadline(ask(), 2 * LONGEST, self._pool.drop)
        except DATABASE_FAILURES as error:
            why = f"the database cannot be asked: {why_away(error)}"
        return {name: found.get(name, problem(why)) for name in parts}


async def _edition(_: Connection, able: Capability) -> Part:
    return {
        "edition": able.edition,
        "postgresql": able.postgresql,
        "timescaledb": able.timescaledb,
        "text": str(able),
        "missing": list(able.missing),
    }


async def _late_ranges(connection: Connection, _: Capability) -> Part:
    return dict(await connection.fetchrow(_LATE))


async def _aggregates(connection: Connection, able: Capability) -> Part:
    if able.edition != "full" and not able.rollups:
        return problem(able.missing[0])
    return [dict(row) for row in await connection.fetch(_KEPT if able.rollups else _AGGREGATES)]


async def _tables(connection: Connection, able: Capability) -> Part:
    whole = {"full": _HYPERTABLES}.get(able.edition) or (_SPREAD_TABLE if able.spread else None)
    rows = await connection.fetch(whole) if whole else []
    rows += await connection.fetch(_PLAIN_TABLES, ["sensors"] if whole else _ORDINARY)
    return [dict(row) for row in rows]
