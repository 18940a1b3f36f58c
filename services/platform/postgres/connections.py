"""Connections to PostgreSQL whose settings hold, whether the server itself answers or a pooler before it.

A server takes a session's settings with the startup packet. A pooler, such as PgBouncer, refuses them there, or leaves
them out; and in transaction mode each transaction may meet another server process, so that neither settings nor
prepared statements outlive one. So a connection is looked at when it is made: where the server itself did not get our
packet, each transaction sets what it needs for itself, and nothing is prepared by name. Who uses a connection does so
in `asking` or `writing` and need not know which it is.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import structlog
from asyncpg.transaction import Transaction
from pydantic import SecretStr

from ..settings import DatabaseSettings, PostgresAddress, postgres_address
from .errors import DATABASE_FAILURES, PoolerError, UnreplicatedError, message_of

__all__ = ["Connection", "Connector"]

log = structlog.get_logger(__name__)

# What a role or a database may have been given by ALTER … SET, and our statements rely on.
_COMMON = {
    "search_path": "public",
    "default_transaction_isolation": "read committed",
    # Who only reads says so by a setting of its own.
    "default_transaction_read_only": "off",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "client_connection_check_interval": "5000",
}
_DIRECT = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
# A transaction that has begun takes no more notice of the defaults.
_IN_TRANSACTION = {"default_transaction_read_only": "transaction_read_only"}
_MARK = "millrace.connection"
_ATTEMPTS = 3
_LONGEST_ROLLBACK = 5.0
_WARNING = "01000"
_NEEDS_TRANSACTIONS = (
    "the pooler before the database holds no transaction together; set its pool_mode to transaction or session, or "
    "let the URL name the database itself"
)
_NEEDS_SESSION = (
    "the pooler before the database gives each transaction another server process, and the owner needs one for its "
    "session, for locks and refreshes; let the owner's URL name the database itself, or a pool of pool_mode session"
)


class Connection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that knows what is to be set on it.

    Attributes:
        pooled: whether a pooler stands before the server.
    """

    pooled = False
    _local = ""

    @property
    def itself(self) -> "Connection":
        """The connection behind what a pool of asyncpg lends.

        That is a proxy, which is cut off as soon as the server closes the connection: whatever is called on it then,
        `terminate` and `is_closed` too, fails as if by a mistake of the caller.
        """
        return self

    @contextlib.asynccontextmanager
    async def asking(self, *, snapshot: bool = False, first: str = "") -> AsyncIterator[None]:
        """Have the settings hold inside the block, for one statement, or for several that see one `snapshot`.

        `first` is executed before there is that snapshot.

        Raises:
            PoolerError: they do not.
        """
        if self.pooled or snapshot:
            async with self.writing("repeatable read" if snapshot else "read committed", first):
                yield
        else:
            yield

    @contextlib.asynccontextmanager
    async def writing(self, isolation: str = "read committed", first: str = "") -> AsyncIterator[None]:
        """Have a transaction in the block, in which the settings hold; it is committed behind it.

        `first` is executed before anything has a snapshot: a lock, whose names have their schema.

        Raises:
            PoolerError: they do not.
            UnreplicatedError: it is committed, but standbys that it should have waited for may not have it.
        """
        transaction = self.transaction(isolation=isolation.replace(" ", "_"))
        try:
            await transaction.start()
        except asyncpg.PostgresConnectionError as error:
            if self.pooled and "statement pooling" in str(error):
                raise PoolerError(_NEEDS_TRANSACTIONS) from None
            raise
        try:
            if first:
                await self.execute(first)
            if self.pooled:
                await self._set_locally()
            yield
        except BaseException:
            # The connection may have been given up because of what went wrong.
            if not self.is_closed():
                await self._roll_back(transaction)
            raise
        await self._commit(transaction)

    def by_pooler(self, session: dict[str, str]) -> None:
        """Take a pooler to stand before the server; each transaction then sets `session`."""
        token = secrets.token_hex(8)
        # A transaction's own isolation stands in its beginning.
        settings = {name: value for name, value in session.items() if name != "default_transaction_isolation"}
        statements = [
            f"set local {_IN_TRANSACTION.get(name, name)} = '{value}'"
            for name, value in (settings | {_MARK: token}).items()
        ]
        self.pooled = True
        self._local = "; ".join([*statements, _seen(token)])

    async def _roll_back(self, transaction: Transaction) -> None:
        """End a transaction, or the connection; what went wrong before is what is told."""
        try:
            async with asyncio.timeout(_LONGEST_ROLLBACK):
                await transaction.rollback()
        except DATABASE_FAILURES:
            self.terminate()

    async def _commit(self, transaction: Transaction) -> None:
        """Commit, and see that the server has nothing to say about it.

        Where somebody cancels a commit that waits for synchronous standbys, the server answers COMMIT, with a warning
        beside it. Of its words and its class, which is the general one, the words follow the server's language.
        """
        warnings: list[asyncpg.PostgresLogMessage] = []

        def heard(_: asyncpg.Connection, message: asyncpg.PostgresLogMessage) -> None:
            if message.sqlstate == _WARNING:
                warnings.append(message)

        self.add_log_listener(heard)
        try:
            await transaction.commit()
        finally:
            self.remove_log_listener(heard)
        if warnings:
            raise UnreplicatedError(f"the server warns of the commit: {message_of(warnings[0])}")

    async def _set_locally(self) -> None:
        if await self.execute(self._local) != "SELECT 1" or not self.is_in_transaction():
            raise PoolerError(_NEEDS_TRANSACTIONS)


