"""PostgreSQL: pools, the one capability check, and waiting for a schema that is new enough."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from .health import Health
from .settings import DatabaseSettings
from .tasks import end

__all__ = [
    "DATABASE_AWAY",
    "SCHEMA_NEEDED",
    "Capability",
    "answered",
    "capability",
    "connection_options",
    "engine",
    "pool",
    "wait_for_schema",
]

T = TypeVar("T")

SCHEMA_NEEDED = 3
"""The schema version (the highest applied migration) that this release's services need."""

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


@dataclass(frozen=True, slots=True)
class Capability:
    """What a database can do.

    Attributes:
        postgresql: version, such as "18.6".
        timescaledb: version, or None where the extension is not installed.
        edition: "full", "apache" (no aggregates, columnstore or policies) or "none".
        missing: what therefore does not work, a sentence each.
    """

    postgresql: str
    timescaledb: str | None
    edition: str
    missing: tuple[str, ...]

    @property
    def compresses_on_copy(self) -> bool:
        """Whether COPY can write into the columnstore beside continuous aggregates: TimescaleDB 2.24 and later."""
        return self.edition == "full" and not self.missing

    def __str__(self) -> str:
        if self.edition == "full":
            return f"PostgreSQL {self.postgresql} with TimescaleDB {self.timescaledb}"
        why = f"TimescaleDB {self.timescaledb}, Apache edition" if self.timescaledb else "no TimescaleDB"
        return f"PostgreSQL {self.postgresql} in plain mode ({why})"


async def capability(connection: Any) -> Capability:
    """Ask a connection what its database can do. This is the one check; services branch on nothing else."""
    row = await connection.fetchrow(
        """
        select current_setting('server_version') as postgresql,
               (select extversion from pg_extension where extname = 'timescaledb') as timescaledb,
               current_setting('timescaledb.license', true) as license
        """
    )
    version: str | None = row["timescaledb"]
    postgresql = row["postgresql"].split()[0]
    if version is None or row["license"] != "timescale":
        edition = "none" if version is None else "apache"
        missing = (
            "continuous aggregates: measurement_hourly is an ordinary view, computed at each question",
            "columnstore: rows are stored uncompressed",
            "chunks, refresh and retention policies",
        )
        return Capability(postgresql, version, edition, missing)
    missing_in_full: tuple[str, ...] = ()
    if tuple(int(part) for part in version.split(".")[:2]) < (2, 24):
        missing_in_full = ("compression on COPY: it needs TimescaleDB 2.24 beside continuous aggregates",)
    return Capability(postgresql, version, "full", missing_in_full)


def connection_options(settings: DatabaseSettings, **server: str | int) -> dict[str, Any]:
    """Return asyncpg's connection arguments; `server` are settings of the session, such as statement_timeout."""
    return {
        "timeout": settings.connect_timeout,
        "server_settings": {
            "application_name": "millrace",
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
            "client_connection_check_interval": "5000",
            **{name: str(value) for name, value in server.items()},
        },
    }


async def pool(url: str, settings: DatabaseSettings, size: int | None = None, **server: str | int) -> asyncpg.Pool:
    """Return a pool that connects when it is first used; `size` caps it below the setting.

    Who uses a connection leaves no session state behind, so none is reset: that would be a round trip a use.
    """

    async def keep(_: asyncpg.Connection) -> None:
        return

    return await asyncpg.create_pool(
        url,
        reset=keep,
        min_size=0,
        max_size=min(size or settings.pool_size, settings.pool_size),
        **connection_options(settings, **server),
    )


async def answered(work: Coroutine[Any, Any, T], timeout: float, drop: Callable[[], None]) -> T:
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


def engine(url: str, settings: DatabaseSettings, **server: str | int) -> AsyncEngine:
    """Return SQLAlchemy's engine on asyncpg for `url`, with the session settings `server`.

    asyncpg reads the URL itself, for it knows what PostgreSQL's URLs may say, such as sslmode.
    """

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(url, **connection_options(settings, **server))

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        # A question is one statement; transactions would cost each look at an idle connection two round trips more.
        isolation_level="AUTOCOMMIT",
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.connect_timeout,
        pool_pre_ping=True,
    )


async def wait_for_schema(url: str, settings: DatabaseSettings, health: Health, part: str = "database") -> Capability:
    """Wait until the database answers and its schema is new enough, saying meanwhile in `health` what lacks."""
    pause = 0.2
    while True:
        try:
            connection = await asyncpg.connect(url, **connection_options(settings))
            try:
                # Asked for before it is read, or the server's log would have an error for each look.
                made = await connection.fetchval("select to_regclass('schema_migrations') is not null")
                version = await connection.fetchval("select max(version) from schema_migrations") if made else None
                if (version or 0) >= SCHEMA_NEEDED:
                    health.has(part)
                    return await capability(connection)
                has = f"its schema has version {version}" if made else "it has no schema yet"
                problem = f"{has}, version {SCHEMA_NEEDED} is needed; apply sql/ (millrace schema apply)"
            finally:
                await connection.close()
        except DATABASE_AWAY as error:
            problem = f"the database cannot be reached: {type(error).__name__}: {error}"
        except asyncpg.PostgresError as error:
            problem = f"the database refuses: {error}"
        health.lacks(part, problem)
        await asyncio.sleep(pause)
        pause = min(pause * 2, 5.0)
