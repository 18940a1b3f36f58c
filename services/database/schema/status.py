"""How a database's schema stands, asked without changing anything."""

from dataclasses import dataclass

import asyncpg

from services.platform.postgres.capability import Capability, capability

from .apply import ledger, pending
from .scripts import INIT_VERSION, SQL, migrations

__all__ = ["SchemaStatus", "schema_status"]


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """The schema of a database.

    Attributes:
        version: the highest migration that it has had.
        pending: migrations that it has not had, in order.
        capability: what the database can do.
    """

    version: int
    pending: tuple[str, ...]
    capability: Capability


async def schema_status(connection: asyncpg.Connection) -> SchemaStatus:
    """Return how the schema stands against the shipped `sql/`.

    Args:
        connection: the owner's.

    Raises:
        SchemaError: a released migration was changed.
        DATABASE_AWAY: the connection is lost.
    """
    had = await ledger(connection)
    waiting = [str(migration) for migration in pending(migrations(SQL / "migrations"), had)]
    if INIT_VERSION not in had:
        waiting.insert(0, "0001 init")
    return SchemaStatus(max(had, default=0), tuple(waiting), await capability(connection))
