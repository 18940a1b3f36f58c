"""Making an aggregate anew: the new one is built beside the old, and takes its name when it holds as much.

What is half built is found again by its name, which tells the aggregate and the query; a rebuild of another query
leaves it over, and `drop_leftovers` takes it away.
"""

import hashlib

import asyncpg

from services.platform.postgres.capability import Capability

from ..planning.aggregate import aggregate_query, desired_columns
from ..planning.quoting import identifier, relation
from ..planning.steps import Plan
from ..refusals import Reason, Refusal
from ..specs.resources import ContinuousAggregateSpec
from .apply import fill_aggregate, reconcile_aggregate, reconciling, refresh_history
from .errors import refusing

__all__ = ["drop_leftovers", "rebuild_aggregate"]

# What depends on the view for an aggregate are TimescaleDB's own views, of which nobody knows the names.
DEPENDENTS = """
select distinct coalesce(quote_ident(a.user_view_name), c.oid::regclass::text)
from pg_depend d
join pg_rewrite r on r.oid = d.objid and d.classid = 'pg_rewrite'::regclass
join pg_class c on c.oid = r.ev_class
join pg_namespace n on n.oid = c.relnamespace
left join _timescaledb_catalog.continuous_agg a
  on (a.direct_view_schema, a.direct_view_name) = (n.nspname, c.relname)
  or (a.partial_view_schema, a.partial_view_name) = (n.nspname, c.relname)
where d.refclassid = 'pg_class'::regclass and d.refobjid = $1::text::regclass and c.oid <> d.refobjid
order by 1
"""

# A chunk's beginning, not a row's: retention takes whole chunks, and what is younger is there whole.
COVERED = """
select min(c.range_start)
from timescaledb_information.chunks c
where (c.hypertable_schema, c.hypertable_name) in (
  select 'public', $1
  union all
  select materialization_hypertable_schema, materialization_hypertable_name
  from timescaledb_information.continuous_aggregates
  where view_schema = 'public' and view_name = $1
)
"""

GRANTS = """
select a.privilege_type, case when a.grantee <> 0 then a.grantee::regrole::text else 'public' end as grantee
from pg_class c, aclexplode(c.relacl) a
where c.oid = $1::text::regclass and a.grantee <> c.relowner
"""

LEFTOVERS = """
select view_name::text
from timescaledb_information.continuous_aggregates
where view_schema = 'public' and starts_with(view_name, $1) and view_name <> $2
"""


async def rebuild_aggregate(
    connection: asyncpg.Connection, guard: asyncpg.Connection, spec: ContinuousAggregateSpec, capability: Capability
) -> Refusal | None:
    """Build what `spec` desires beside what has its name, and swap them; return why not, where that cannot be.

    It takes as long as the history is; called again after a break it goes on where it was.

    Args:
        connection: the owner's, outside a transaction, without a statement timeout.
        guard: another of the owner's, which holds the chunks that are read.
        spec: what is desired; its plan says `rebuild`.
        capability: of the connection's database.

    Raises:
        Refusal: the database refuses; readers see the old aggregate.
        DATABASE_AWAY: the connection is lost; readers see the old or the new aggregate.
    """
    new = spec.model_copy(update={"name": _building(spec)})
    await _drop_others(connection, spec, new.name)
    with refusing(f"rebuild {spec.name}"):
        refusal = await _refusal(connection, spec)
    if refusal:
        return refusal
    plan = await reconcile_aggregate(connection, new, capability)
    if plan.refusals:
        return plan.refusals[0]
    if plan.fill:
        await fill_aggregate(connection, guard, new.name)
    # What was touched since the fill.
    with refusing(f"refresh {new.name}"):
        await refresh_history(connection, guard, new.name, force=False)
    return await _swap(connection, spec, new, capability)


async def drop_leftovers(connection: asyncpg.Connection, spec: ContinuousAggregateSpec) -> None:
    """Drop what rebuilds of an aggregate left half built; call it where its plan does not say `rebuild`.

    Args:
        connection: the owner's, outside a transaction, to a database with TimescaleDB's full edition.
        spec: what is desired and stands.

    Raises:
        Refusal: the database refuses.
        DATABASE_AWAY: the connection is lost.
    """
    await _drop_others(connection, spec, "")


async def _drop_others(connection: asyncpg.Connection, spec: ContinuousAggregateSpec, kept: str) -> None:
    async with reconciling(connection):
        for row in await connection.fetch(LEFTOVERS, _prefix(spec), kept):
            await connection.execute(f"drop materialized view {relation(row[0])}")


def _prefix(spec: ContinuousAggregateSpec) -> str:
    return f"millrace_rebuild_{_digest(spec.name)}_"


def _building(spec: ContinuousAggregateSpec) -> str:
    return _prefix(spec) + _digest(aggregate_query(spec, desired_columns(spec)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


async def _refusal(connection: asyncpg.Connection, spec: ContinuousAggregateSpec) -> Refusal | None:
    """Return why the old aggregate cannot go: something reads it, or its source no longer has all that it holds."""
    name = relation(spec.name)
    if dependents := [row[0] for row in await connection.fetch(DEPENDENTS, name)]:
        message = f"{spec.name} cannot be rebuilt under {', '.join(dependents)}; drop what reads it first"
        return Refusal(Reason.NEEDS_REBUILD, message)
    oldest = await connection.fetchval(f"select min(bucket) from {name}")  # noqa: S608
    covered = await connection.fetchval(COVERED, spec.source.name)
    if oldest and (covered is None or oldest < covered):
        since = f"only from {covered} on" if covered else "no rows"
        message = f"{spec.name} goes back to {oldest}, and {spec.source.name} holds {since}: a rebuild would lose that"
        return Refusal(Reason.REBUILD_LOSES_HISTORY, message)
    return None


async def _swap(
    connection: asyncpg.Connection, spec: ContinuousAggregateSpec, new: ContinuousAggregateSpec, capability: Capability
) -> Refusal | None:
    """Drop the old aggregate, and give the new one its name and its readers' rights; return why not.

    All in one transaction: whoever reads meanwhile waits, and finds the one or the other. What was true when the
    build began is looked at again, for hours may have passed.
    """
    async with reconciling(connection):
        # Nobody refreshes or drops chunks between the look and the swap.
        await connection.execute(f"lock table {relation(spec.name)} in access exclusive mode")
        if refusal := await _refusal(connection, spec):
            return refusal
        if await reconcile_aggregate(connection, new, capability) != Plan():
            why = f"rebuild {spec.name}: what was built has changed meanwhile"
            raise Refusal(Reason.REFUSED_BY_DATABASE, why)
        grants = await connection.fetch(GRANTS, relation(spec.name))
        await connection.execute(f"drop materialized view {relation(spec.name)}")
        await connection.execute(f"alter materialized view {relation(new.name)} rename to {identifier(spec.name)}")
        for privilege, grantee in grants:
            await connection.execute(f"grant {privilege} on {relation(spec.name)} to {grantee}")
    return None
