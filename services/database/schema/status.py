"""Which migrations a database has had and which it has not, asked without changing anything."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from services.platform.postgres.capability import Capability, capability

from .scripts import INIT_VERSION, SQL, Migration, SchemaError, migrations

__all__ = ["SchemaStatus", "catalogue_filling", "ledger", "pending", "schema_status"]


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """The schema of a database.

    Attributes:
        version: the highest migration that it has had.
        pending: migrations that it has not had, in order.
        capability: what the database can do.
        catalogue: in words how far the catalogue of sensors is filled from what was stored before it.
    """

    version: int
    pending: tuple[str, ...]
    capability: Capability
    catalogue: str


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
    able, catalogue = await capability(connection), await catalogue_filling(connection)
    return SchemaStatus(max(had, default=0), tuple(waiting), able, catalogue)


async def catalogue_filling(connection: asyncpg.Connection) -> str:
    """Return in words how far the catalogue is filled."""
    if not await connection.fetchval("select to_regclass('public.catalogue_filling') is not null"):
        return "there is no catalogue yet"
    row = await connection.fetchrow("select added, reached::text, passes from catalogue_filling")
    if row is None or row["passes"]:
        return "the catalogue has all sensors"
    reached = f", up to {row['reached']}" if row["reached"] else ""
    return f"the catalogue is being filled with what was stored before it: {row['added']} sensors{reached}"


async def ledger(connection: asyncpg.Connection) -> dict[int, str | None]:
    """Return the migrations that a database has had, by version, with the hash of each."""
    if not await connection.fetchval("select to_regclass('public.schema_migrations') is not null"):
        return {}
    rows = await connection.fetch("select version, body_sha256 from schema_migrations")
    return {row["version"]: row["body_sha256"] for row in rows}


def pending(known: Sequence[Migration], had: dict[int, str | None]) -> list[Migration]:
    """Return those of the `known` migrations that a database has not had, in order.

    Raises:
        SchemaError: one was changed since the database had it.
    """
    for migration in known:
        if had.get(migration.version, migration.sha256) != migration.sha256:
            raise SchemaError(
                f"migration {migration} was changed after this database had it; restore the released file "
                "and put the change into a new migration"
            )
    return [migration for migration in known if migration.version not in had]
