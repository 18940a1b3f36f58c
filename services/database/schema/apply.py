"""Applying `sql/`: init.sql, then the migrations that a database has not had, under one lock.

Everything may be repeated and may run twice at once. What a database has had stands in its own ledger,
`schema_migrations`, with a hash: a released migration that was changed is refused before anything runs.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import structlog
from pydantic import SecretStr
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_delay,
    wait_random,
)

from services.platform.postgres.capability import Capability, capability
from services.platform.postgres.connections import Connector
from services.platform.postgres.errors import DATABASE_AWAY, DatabaseRefusedError, PoolerError, words_of
from services.platform.settings import DatabaseSettings, PostgresAddress, postgres_address

from ..partitions.upkeep import keep
from .scram import scram_verifier
from .scripts import INIT_VERSION, SQL, Migration, SchemaError, included, migrations
from .status import ledger, pending

__all__ = [
    "OWNER",
    "READER",
    "WRITER",
    "Applied",
    "DatabaseAwayError",
    "SchemaError",
    "apply",
    "bootstrap",
    "connected",
    "login",
    "renew",
]

log = structlog.get_logger(__name__)

OWNER, WRITER, READER = "millrace_owner", "millrace_writer", "millrace_reader"


class DatabaseAwayError(SchemaError):
    """The database cannot be reached; what it will say then is not known."""


RETRY_FOR = 15.0
"""Seconds to try again: to connect to a database that is just starting, or a change that another apply crosses."""

LOCK_TIMEOUT = "60s"
"""Longest wait for the lock or for a table; a change that waits longer would hold up everybody behind it."""

LOCK = 0x6D696C6C72616365
"""Key of the advisory lock: "millrace"."""


THERE = """
select relname::text from pg_class where relnamespace = 'public'::regnamespace
union
select oid::regprocedure::text from pg_proc where pronamespace = 'public'::regnamespace
"""


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply did.

    Attributes:
        capability: what the database can do.
        version: the schema's version now.
        migrations: what ran for the first time, in order; empty where there was nothing to do.
        made: names of what was absent although the schema was there: lost, or new in `init.sql`.
    """

    capability: Capability
    version: int
    migrations: tuple[str, ...]
    made: tuple[str, ...] = ()

    @property
    def did(self) -> tuple[str, ...]:
        """What was done, in words."""
        return (*self.migrations, *(f"made {name}" for name in self.made))


async def apply(settings: DatabaseSettings, sql: Path = SQL) -> Applied:
    """Bring the database of `settings.owner_url` to the newest version in `sql`; set the roles' passwords.

    A database that is newer than `sql` is left as it is.

    Raises:
        SchemaError: the database is away or refuses, a released migration was changed, or a file breaks the
            rules of `sql/README.md`.
    """
    known = migrations(sql / "migrations")
    async with connected(settings.owner_url, settings) as connection:
        await connection.execute(f"set lock_timeout = '{LOCK_TIMEOUT}'")
        await connection.execute(f"select pg_advisory_lock({LOCK})")
        had = await ledger(connection)
        waiting = pending(known, had)
        newest = known[-1].version if known else INIT_VERSION
        made = set[str]()
        if max(had, default=0) <= newest:
            before = await _there(connection)
            await _init(connection, sql, settings)
            made = await _there(connection) - before if INIT_VERSION in had else made
            for migration in waiting:
                await _migrate(connection, migration)
            await _distribute(connection, sql)
            await keep(connection)
        done = ([] if INIT_VERSION in had else ["0001 init"]) + [str(migration) for migration in waiting]
        version = max(newest, *had, INIT_VERSION)
        applied = Applied(await capability(connection), version, tuple(done), tuple(sorted(made)))
    did, database = list(applied.did), str(applied.capability)
    log.info("schema applied", action="apply_schema", version=version, did=did, database=database)
    return applied


async def _there(connection: asyncpg.Connection) -> set[str]:
    """Return the names of relations and functions in the schema that ours are in."""
    return {name for (name,) in await connection.fetch(THERE)}


async def bootstrap(admin_url: str, settings: DatabaseSettings, sql: Path = SQL) -> None:
    """Make the database and the role of `settings.owner_url` where they are absent, as superuser.

    Args:
        admin_url: a superuser's connection to any database of the server.
        settings: names the database, and the owner's password if it has one.
        sql: folder of `bootstrap.sql`.

    Raises:
        SchemaError: the server is away or refuses.
    """
    name = postgres_address(settings.owner_url.get_secret_value()).database
    admin = postgres_address(admin_url)
    async with connected(admin, settings) as connection:
        if not await connection.fetchval("select true from pg_database where datname = $1", name):
            quoted = await connection.fetchval("select quote_ident($1)", name)
            await connection.execute(f"create database {quoted}")
    async with connected(replace(admin, database=name), settings) as connection:
        async for attempt in _while_contended():
            with attempt:
                await connection.execute((sql / "bootstrap.sql").read_text())
                await login(connection, OWNER, settings.owner_url)


