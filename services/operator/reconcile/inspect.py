"""What stands in a database, read from PostgreSQL's catalogs and TimescaleDB's views."""

from typing import Any

import asyncpg

from services.platform.postgres.capability import Capability

from ..planning.quoting import relation
from ..planning.state import Job, Reader, StandingColumnstore, StandingTable
from ..specs.intervals import Interval

__all__ = ["inspect_table", "standing_columnstore", "standing_jobs", "standing_readers"]

# Not regclass: a text with a dot or a quote in it would be read as more than a name.
TABLE = """
select c.oid, pg_has_role(c.relowner, 'usage') as ours
from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relname = $1 and c.relkind = 'r'
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


async def inspect_table(connection: asyncpg.Connection, table: str, capability: Capability) -> StandingTable:
    """Return what stands under the name `table` in the schema public."""
    found = await connection.fetchrow(TABLE, table)
    if found is None:
        return StandingTable()
    columns = dict(await connection.fetch(COLUMNS, found["oid"]))
    dimension = await connection.fetchrow(DIMENSION, table) if capability.edition != "none" else None
    if dimension is None:
        rows = found["ours"] and await connection.fetchval(f"select exists (select from {relation(table)})")  # noqa: S608
        return StandingTable(columns, found["ours"], has_rows=rows)
    return StandingTable(
        columns=columns,
        ours=found["ours"],
        time_column=dimension["column_name"],
        chunk_interval=_interval(dimension["width"]),
        columnstore=await standing_columnstore(connection, table, "public", table),
        retention=await standing_jobs(connection, table, "policy_retention"),
        readers=await standing_readers(connection, "public", table),
    )


async def standing_columnstore(
    connection: asyncpg.Connection, name: str, schema: str, hypertable: str
) -> StandingColumnstore:
    """Return the columnstore of `name`, whose rows are in `schema.hypertable`."""
    settings = await connection.fetchrow(COLUMNSTORE, schema, hypertable)
    order_by = zip(settings["orderby"] or (), settings["orderby_desc"] or (), strict=True) if settings else ()
    return StandingColumnstore(
        enabled=bool(await connection.fetchval(ENABLED, schema, hypertable)),
        segment_by=tuple(settings["segmentby"] or ()) if settings else (),
        order_by=tuple(order_by),
        policies=await standing_jobs(connection, name, "policy_compression"),
    )


async def standing_jobs(connection: asyncpg.Connection, name: str, procedure: str) -> tuple[Job, ...]:
    """Return the policies of `name` that run `procedure`, oldest first."""
    rows = await connection.fetch(JOBS, name, procedure)
    return tuple(Job(row["job_id"], _interval(row["after"]), row["scheduled"]) for row in rows)


async def standing_readers(connection: asyncpg.Connection, schema: str, hypertable: str) -> tuple[Reader, ...]:
    """Return the refresh policies of the continuous aggregates on a hypertable."""
    rows = await connection.fetch(READERS, schema, hypertable)
    return tuple(Reader(row["view_name"], _interval(row["start_offset"])) for row in rows)


def _interval(text: Any) -> Interval | None:
    return None if text is None else Interval.parse(text)
