"""Deletion that no finalizer holds up: the database remembers what goes with its resource, and a later pass drops it.

A finalizer would keep a namespace from ending once the operator is gone. This way a resource always goes at once, and
its object follows when the operator is next there, even if it was away or the database was.
"""

from collections.abc import Collection, Iterable

import asyncpg
import structlog

from ..planning.quoting import relation
from ..refusals import Refusal
from .errors import refusing

__all__ = ["Owned", "drop_gone", "remember"]

log = structlog.get_logger(__name__)

NOTED = """
select kind, name, resource_uid::text as resource
from dropped_with_resource
where schema_uid = $1::text::uuid
"""

REMEMBER = """
insert into dropped_with_resource (kind, name, schema_uid, resource_uid)
select kind, name, $1::text::uuid, resource::uuid
from unnest($2::text[], $3::text[], $4::text[]) owned (kind, name, resource)
on conflict (kind, name) do update set schema_uid = excluded.schema_uid, resource_uid = excluded.resource_uid
where (dropped_with_resource.schema_uid, dropped_with_resource.resource_uid)
  <> (excluded.schema_uid, excluded.resource_uid)
"""

FORGET = """
delete from dropped_with_resource d
using unnest($1::text[], $2::text[]) gone (kind, name)
where (d.kind, d.name) = (gone.kind, gone.name)
"""

# An aggregate goes before what it is made of.
STATEMENTS = {
    "ContinuousAggregate": "drop materialized view if exists {}",
    "Hypertable": "drop table if exists {}",
}

Owned = tuple[str, str, str]
"""Kind, name in the database, uid of the resource."""


async def remember(
    connection: asyncpg.Connection, schema: str, owned: Collection[Owned], kept: Iterable[Owned]
) -> None:
    """Note which objects go with their resources, and which stay.

    Args:
        connection: the owner's.
        schema: uid of the Schema that the resources belong to.
        owned: those whose resource says Delete.
        kept: those whose resource says Retain.

    Raises:
        DATABASE_AWAY: the connection is lost.
    """
    noted = {(row["kind"], row["name"]): row["resource"] for row in await connection.fetch(NOTED, schema)}
    new = [one for one in owned if noted.get(one[:2]) != one[2]]
    if new:
        await connection.execute(REMEMBER, schema, *map(list, zip(*new, strict=True)))
    stale = [one[:2] for one in kept if one[:2] in noted]
    if stale:
        await connection.execute(FORGET, *map(list, zip(*stale, strict=True)))


async def drop_gone(connection: asyncpg.Connection, schema: str, living: Collection[Owned]) -> list[Refusal]:
    """Drop the objects whose resource is gone, aggregates first; what another resource claims by now stays.

    Args:
        connection: the owner's.
        schema: uid of the Schema that the resources belonged to.
        living: all that resources claim.

    Returns:
        Why some could not be dropped; they are tried again at the next call.

    Raises:
        DATABASE_AWAY: the connection is lost.
    """
    claimed, resources = {one[:2] for one in living}, {one[2] for one in living}
    noted = await connection.fetch(NOTED, schema)
    gone = {(row["kind"], row["name"]) for row in noted if row["resource"] not in resources}
    problems = []
    for kind, name in sorted(gone - claimed):
        try:
            with refusing(f"{name} cannot be dropped with its {kind}"):
                async with connection.transaction():
                    await connection.execute("set local lock_timeout = '5s'")
                    await connection.execute(STATEMENTS[kind].format(relation(name)))
                    await connection.execute(FORGET, [kind], [name])
        except Refusal as problem:
            problems.append(problem)
        else:
            log.info("dropped with its resource", action="drop", kind=kind, name=name)
    return problems
