"""What goes wrong with a database, told apart once: it is away, or it refuses; and how long an answer is waited for."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import asyncpg

from ..runtime.tasks import end

__all__ = [
    "DATABASE_AWAY",
    "DATABASE_FAILURES",
    "DatabaseRefusedError",
    "PoolerError",
    "StatementCancelledError",
    "UnreplicatedError",
    "message_of",
    "refused",
    "why_away",
    "with_deadline",
    "words_of",
]

T = TypeVar("T")

DatabaseRefusedError = asyncpg.PostgresError
"""The server answers, and refuses; some of it says that the database is away, such as while it shuts down."""

StatementCancelledError = asyncpg.QueryCanceledError
"""The server ended a statement because it took too long, or was told to."""

DATABASE_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InternalClientError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
"""Errors that say that the database is away, not that the statement is wrong."""

DATABASE_FAILURES = (DatabaseRefusedError, *DATABASE_AWAY)
"""Whatever a statement may end by."""


_WHY_AWAY = {
    TimeoutError: "it did not answer in time",
    ssl.SSLError: "TLS with it fails",
    socket.gaierror: "its host name is not known",
    ConnectionRefusedError: "nothing listens at its address",
}


class PoolerError(asyncpg.InterfaceError):  # type: ignore[misc]
    """A pooler stands before the database and does not do what is needed; the message names what to change."""


class UnreplicatedError(asyncpg.InterfaceError):  # type: ignore[misc]
    """A commit was told with a warning: it holds on this server, but its standbys may not have it."""


def refused(error: asyncpg.PostgresError) -> str:
    """Return in words what a database refuses; what it lacks, or has given nobody the right to, is of its schema."""
    if isinstance(error, asyncpg.SyntaxOrAccessError):
        return f"the database lacks something: {error}; apply sql/ (millrace schema apply)"
    return f"the database refuses: {error}"


def words_of(error: BaseException) -> str:
    """Return what an error is and says, in one line; no login stands in the words of the driver's errors."""
    return f"{type(error).__name__}: {error}"


def why_away(error: BaseException) -> str:
    """Return in words, for who asks a service, why its database is away; only a server is quoted, never a library."""
    if isinstance(error, PoolerError):
        return str(error)
    if getattr(error, "severity", None) and isinstance(error, DatabaseRefusedError):
        return f"its server says: {message_of(error)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    for kind, why in _WHY_AWAY.items():
        if isinstance(error, kind):
            return why
    if isinstance(error, OSError) and error.errno:
        return f"the way to it fails: {os.strerror(error.errno)}"
    return "the connection to it fails or breaks"


def message_of(error: asyncpg.PostgresError) -> str:
    """Return what the server says without its DETAIL, which may show a row."""
    return str(getattr(error, "message", None) or type(error).__name__)


async def with_deadline(work: Coroutine[Any, Any, T], timeout: float, drop: Callable[[], None]) -> T:
    """Return what `work` gets from a database.

    Where it takes longer than `timeout` seconds, `drop` must drop its connections: asyncpg ends a statement by
    asking the server to, and a server that fell silent does not answer that either.

    Raises:
        TimeoutError: it took longer.
    """
    working = asyncio.create_task(work)
    try:
        await asyncio.wait({working}, timeout=timeout)
        if not working.done():
            raise TimeoutError(f"the database did not answer within {timeout:g} s")
    finally:
        if not working.done():
            drop()
            await end([working])
    return working.result()
