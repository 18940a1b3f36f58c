"""What is observed in a database, by PostgreSQL's catalogs and TimescaleDB's views; and what it makes of a query."""

from collections.abc import Sequence
from typing import Any

import asyncpg

from services.database.partitions.upkeep import is_partitioned
from services.platform.postgres.capability import Capability

from ..planning.aggregate import aggregate_query, desired_columns
from ..planning.observed import (
    Definition,
    Job,
    ObservedAggregate,
    ObservedColumnstore,
    ObservedTable,
    PartitionPolicy,
    Reader,
    RefreshJob,
)
from ..planning.quoting import relation
from ..planning.steps import UNFILLED
from ..specs.intervals import Interval
from ..specs.resources import ContinuousAggregateSpec

__all__ = ["inspect_aggregate", "inspect_table"]

# Not regclass: a text with a dot or a quote in it would be read as more than a name.
TABLE = """
select c.oid, pg_has_role(c.relowner, 'usage') as ours
from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relname = $1 and c.relkind in ('r', 'p')
"""

COLUMNS = """
select attname, format_type(atttypid, null)
from pg_attribute
where attrelid = $1 and attnum > 0 and not attisdropped
"""

DIMENSION = """
select column_name, time_interval::text as width
from timescaledb_information.dimensions
where hypertable_schema = 'public' and hypertable_name = $1 and dimension_number = 1
"""

# The view joins the settings' column names into one text, which could not be taken apart again.
COLUMNSTORE = """
select segmentby, orderby, orderby_desc
from _timescaledb_catalog.compression_settings
where relid = format('%I.%I', $1::text, $2::text)::regclass
"""

ENABLED = """
select compression_enabled
from timescaledb_information.hypertables
where hypertable_schema = $1 and hypertable_name = $2
"""

JOBS = """
select
  job_id,
  case when pg_input_is_valid(age, 'interval') then age::interval::text end as after,
  scheduled
from (
  select *, coalesce(config ->> 'compress_after', config ->> 'drop_after') as age
  from timescaledb_information.jobs
  where hypertable_schema = 'public' and hypertable_name = $1 and proc_name = $2
) job
order by job_id
"""

READERS = """
select a.view_name, (j.config ->> 'start_offset')::interval::text as start_offset
from timescaledb_information.continuous_aggregates a
join timescaledb_information.jobs j
  on j.hypertable_schema = a.view_schema and j.hypertable_name = a.view_name
where a.hypertable_schema = $1 and a.hypertable_name = $2
  and j.proc_name = 'policy_refresh_continuous_aggregate'
order by 1, 2
"""

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

PARTITIONS = "select width::text, drop_after::text from partition_policy"

TIER = "select after::text from tier_policy"

SOURCE = """
select exists (
  select from timescaledb_information.hypertables
  where $2 and hypertable_schema = 'public' and hypertable_name = $1
  union all
  select from timescaledb_information.continuous_aggregates
  where not $2 and view_schema = 'public' and view_name = $1
)
"""

PROBE = "millrace_desired"


async def inspect_table(connection: asyncpg.Connection, table: str, capability: Capability) -> ObservedTable:
    """Return what stands under the name `table` in the schema public."""
    found = await connection.fetchrow(TABLE, table)
    if found is None:
        return ObservedTable()
    columns = dict(await connection.fetch(COLUMNS, found["oid"]))
    if capability.spread and table == "sensor_data" and await is_partitioned(connection):
        width, drop_after = await connection.fetchrow(PARTITIONS)
        policy = PartitionPolicy(Interval.parse(width), _interval(drop_after))
        return ObservedTable(columns, found["ours"], time_column="timestamp", partitions=policy)
    dimension = await connection.fetchrow(DIMENSION, table) if capability.edition != "none" else None
    if dimension is None:
        rows = found["ours"] and await connection.fetchval(f"select exists (select from {relation(table)})")  # noqa: S608
        return ObservedTable(columns, found["ours"], has_rows=rows)
    return ObservedTable(
        columns=columns,
        ours=found["ours"],
        time_column=dimension["column_name"],
        chunk_interval=_interval(dimension["width"]),
        columnstore=await _columnstore(connection, table, "public", table),
        retention=await _jobs(connection, table, "policy_retention"),
        readers=await _readers(connection, "public", table),
        tier=_interval(await connection.fetchval(TIER)) if table == "sensor_data" else None,
    )


