"""The rollups that there are, looked at with each look at the database rather than with each question."""

from datetime import UTC, datetime

import structlog

from services.contract.instants import micros_of
from services.platform.postgres.connections import Connection

from .definitions import partials_in
from .plan import HOURS
from .router import Rollup

__all__ = ["Rollups"]

log = structlog.get_logger(__name__)

_THERE = """
select to_regclass('_timescaledb_catalog.continuous_agg') is not null
  and to_regprocedure('public.rollup_coverage(int[], tstzrange)') is not null
"""

# Those whose buckets have one length whatever the zone, and that this role may read. The definition is that of the
# query that made it, which TimescaleDB keeps as a view of its own. While the operator fills a column that was added,
# old buckets have nulls in it; a comment tells.
_KNOWN = """
select
  a.mat_hypertable_id as id,
  case when user_view_schema = 'public' then '' else quote_ident(user_view_schema) || '.' end
    || quote_ident(user_view_name) as name,
  (extract(epoch from b.bucket_width::interval) * 1000000)::bigint as width,
  (extract(epoch from coalesce(b.bucket_origin::timestamptz, '2000-01-03Z') + coalesce(b.bucket_offset::interval, '0'))
    * 1000000)::bigint as origin,
  pg_get_viewdef(format('%I.%I', a.direct_view_schema, a.direct_view_name)::regclass) as definition
from _timescaledb_catalog.continuous_agg a
join _timescaledb_catalog.hypertable h on h.id = a.raw_hypertable_id
join _timescaledb_catalog.continuous_aggs_bucket_function b using (mat_hypertable_id)
where h.schema_name = 'public' and h.table_name = 'sensor_data'
  and b.bucket_fixed_width and b.bucket_timezone is null and extract(month from b.bucket_width::interval) = 0
  and extract(year from b.bucket_width::interval) = 0
  and has_table_privilege(format('%I.%I', a.user_view_schema, a.user_view_name), 'select')
  and obj_description(format('%I.%I', a.user_view_schema, a.user_view_name)::regclass) is distinct from
    'millrace: the history waits for a refresh'
order by 1
"""


_TABLES = """
select name from unnest(array['sensor_rollup_1h', 'sensor_rollup_15m']) as name
where to_regclass('public.rollup_state') is not null
  and has_table_privilege(to_regclass('public.' || name), 'select')
"""

_MINUTE = 60_000_000
_ORIGIN = micros_of(datetime(2000, 1, 3, tzinfo=UTC))
_EXTREMES = {"bucket": "bucket", "sensor_id": "sensor_id", "min": "min", "max": "max"}
_KEPT = (
    Rollup(1, HOURS, 60 * _MINUTE, _ORIGIN, {**_EXTREMES, "count": "samples", "sum": "avg * samples"}),
    Rollup(
        2,
        "sensor_rollup_15m",
        15 * _MINUTE,
        _ORIGIN,
        {
            **_EXTREMES,
            "count": "count",
            "sum": "sum",
            # Of one reading it is null.
            "squares": "coalesce(stddev * stddev * (count - 1), 0)",
        },
    ),
)
"""The tables that the repair loop keeps where there is no TimescaleDB."""


class Rollups:
    """What is known of the rollups.

    Attributes:
        known: all that there were at the last look.
    """

    def __init__(self) -> None:
        """Know of none until the first look."""
        self.known: tuple[Rollup, ...] = ()

    async def look(self, connection: Connection) -> None:
        """Look which there are.

        Raises:
            DATABASE_FAILURES: the database is away or refuses; what was known stays.
        """
        found = await connection.fetch(_KNOWN) if await connection.fetchval(_THERE) else []
        rollups = [
            Rollup(row["id"], row["name"], row["width"], row["origin"], terms)
            for row in found
            if (terms := partials_in(row["definition"]))
        ]
        tables = {row["name"] for row in await connection.fetch(_TABLES)}
        rollups += [rollup for rollup in _KEPT if rollup.name in tables]
        names, before = [rollup.name for rollup in rollups], [rollup.name for rollup in self.known]
        if names != before:
            log.info("rollups answer questions", action="watch_rollups", rollups=names)
        self.known = tuple(rollups)
