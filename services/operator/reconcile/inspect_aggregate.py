"""A continuous aggregate as it stands, and what the database makes of the query that is wanted."""

from collections.abc import Sequence

import asyncpg

from ..planning.aggregate_steps import UNFILLED
from ..planning.query import aggregate_query, wanted_columns
from ..planning.state import Definition, RefreshJob, StandingAggregate, StandingColumnstore
from ..specs.intervals import Interval
from ..specs.resources import ContinuousAggregateSpec
from .inspect import COLUMNS, standing_jobs, standing_readers

__all__ = ["inspect_aggregate"]

RELATION = """
select c.oid, pg_has_role(c.relowner, 'usage') as ours, obj_description(c.oid, 'pg_class') = $2 as unfilled
from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relname = $1
"""

# The view of the aggregate's query alone; the one that people see is rewritten.
AGGREGATE = """
select
  v.materialized_only,
  v.compression_enabled,
  v.materialization_hypertable_schema::text as schema,
  v.materialization_hypertable_name::text as hypertable,
  pg_get_viewdef(format('%I.%I', a.direct_view_schema, a.direct_view_name)::regclass) as query
from timescaledb_information.continuous_aggregates v
join _timescaledb_catalog.continuous_agg a
  on a.user_view_schema = v.view_schema and a.user_view_name = v.view_name
where v.view_schema = 'public' and v.view_name = $1
"""

REFRESH = """
select
  job_id,
  schedule_interval::text as schedule,
  scheduled,
  (config ->> 'start_offset')::interval::text as start_offset,
  (config ->> 'end_offset')::interval::text as end_offset
from timescaledb_information.jobs
where hypertable_schema = 'public' and hypertable_name = $1
  and proc_name = 'policy_refresh_continuous_aggregate'
order by job_id
"""

SOURCE = """
select exists (
  select from timescaledb_information.hypertables
  where $2 and hypertable_schema = 'public' and hypertable_name = $1
  union all
  select from timescaledb_information.continuous_aggregates
  where not $2 and view_schema = 'public' and view_name = $1
)
"""

PROBE = "millrace_wanted"


async def inspect_aggregate(
    connection: asyncpg.Connection, spec: ContinuousAggregateSpec
) -> tuple[StandingAggregate, Definition]:
    """Return what has the spec's name in the schema public, and what its query would give.

    Args:
        connection: the owner's, in a transaction, to a database with TimescaleDB's full edition.
        spec: what is wanted.
    """
    definition = await _definition(connection, spec)
    found = await connection.fetchrow(RELATION, spec.name, UNFILLED)
    if found is None:
        return StandingAggregate(), definition
    aggregate = await connection.fetchrow(AGGREGATE, spec.name)
    if aggregate is None:
        return StandingAggregate((), is_aggregate=False), definition
    names = tuple(row[0] for row in await connection.fetch(f"{COLUMNS} order by attnum", found["oid"]))
    jobs = await connection.fetch(REFRESH, spec.name)
    standing = StandingAggregate(
        columns=names,
        ours=found["ours"],
        same_query=await _same_query(connection, spec, definition, names, aggregate["query"]),
        real_time=not aggregate["materialized_only"],
        unfilled=bool(found["unfilled"]),
        columnstore=StandingColumnstore(
            enabled=aggregate["compression_enabled"],
            policies=await standing_jobs(connection, spec.name, "policy_compression"),
        ),
        retention=await standing_jobs(connection, spec.name, "policy_retention"),
        refresh=tuple(map(_refresh_job, jobs)),
        readers=await standing_readers(connection, aggregate["schema"], aggregate["hypertable"]),
    )
    return standing, definition


def _refresh_job(row: asyncpg.Record) -> RefreshJob:
    start, end = (row[name] and Interval.parse(row[name]) for name in ("start_offset", "end_offset"))
    return RefreshJob(row["job_id"], start, end, Interval.parse(row["schedule"]), row["scheduled"])


async def _definition(connection: asyncpg.Connection, spec: ContinuousAggregateSpec) -> Definition:
    if not await connection.fetchval(SOURCE, spec.source.name, spec.source.table is not None):
        return Definition(source_known=False)
    retention = await standing_jobs(connection, spec.source.name, "policy_retention")
    try:
        _, types = await _probe(connection, spec, wanted_columns(spec))
    except asyncpg.PostgresError as error:
        if not isinstance(error, asyncpg.SyntaxOrAccessError | asyncpg.DataError):
            raise
        return Definition(source_retention=retention, problem=str(error))
    return Definition(source_retention=retention, types=types)


async def _same_query(
    connection: asyncpg.Connection,
    spec: ContinuousAggregateSpec,
    definition: Definition,
    names: Sequence[str],
    query: str,
) -> bool:
    """Tell whether `query` is what the spec wants of the columns `names`, both as the database writes them."""
    key = wanted_columns(spec)[: 1 + len(spec.group_by)]
    if not set(key) <= set(names) <= definition.types.keys():
        return False
    return (await _probe(connection, spec, names))[0] == query


async def _probe(
    connection: asyncpg.Connection, spec: ContinuousAggregateSpec, names: Sequence[str]
) -> tuple[str, dict[str, str]]:
    """Return the wanted query as the database writes it, and the types of its columns; nothing of it stays."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.fetch(f"create temporary view {PROBE} as {aggregate_query(spec, names)}")
        oid = await connection.fetchval(f"select 'pg_temp.{PROBE}'::regclass::oid")
        written = await connection.fetchval("select pg_get_viewdef($1::oid)", oid)
        return written, dict(await connection.fetch(COLUMNS, oid))
    finally:
        await transaction.rollback()