async def inspect_aggregate(
    connection: asyncpg.Connection, spec: ContinuousAggregateSpec
) -> tuple[ObservedAggregate, Definition]:
    """Return what has the spec's name in the schema public, and what its query would give.

    Args:
        connection: the owner's, in a transaction, to a database with TimescaleDB's full edition.
        spec: what is desired.
    """
    definition = await _definition(connection, spec)
    found = await connection.fetchrow(RELATION, spec.name, UNFILLED)
    if found is None:
        return ObservedAggregate(), definition
    aggregate = await connection.fetchrow(AGGREGATE, spec.name)
    if aggregate is None:
        return ObservedAggregate((), is_aggregate=False), definition
    names = tuple(row[0] for row in await connection.fetch(f"{COLUMNS} order by attnum", found["oid"]))
    jobs = await connection.fetch(REFRESH, spec.name)
    observed = ObservedAggregate(
        columns=names,
        ours=found["ours"],
        same_query=await _same_query(connection, spec, definition, names, aggregate["query"]),
        real_time=not aggregate["materialized_only"],
        unfilled=bool(found["unfilled"]),
        columnstore=ObservedColumnstore(
            enabled=aggregate["compression_enabled"],
            policies=await _jobs(connection, spec.name, "policy_compression"),
        ),
        retention=await _jobs(connection, spec.name, "policy_retention"),
        refresh=tuple(map(_refresh_job, jobs)),
        readers=await _readers(connection, aggregate["schema"], aggregate["hypertable"]),
    )
    return observed, definition


def _refresh_job(row: asyncpg.Record) -> RefreshJob:
    start, end = (row[name] and Interval.parse(row[name]) for name in ("start_offset", "end_offset"))
    return RefreshJob(row["job_id"], start, end, Interval.parse(row["schedule"]), row["scheduled"])


async def _definition(connection: asyncpg.Connection, spec: ContinuousAggregateSpec) -> Definition:
    """Ask the database for what the spec desires; only what is wrong with the query itself becomes its `problem`."""
    if not await connection.fetchval(SOURCE, spec.source.name, spec.source.table is not None):
        return Definition(source_known=False)
    retention = await _jobs(connection, spec.source.name, "policy_retention")
    tier = _interval(await connection.fetchval(TIER)) if spec.source.table == "sensor_data" else None
    try:
        _, types = await _probe(connection, spec, desired_columns(spec))
    except asyncpg.PostgresError as error:
        if not isinstance(error, asyncpg.SyntaxOrAccessError | asyncpg.DataError):
            raise
        return Definition(source_retention=retention, source_tier=tier, problem=str(error))
    return Definition(source_retention=retention, source_tier=tier, types=types)


async def _same_query(
    connection: asyncpg.Connection,
    spec: ContinuousAggregateSpec,
    definition: Definition,
    names: Sequence[str],
    query: str,
) -> bool:
    """Tell whether `query` is what the spec asks for of the columns `names`, both as the database writes them.

    Two texts that one database wrote compare; what people and other releases write does not. Columns that the spec adds
    are left out: they are no other query.
    """
    key = desired_columns(spec)[: 1 + len(spec.group_by)]
    if not set(key) <= set(names) <= definition.types.keys():
        return False
    return (await _probe(connection, spec, names))[0] == query


async def _probe(
    connection: asyncpg.Connection, spec: ContinuousAggregateSpec, names: Sequence[str]
) -> tuple[str, dict[str, str]]:
    """Return the desired query as the database writes it, and the types of its columns; nothing of it stays."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.fetch(f"create temporary view {PROBE} as {aggregate_query(spec, names)}")
        oid = await connection.fetchval(f"select 'pg_temp.{PROBE}'::regclass::oid")
        written = await connection.fetchval("select pg_get_viewdef($1::oid)", oid)
        return written, dict(await connection.fetch(COLUMNS, oid))
    finally:
        await transaction.rollback()


async def _columnstore(connection: asyncpg.Connection, name: str, schema: str, hypertable: str) -> ObservedColumnstore:
    """Return the columnstore of `name`, whose rows are in `schema.hypertable`."""
    settings = await connection.fetchrow(COLUMNSTORE, schema, hypertable)
    order_by = zip(settings["orderby"] or (), settings["orderby_desc"] or (), strict=True) if settings else ()
    return ObservedColumnstore(
        enabled=bool(await connection.fetchval(ENABLED, schema, hypertable)),
        segment_by=tuple(settings["segmentby"] or ()) if settings else (),
        order_by=tuple(order_by),
        policies=await _jobs(connection, name, "policy_compression"),
    )


async def _jobs(connection: asyncpg.Connection, name: str, procedure: str) -> tuple[Job, ...]:
    """Return the policies of `name` that run `procedure`, oldest first."""
    rows = await connection.fetch(JOBS, name, procedure)
    return tuple(Job(row["job_id"], _interval(row["after"]), row["scheduled"]) for row in rows)


async def _readers(connection: asyncpg.Connection, schema: str, hypertable: str) -> tuple[Reader, ...]:
    """Return the refresh policies of the continuous aggregates on a hypertable."""
    rows = await connection.fetch(READERS, schema, hypertable)
    return tuple(Reader(row["view_name"], _interval(row["start_offset"])) for row in rows)


def _interval(text: Any) -> Interval | None:
    return None if text is None else Interval.parse(text)
