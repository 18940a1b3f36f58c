"""The namespace's Schema: applied at the start, after a change of a connection and after each loss of the database."""

import asyncio
from dataclasses import replace

import asyncpg
import structlog
from lightkube import AsyncClient
from pydantic import ValidationError

from services.database.schema.apply import DatabaseAwayError, SchemaError, apply, bootstrap, renew
from services.database.schema.status import SchemaStatus, schema_status
from services.platform.postgres.capability import Capability
from services.platform.postgres.connections import Connector
from services.platform.postgres.errors import DATABASE_AWAY
from services.platform.settings import DatabaseSettings, postgres_address

from ..cluster.kinds import Found
from ..specs.resources import SchemaSpec
from ..status.refusals import Refused, away, invalid, refused
from .connections import ConnectionsError, read_connections

__all__ = ["SchemaKeeper"]

log = structlog.get_logger(__name__)


Wanted = tuple[str, int, DatabaseSettings, str | None]
"""A Schema's uid and generation, and the connections that its Secrets hold."""

Kept = tuple[asyncpg.Connection, SchemaStatus, tuple[str, ...]]


class SchemaKeeper:
    """Keeps a connection as owner to the database of a Schema whose `sql/` is applied."""

    def __init__(self, client: AsyncClient, settings: DatabaseSettings) -> None:
        """Take the client of the Secrets' namespace, and the settings for all that is no connection."""
        self._client, self._defaults = client, settings
        self._applied: Wanted | None = None
        self._connection: asyncpg.Connection | None = None
        self._database: tuple[DatabaseSettings, Capability] | None = None
        self._there = asyncio.Event()

    async def database(self) -> tuple[DatabaseSettings, Capability]:
        """Wait until the database is there with its schema; return how to reach it and what it can do."""
        while self._database is None:
            await self._there.wait()
        return self._database

    async def keep(self, found: Found) -> Kept:
        """Return the owner's connection, how the schema stands and what had to be applied for that.

        Raises:
            Refused: the Schema cannot be had as it is written, or its database is away.
            API_ERRORS: the API server is away.
        """
        try:
            spec = SchemaSpec.model_validate(found.spec)
            settings, admin = await read_connections(self._client, spec, self._defaults)
        except ValidationError as error:
            raise invalid(error) from None
        except ConnectionsError as error:
            raise Refused("SecretMissing", str(error)) from None
        wanted = (found.uid, found.generation, settings, admin)
        try:
            return await self._kept(wanted)
        except SchemaError as error:
            self.lost()
            gone = isinstance(error, DatabaseAwayError)
            raise Refused("DatabaseAway" if gone else "SchemaNotApplied", str(error), unknown=gone) from None
        except DATABASE_AWAY as error:
            self.lost()
            raise away(error) from None
        except asyncpg.PostgresError as error:
            self.lost()
            raise refused(error) from None

    def lost(self) -> None:
        """Begin anew at the next call: who knows what database answers then."""
        if self._connection:
            self._connection.terminate()
        self._applied = self._connection = self._database = None
        self._there.clear()

    async def _kept(self, wanted: Wanted) -> Kept:
        connected = self._connection and not self._connection.is_closed()
        if self._connection and connected and wanted == self._applied:
            status = await schema_status(self._connection)
            if not status.pending:
                return self._connection, status, ()
        _, _, settings, admin = wanted
        if self._connection and connected and self._applied:
            await _hand_over(self._connection, self._applied[2], settings)
        self.lost()
        if admin:
            await bootstrap(admin, settings)
        applied = await apply(settings)
        connection = await Connector(settings.owner_url, settings, client_min_messages="warning").session()
        self._connection, self._applied = connection, wanted
        self._database = settings, applied.capability
        self._there.set()
        return connection, await schema_status(connection), applied.did


async def _hand_over(connection: asyncpg.Connection, old: DatabaseSettings, new: DatabaseSettings) -> None:
    """Give the owner its new password by the connection that the old one opened, where nothing else has changed."""
    before, after = (postgres_address(one.owner_url.get_secret_value()) for one in (old, new))
    if before != after and after.password and before == replace(after, password=before.password):
        log.info("the owner gets a new password", action="apply_schema")
        await renew(connection, new.owner_url)
