"""The namespace's Schema: the connections that its Secrets hold, and the database behind them brought to `sql/`.

It is applied at the start, after a change of a connection and after each loss of the database.
"""

import asyncio
import base64
import binascii
from dataclasses import replace

import asyncpg
import structlog
from lightkube import AsyncClient
from lightkube.resources.core_v1 import Secret
from pydantic import SecretStr, ValidationError

from services.database.schema.apply import DatabaseAwayError, SchemaError, apply, bootstrap, renew
from services.database.schema.extension import NotUpdatedError, update_timescaledb
from services.database.schema.status import SchemaStatus, schema_status
from services.platform.kubernetes import API_ERRORS, missing
from services.platform.postgres.capability import Capability
from services.platform.postgres.connections import Connector
from services.platform.postgres.errors import DATABASE_AWAY, DatabaseRefusedError
from services.platform.settings import DatabaseSettings, postgres_address

from ..cluster.kinds import Found
from ..refusals import Reason, Refusal, invalid
from ..specs.resources import SchemaSpec, SecretKey
from .errors import away, refused

__all__ = ["SchemaKeeper"]

log = structlog.get_logger(__name__)

FORM = "write postgresql://user:password@host:5432/name"

Desired = tuple[str, int, DatabaseSettings, str | None, str | None]
"""A Schema's uid and generation, the connections that its Secrets hold, and the version of TimescaleDB."""

Kept = tuple[asyncpg.Connection, SchemaStatus, tuple[str, ...]]


class SchemaKeeper:
    """Keeps a connection as owner to the database of a Schema whose `sql/` is applied."""

    def __init__(self, client: AsyncClient, settings: DatabaseSettings) -> None:
        """Take the client of the Secrets' namespace, and the settings for all that is no connection."""
        self._client, self._defaults = client, settings
        self._applied: Desired | None = None
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
            Refusal: the Schema cannot be had as it is written, or its database is away.
            API_ERRORS: the API server is away.
        """
        try:
            spec = SchemaSpec.model_validate(found.spec)
            settings, admin = await _connections(self._client, spec, self._defaults)
        except ValidationError as error:
            raise invalid(error) from None
        desired = (found.uid, found.generation, settings, admin, spec.timescaledb_version)
        try:
            return await self._kept(desired)
        except SchemaError as error:
            self.lost()
            gone = isinstance(error, DatabaseAwayError)
            reason = Reason.DATABASE_AWAY if gone else Reason.SCHEMA_NOT_APPLIED
            raise Refusal(reason, str(error), unknown=gone) from None
        except DATABASE_AWAY as error:
            self.lost()
            raise away(error) from None
        except DatabaseRefusedError as error:
            self.lost()
            raise refused(error) from None

    def lost(self) -> None:
        """Begin anew at the next call: who knows what database answers then."""
        if self._connection:
            self._connection.terminate()
        self._applied = self._connection = self._database = None
        self._there.clear()

    async def _kept(self, desired: Desired) -> Kept:
        """Return what is at hand where nothing has changed and nothing is pending; else apply the schema anew.

        A TimescaleDB that cannot be updated yet keeps nobody else from the database: it serves as it is, and the next
        pass tries again.
        """
        connected = self._connection and not self._connection.is_closed()
        if self._connection and connected and desired == self._applied:
            status = await schema_status(self._connection)
            if not status.pending:
                return self._connection, status, ()
        _, _, settings, admin, version = desired
        if self._connection and connected and self._applied:
            await _hand_over(self._connection, self._applied[2], settings)
        self.lost()
        updated, problem = None, None
        if admin:
            await bootstrap(admin, settings)
            try:
                updated = await update_timescaledb(admin, settings, version) if version else None
            except NotUpdatedError as error:
                problem = str(error)
        applied = await apply(settings)
        connection = await Connector(settings.owner_url, settings, client_min_messages="warning").session()
        self._connection, self._applied = connection, None if problem else desired
        self._database = settings, applied.capability
        self._there.set()
        if problem:
            raise Refusal(Reason.TIMESCALEDB_NOT_UPDATED, problem)
        return connection, await schema_status(connection), (*([updated] if updated else []), *applied.did)


async def _hand_over(connection: asyncpg.Connection, old: DatabaseSettings, new: DatabaseSettings) -> None:
    """Give the owner its new password by the connection that the old one opened, where nothing else has changed."""
    before, after = (postgres_address(one.owner_url.get_secret_value()) for one in (old, new))
    if before != after and after.password and before == replace(after, password=before.password):
        log.info("the owner gets a new password", action="apply_schema")
        await renew(connection, new.owner_url)


async def _connections(
    client: AsyncClient, spec: SchemaSpec, settings: DatabaseSettings
) -> tuple[DatabaseSettings, str | None]:
    """Return the database's settings with the connections of a Schema, and the administrator's where it names one.

    Args:
        client: of the Secrets' namespace.
        spec: names the Secrets.
        settings: for all that is no connection; a role without a Secret keeps the connection, and so the password,
            that stands here.

    Raises:
        Refusal: a Secret or a key is not there, or holds no connection.
        API_ERRORS: the API server is away.
    """
    roles = {"owner_url": spec.owner_url_from, "writer_url": spec.writer_url_from, "reader_url": spec.reader_url_from}
    urls = {role: SecretStr(await _url(client, key)) for role, key in roles.items() if key}
    admin = await _url(client, spec.admin_url_from) if spec.admin_url_from else None
    return settings.model_copy(update=urls), admin


async def _url(client: AsyncClient, key: SecretKey) -> str:
    """Return the connection that stands in a Secret, checked as far as it can be without a server.

    Raises:
        Refusal: it does not; the message names the Secret and the key, never what is in it.
        API_ERRORS: the API server is away.
    """
    where = f"key {key.key} of Secret {key.name}"
    try:
        secret = await client.get(Secret, key.name)
    except API_ERRORS as error:
        if missing(error):
            raise Refusal(
                Reason.SECRET_MISSING, f"there is no Secret {key.name} in this namespace; create it"
            ) from None
        raise
    try:
        text = base64.b64decode((secret.data or {})[key.key]).decode().strip()
        address = postgres_address(text)
    except KeyError:
        raise Refusal(Reason.SECRET_MISSING, f"{where} is not there; add it") from None
    except (binascii.Error, UnicodeDecodeError):
        raise Refusal(Reason.SECRET_MISSING, f"{where} is no text; {FORM}") from None
    except ValueError as error:
        raise Refusal(Reason.SECRET_MISSING, f"{where} is no connection: {error}") from None
    if not address.database or not address.hosts:
        raise Refusal(Reason.SECRET_MISSING, f"{where} is no connection; {FORM}")
    return text