@asynccontextmanager
async def connected(url: SecretStr | PostgresAddress, settings: DatabaseSettings) -> AsyncIterator[asyncpg.Connection]:
    """Connect by `url`, waiting for a database that is just starting, and disconnect behind the block.

    Raises:
        SchemaError: the database is away or refuses something in the block.
    """
    connector = Connector(url, settings)
    try:
        async for attempt in _while_away():
            with attempt:
                connection = await connector.session()
    except PoolerError as error:
        raise SchemaError(str(error)) from None
    except DATABASE_AWAY as error:
        raise DatabaseAwayError(f"the database cannot be reached: {words_of(error)}") from error
    try:
        yield connection
    except DatabaseRefusedError as error:
        raise SchemaError(f"the database refuses: {error}") from error
    except DATABASE_AWAY as error:
        raise DatabaseAwayError(f"the database went away: {words_of(error)}") from error
    finally:
        # A session that ends gives its locks back; it is not asked politely when the server hangs.
        await asyncio.shield(connection.close(timeout=settings.connect_timeout))


async def _init(connection: asyncpg.Connection, sql: Path, settings: DatabaseSettings) -> None:
    """Run init.sql and set the passwords, all or nothing: it is run at each apply, and alters what differs."""
    async for attempt in _while_contended():
        with attempt:
            async with connection.transaction():
                for path in included(sql / "init.sql"):
                    await _run(connection, path.name, path.read_text())
                await login(connection, WRITER, settings.writer_url)
                await login(connection, READER, settings.reader_url)


async def _migrate(connection: asyncpg.Connection, migration: Migration) -> None:
    """Run a migration and note that the database has had it.

    One that cannot run in a transaction is noted behind it: where the two are cut apart it runs again, and its file
    must bear that.
    """
    if migration.transactional:
        async with connection.transaction():
            await _run(connection, str(migration), migration.body)
            await _record(connection, migration)
    else:
        await _run(connection, str(migration), migration.body)
        await _record(connection, migration)
    log.info("migration applied", action="migrate", migration=str(migration))


async def _distribute(connection: asyncpg.Connection, sql: Path) -> None:
    """Spread the readings over the nodes, where there are some.

    Behind the migrations: what they do to an ordinary table is more than Citus takes for a distributed one.
    """
    async with connection.transaction():
        await _run(connection, "citus.sql", (sql / "citus.sql").read_text())


async def _record(connection: asyncpg.Connection, migration: Migration) -> None:
    await connection.execute(
        "insert into schema_migrations (version, name, body_sha256) values ($1, $2, $3)",
        migration.version,
        migration.name,
        migration.sha256,
    )


async def _run(connection: asyncpg.Connection, name: str, body: str) -> None:
    """Run a file; what the database refuses of it is told with the file's name and line."""
    try:
        await connection.execute(body)
    except asyncpg.InternalServerError:
        # "tuple concurrently updated" is one of these, and tried again.
        raise
    except DatabaseRefusedError as error:
        line = f" line {body[: int(error.position)].count(chr(10)) + 1}" if error.position else ""
        hint = f" ({error.hint})" if error.hint else ""
        raise SchemaError(f"{name}{line}: {error.message}{hint}") from error


async def login(connection: asyncpg.Connection, role: str, url: SecretStr) -> None:
    """Let `role` log in with the URL's password; a URL of another name or without one leaves that alone.

    Args:
        connection: of a role that may change it, such as itself.
        role: whose password it is.
        url: of a connection as that role.

    Raises:
        SchemaError: not every client could log in by the password.
        DatabaseRefusedError: the database refuses.
    """
    if postgres_address(url.get_secret_value()).user == role:
        await connection.execute(f"alter role {role} login {_password(url)}")


async def renew(connection: asyncpg.Connection, url: SecretStr) -> None:
    """Give the connection's own role, which may change nothing else about itself, the password of `url`.

    Raises:
        SchemaError: not every client could log in by the password.
        DatabaseRefusedError: the database refuses.
    """
    await connection.execute(f"alter role current_user {_password(url)}")


def _password(url: SecretStr) -> str:
    address = postgres_address(url.get_secret_value())
    if address.password is None:
        return ""
    try:
        return f"password '{scram_verifier(address.password)}'"
    except ValueError as error:
        raise SchemaError(f"the password of {address.user} cannot be used: {error}") from None


def _while_away() -> AsyncRetrying:
    """Try again where the database is away, and say so once; a pooler that gives no session never will."""
    return AsyncRetrying(
        retry=retry_if_exception_type(DATABASE_AWAY) & retry_if_not_exception_type(PoolerError),
        stop=stop_after_delay(RETRY_FOR),
        wait=wait_random(0.1, 0.5),
        before_sleep=_say_once,
        reraise=True,
    )


def _while_contended() -> AsyncRetrying:
    """Try again where another database's apply changes the server's roles at the same moment."""
    return AsyncRetrying(
        retry=retry_if_exception(lambda error: "tuple concurrently updated" in str(error)),
        stop=stop_after_delay(RETRY_FOR),
        wait=wait_random(0, 0.2),
        reraise=True,
    )


def _say_once(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if state.attempt_number == 1 and error:
        log.info("waiting for the database", action="connect", problem=words_of(error), seconds=RETRY_FOR)
