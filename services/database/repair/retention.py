"""Watching over what retention takes: by a policy, a resource or somebody's SQL."""

import structlog

from services.platform.postgres.connections import Connection
from services.platform.runtime.metrics import retention_stopped

__all__ = ["watch_retention"]

log = structlog.get_logger(__name__)

NOTE = "select hypertable, range_start, range_end, gone from note_dropped_ranges()"

# A refresh of what retention has dropped finds no rows and deletes the buckets. The operator refuses such resources;
# what stands here was made by SQL.
DANGEROUS = """
select distinct on (r.job_id)
  r.job_id, r.hypertable_name as relation, r.config ->> 'drop_after' as drop_after, a.view_name as aggregate,
  coalesce(c.config ->> 'start_offset', 'all of it') as start_offset
from timescaledb_information.jobs r
join timescaledb_information.continuous_aggregates a
  on (a.hypertable_schema, a.hypertable_name) = (r.hypertable_schema, r.hypertable_name)
join timescaledb_information.jobs c
  on (c.hypertable_schema, c.hypertable_name) = (a.view_schema, a.view_name)
where r.proc_name = 'policy_retention' and r.scheduled and pg_has_role(r.owner, 'usage')
  and c.proc_name = 'policy_refresh_continuous_aggregate'
  and (r.hypertable_name = 'sensor_data' or exists (
    select from timescaledb_information.continuous_aggregates v
    where (v.view_schema, v.view_name) = (r.hypertable_schema, r.hypertable_name)
  ))
  and case
    when pg_input_is_valid(r.config ->> 'drop_after', 'interval')
      and pg_input_is_valid(coalesce(c.config ->> 'start_offset', 'infinity'), 'interval')
    then (r.config ->> 'drop_after')::interval <= coalesce(c.config ->> 'start_offset', 'infinity')::interval
  end
order by r.job_id, a.view_name
"""


async def watch_retention(connection: Connection) -> None:
    """Note what was dropped since the last look, and stop each retention policy that reaches into a refresh window.

    Args:
        connection: the owner's, to a database with TimescaleDB's full edition.

    Raises:
        DatabaseRefusedError: the database refuses.
        DATABASE_AWAY: the connection is lost.
    """
    for row in await connection.fetch(NOTE):
        where = {"relation": row["hypertable"], "start": str(row["range_start"]), "end": str(row["range_end"])}
        if row["gone"]:
            log.warning("buckets whose rows were dropped were refreshed or deleted", action="retention", **where)
        else:
            log.info("rows were dropped; their buckets stay as they are", action="retention", **where)
    for row in await connection.fetch(DANGEROUS):
        await connection.execute("select alter_job($1, scheduled => false)", row["job_id"])
        retention_stopped.add(1)
        log.error(
            "retention is stopped: the next refresh of an aggregate would empty what it drops; "
            "keep rows for longer than the refresh window, or shorten that first",
            action="retention",
            **dict(row),
        )
