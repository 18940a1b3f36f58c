"""The connections that a Schema names, read from its Secrets."""

import base64
import binascii

from lightkube import AsyncClient
from lightkube.resources.core_v1 import Secret
from pydantic import SecretStr

from services.platform.kubernetes import API_ERRORS, missing
from services.platform.settings import DatabaseSettings, postgres_address

from ..specs.resources import SchemaSpec, SecretKey

__all__ = ["ConnectionsError", "read_connections"]

FORM = "write postgresql://user:password@host:5432/name"


class ConnectionsError(Exception):
    """A connection cannot be had from its Secret; the message names the Secret and the key, never what is in it."""


async def read_connections(
    client: AsyncClient, spec: SchemaSpec, settings: DatabaseSettings
) -> tuple[DatabaseSettings, str | None]:
    """Return the database's settings with the connections of a Schema, and the administrator's where it names one.

    Args:
        client: of the Secrets' namespace.
        spec: names the Secrets.
        settings: for all that is no connection; a role without a Secret keeps the connection, and so the password,
            that stands here.

    Raises:
        ConnectionsError: a Secret or a key is not there, or holds no connection.
        API_ERRORS: the API server is away.
    """
    roles = {"owner_url": spec.owner_url_from, "writer_url": spec.writer_url_from, "reader_url": spec.reader_url_from}
    urls = {role: SecretStr(await _url(client, key)) for role, key in roles.items() if key}
    admin = await _url(client, spec.admin_url_from) if spec.admin_url_from else None
    return settings.model_copy(update=urls), admin


async def _url(client: AsyncClient, key: SecretKey) -> str:
    where = f"key {key.key} of Secret {key.name}"
    try:
        secret = await client.get(Secret, key.name)
    except API_ERRORS as error:
        if missing(error):
            raise ConnectionsError(f"there is no Secret {key.name} in this namespace; create it") from None
        raise
    try:
        text = base64.b64decode((secret.data or {})[key.key]).decode().strip()
        address = postgres_address(text)
    except KeyError:
        raise ConnectionsError(f"{where} is not there; add it") from None
    except (binascii.Error, UnicodeDecodeError):
        raise ConnectionsError(f"{where} is no text; {FORM}") from None
    except ValueError as error:
        raise ConnectionsError(f"{where} is no connection: {error}") from None
    if not address.database or not address.hosts:
        raise ConnectionsError(f"{where} is no connection; {FORM}")
    return text