class Connector:
    """The way of a role to its database, and what is set on each of its connections."""

    def __init__(self, url: SecretStr | PostgresAddress, settings: DatabaseSettings, **session: str | int) -> None:
        """Read the URL once; `session` are settings of the server, such as statement_timeout."""
        self.address = url if isinstance(url, PostgresAddress) else postgres_address(url.get_secret_value())
        self.settings = settings
        self._session = {**_COMMON, **{name: str(value) for name, value in session.items()}}
        self._pooled = False

    async def connect(self) -> Connection:
        """Return a new connection.

        Raises:
            DATABASE_AWAY: there is none.
            DatabaseRefusedError: the server refuses.
        """
        if not self._pooled:
            token = secrets.token_hex(8)
            # PgBouncer closes a connection with settings that it does not know.
            with contextlib.suppress(asyncpg.ProtocolViolationError):
                connection = await self._open({**_DIRECT, **self._session, _MARK: token})
                # The packet reached the server, and that process is ours alone.
                seen = f"{_seen(token)} and pg_catalog.pg_backend_pid() = {connection.get_server_pid()}"
                if await self._answer(connection, seen) == "SELECT 1":
                    return connection
                connection.terminate()
        connection = await self._open({}, statement_cache_size=0)
        connection.by_pooler(self._session)
        if not self._pooled:
            log.info("a pooler stands before the database", action="connect", role=self.address.user)
            self._pooled = True
        return connection

    async def untouched(self) -> Connection:
        """Return a new connection to the server itself, on which the first statement is still to come.

        Raises:
            DATABASE_AWAY: there is none.
            DatabaseRefusedError: the server refuses.
        """
        return await self._open(self._session)

    async def session(self) -> Connection:
        """Return a new connection that keeps its server process, and so settings and locks, as long as it is open.

        Raises:
            PoolerError: the pooler before the server gives it another one with each transaction.
            DATABASE_AWAY: there is none.
            DatabaseRefusedError: the server refuses.
        """
        connection = await self.connect()
        if connection.pooled:
            try:
                await self._prove_session(connection)
            except BaseException:
                connection.terminate()
                raise
        return connection

    async def _prove_session(self, connection: Connection) -> None:
        """Set what a session needs, and see that no transaction of another connection meets it."""
        token = secrets.token_hex(8)
        settings = {**self._session, _MARK: token}
        await self._answer(connection, "; ".join(f"set {name} = '{value}'" for name, value in settings.items()))
        other = await self.connect()
        try:
            for _ in range(_ATTEMPTS):
                # The process that served last is the next to serve. While the other holds it, we get another one.
                there = await self._answer(other, f"begin; {_seen(token)}")
                here = await self._answer(connection, _seen(token))
                await self._answer(other, "rollback")
                if (there, here) != ("SELECT 0", "SELECT 1"):
                    break
            else:
                return
        except TimeoutError:
            raise PoolerError(_NEEDS_SESSION) from None
        finally:
            other.terminate()
        # The process that took the settings serves others too.
        await self._answer(connection, "reset all")
        raise PoolerError(_NEEDS_SESSION)

    async def _open(self, session: dict[str, str], **options: Any) -> Connection:
        connection: Connection = await asyncpg.connect(
            **self.address.arguments(),
            **options,
            timeout=self.settings.connect_timeout,
            server_settings={"application_name": "millrace", **session},
            connection_class=Connection,
        )
        return connection

    async def _answer(self, connection: Connection, statements: str) -> str:
        try:
            status: str = await connection.execute(statements, timeout=self.settings.connect_timeout)
        except BaseException:
            connection.terminate()
            raise
        return status


def _seen(token: str) -> str:
    return f"select 1 where pg_catalog.current_setting('{_MARK}', true) = '{token}'"
