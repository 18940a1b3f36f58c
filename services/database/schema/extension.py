"""The version of TimescaleDB in a database, and the way from it to another.

The server may offer several versions, while a database keeps the one that it has. A session whose first statement is
anything else has loaded that one's library, and can no longer be the one that updates it: so the update has a session
of its own. It waits for whoever holds a lock; other sessions of the old version fail with their next statement, and who
owns them connects anew.
"""

from dataclasses import replace

import asyncpg
import structlog
from pydantic import SecretStr

from services.platform.postgres.connections import Connector
from services.platform.postgres.errors import DatabaseRefusedError
from services.platform.settings import DatabaseSettings, PostgresAddress, postgres_address

from .apply import connected

__all__ = ["NotUpdatedError", "update_timescaledb"]

log = structlog.get_logger(__name__)


class NotUpdatedError(Exception):
    """TimescaleDB stays as it is; the message says why, and what can be done."""


_LOCK_TIMEOUT = "15s"
"""Longest wait for a lock: whoever comes behind it waits too, and workers have 20 s for a transaction."""

_THERE = "select extversion from pg_extension where extname = 'timescaledb'"
_OFFERED = """
select version, exists (
  select from pg_extension_update_paths('timescaledb') where source = $1 and target = version and path is not null
) as reached
from pg_available_extension_versions where name = 'timescaledb'
"""


async def update_timescaledb(admin_url: str, settings: DatabaseSettings, wanted: str) -> str | None:
    """Bring TimescaleDB in the database of `settings.owner_url` to a version.

    Args:
        admin_url: a superuser's connection to any database of the server.
        settings: names the database.
        wanted: such as "2.29.2".

    Returns:
        What was done, in words; None where it is that version already.

    Raises:
        NotUpdatedError: the database has no TimescaleDB, the server does not offer the version or a way to it, or
            something holds its locks for too long. The database serves as before.
        SchemaError: the database is away.
    """
    name = postgres_address(settings.owner_url.get_secret_value()).database
    database = replace(postgres_address(admin_url), database=name)
    there = await _there(database, settings, wanted)
    if there == wanted:
        return None
    connector = Connector(database, settings, lock_timeout=_LOCK_TIMEOUT)
    try:
        connection = await connector.untouched()
        try:
            await connection.execute(f"alter extension timescaledb update to '{wanted}'")
        finally:
            connection.terminate()
    except asyncpg.LockNotAvailableError:
        raise NotUpdatedError(
            f"TimescaleDB {there} waits for its update to {wanted}: something holds its locks"
        ) from None
    except DatabaseRefusedError as error:
        raise NotUpdatedError(f"TimescaleDB {there} cannot be updated to {wanted}: {error}") from error
    log.info("TimescaleDB updated", action="update_extension", before=there, version=wanted)
    return f"updated TimescaleDB from {there} to {wanted}"


async def _there(database: SecretStr | PostgresAddress, settings: DatabaseSettings, wanted: str) -> str:
    """Return the version that the database has, from which there is a way to the wanted one.

    Raises:
        NotUpdatedError: it has none, or there is no way.
        SchemaError: the database is away.
    """
    async with connected(database, settings) as connection:
        there: str | None = await connection.fetchval(_THERE)
        offered = {} if there is None else dict(await connection.fetch(_OFFERED, there))
    if there is None:
        raise NotUpdatedError(f"this database has no TimescaleDB that could become {wanted}; leave the version away")
    if wanted not in offered:
        have = ", ".join(sorted(offered))
        raise NotUpdatedError(f"the server does not offer TimescaleDB {wanted} but {have}: give it an image that does")
    if wanted != there and not offered[wanted]:
        raise NotUpdatedError(f"there is no way from TimescaleDB {there} to {wanted}: a database cannot go back")
    return there
