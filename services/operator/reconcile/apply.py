"""Read, compare, alter: one transaction under one lock, so that two operators cannot both add a policy."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import structlog

from services.database.aggregates.refresh import Aggregate, refresh
from services.platform.postgres.capability import Capability

from ..planning.aggregate import plan_aggregate
from ..planning.hypertable import plan_hypertable
from ..planning.observed import Definition, ObservedAggregate
from ..planning.quoting import relation
from ..planning.steps import Plan, Step
from ..specs.resources import ContinuousAggregateSpec, HypertableSpec
from .errors import refusing
from .inspect import inspect_aggregate, inspect_table

__all__ = [
    "RECONCILE_LOCK",
    "fill_aggregate",
    "reconcile_aggregate",
    "reconcile_hypertable",
    "reconciling",
    "refresh_history",
]

log = structlog.get_logger(__name__)

RECONCILE_LOCK = 0x6D696C6C_72656300
"""Key of the advisory lock that a reconciliation holds."""

# A change of a table waits for everybody who uses it, and everybody who comes later waits behind the change.
PRELUDE = """
set local lock_timeout = '5s';
set local intervalstyle = 'postgres';
set local search_path = public, pg_temp;
"""


# The first bucket counts only where the source covers it whole, or nothing of it is materialised: a refresh takes
# the whole buckets inside its window, so the window of a fresh aggregate begins one bucket earlier.
HISTORY = """
select
  a.mat_hypertable_id as id,
  a.raw_hypertable_id as source,
  (
    select min(c.range_start)
    from timescaledb_information.chunks c
    where c.hypertable_schema = v.hypertable_schema and c.hypertable_name = v.hypertable_name
  ) - case when w.watermark_at < '0001-01-01' then b.bucket_width::interval else '0' end as start,
  greatest(now() - interval '1 minute', w.watermark_at) as stop
from timescaledb_information.continuous_aggregates v
join _timescaledb_catalog.continuous_agg a
  on a.user_view_schema = v.view_schema and a.user_view_name = v.view_name
join _timescaledb_catalog.continuous_aggs_bucket_function b using (mat_hypertable_id)
join (
  select mat_hypertable_id, _timescaledb_functions.to_timestamp(watermark) as watermark_at
  from _timescaledb_catalog.continuous_aggs_watermark
) w using (mat_hypertable_id)
where v.view_schema = 'public' and v.view_name = $1
"""


async def reconcile_hypertable(connection: asyncpg.Connection, spec: HypertableSpec, capability: Capability) -> Plan:
    """Bring a hypertable to `spec` and return the plan that was applied: no steps where it was so already.

    Args:
        connection: the owner's, outside a transaction.
        spec: what is desired.
        capability: of the connection's database.

    Raises:
        Refusal: the database refuses a step, or somebody holds the table for long; nothing of the plan was applied.
        DATABASE_AWAY: the connection is lost; the plan was applied whole or not at all.
    """
    async with reconciling(connection):
        plan = plan_hypertable(spec, await inspect_table(connection, spec.table, capability), capability)
        for step in plan.steps:
            await _run(connection, step)
    return plan


async def reconcile_aggregate(
    connection: asyncpg.Connection, spec: ContinuousAggregateSpec, capability: Capability, *, rebuild: bool = False
) -> Plan:
    """Bring a continuous aggregate to `spec` and return the plan that was applied.

    Where the plan says so, `fill_aggregate` or `rebuild_aggregate` is due behind it, now or after a restart.

    Args:
        connection: the owner's, outside a transaction.
        spec: what is desired.
        capability: of the connection's database.
        rebuild: whether somebody consents to a rebuild.

    Raises:
        Refusal: the database refuses a step, or somebody holds the source for long; nothing of the plan was applied.
        DATABASE_AWAY: the connection is lost; the plan was applied whole or not at all.
    """
    if capability.edition != "full":
        return plan_aggregate(spec, ObservedAggregate(), Definition(), capability)
    async with reconciling(connection):
        plan = plan_aggregate(spec, *await inspect_aggregate(connection, spec), capability, rebuild=rebuild)
        for step in plan.steps:
            await _run(connection, step)
    return plan


async def fill_aggregate(connection: asyncpg.Connection, guard: asyncpg.Connection, name: str) -> None:
    """Compute the closed buckets of an aggregate again, as far as its source has rows, and take off its mark.

    What was there before the source's first chunk, or where rows were dropped, stays as it is. Repeating it is
    harmless.

    Args:
        connection: the owner's, outside a transaction, without a statement timeout.
        guard: another of the owner's, which holds the chunks that are read.
        name: of an aggregate that was created or got a column.

    Raises:
        Refusal: the database refuses; the mark stays.
        DATABASE_AWAY: the connection is lost; the mark stays.
    """
    with refusing(f"fill {name}"):
        await refresh_history(connection, guard, name, force=True)
        await connection.execute(f"comment on view {relation(name)} is null")


async def refresh_history(connection: asyncpg.Connection, guard: asyncpg.Connection, name: str, *, force: bool) -> None:
    """Refresh the closed buckets of an aggregate as far back as its source has rows; `force` those that are right too.

    Raises:
        DatabaseRefusedError: the database refuses.
        DATABASE_AWAY: a connection is lost.
    """
    window = await connection.fetchrow(HISTORY, name)
    if window and window["start"] and window["start"] < window["stop"]:
        aggregate = Aggregate(window["id"], window["source"], relation(name))
        await refresh(connection, guard, aggregate, (window["start"], window["stop"]), force=force)


@asynccontextmanager
async def reconciling(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Hold the lock of a reconciliation in a transaction.

    Raises:
        Refusal: the database refuses something in it.
    """
    with refusing("the database refuses"):
        async with connection.transaction():
            await connection.execute(PRELUDE)
            await connection.execute("select pg_advisory_xact_lock($1)", RECONCILE_LOCK)
            yield


async def _run(connection: asyncpg.Connection, step: Step) -> None:
    with refusing(step.sentence):
        # Not execute(), which would run a second statement behind the first.
        await connection.fetch(step.sql)
    log.info("database changed", action="reconcile", step=step.sentence)
