"""Waiting for a database whose schema is new enough."""

import asyncio
from collections.abc import Awaitable, Callable

from ..runtime.health import Health
from ..runtime.retry import pauses
from .capability import Capability, capability
from .connections import Connection, Connector
from .errors import DATABASE_AWAY, DatabaseRefusedError, PoolerError, refused, why_away

__all__ = ["SCHEMA_NEEDED", "UnfitError", "look_at_schema", "wait_for_schema"]

Needed = Callable[[Connection, Capability], Awaitable[None]] | None
"""Asks of a connection what must be possible; what is not leaves as the database's error, or as an `UnfitError`."""

SCHEMA_NEEDED = 12
"""The schema version (the highest applied migration) that this release's services need."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0


class UnfitError(Exception):
    """What is needed lacks, although the database answers; the message says what to do."""


async def look_at_schema(connector: Connector, needed: Needed = None, *, session: bool = False) -> Capability | str:
    """Return what a database can do, or in words why it is not fit.

    Args:
        connector: a role's way to it.
        needed: asks what must be possible.
        session: whether a pooler that keeps none makes it unfit.
    """
    try:
        connection = await (connector.session() if session else connector.connect())
        try:
            async with connection.asking():
                # Asked for before it is read, or the server's log would have an error for each look.
                made = await connection.fetchval("select to_regclass('schema_migrations') is not null")
                version = await connection.fetchval("select max(version) from schema_migrations") if made else None
                if (version or 0) >= SCHEMA_NEEDED:
                    found = await capability(connection)
                    if needed:
                        await needed(connection, found)
                    return found
            has = f"its schema has version {version}" if made else "it has no schema yet"
            return f"{has}, version {SCHEMA_NEEDED} is needed; apply sql/ (millrace schema apply)"
        finally:
            await connection.close()
    except (PoolerError, UnfitError) as error:
        return str(error)
    except DATABASE_AWAY as error:
        return f"the database cannot be reached: {why_away(error)}"
    except DatabaseRefusedError as error:
        return refused(error)


async def wait_for_schema(
    connector: Connector, health: Health, part: str = "database", needed: Needed = None, *, session: bool = False
) -> Capability:
    """Wait until `look_at_schema` finds a database fit, saying meanwhile in `health` what lacks."""
    waits = pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
    while isinstance(found := await look_at_schema(connector, needed, session=session), str):
        health.lacks(part, found)
        await asyncio.sleep(next(waits))
    health.has(part)
    return found
