"""PostgreSQL: the one capability check, limits on answers, and waiting for a schema that is new enough."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

from .connections import DATABASE_AWAY, Connection, Connector, PoolerError
from .health import Health
from .tasks import end

__all__ = [
    "DATABASE_AWAY",
    "SCHEMA_NEEDED",
    "Capability",
    "answered",
    "capability",
    "look_at_schema",
    "refused",
    "wait_for_schema",
]

T = TypeVar("T")

Needed = Callable[[Connection], Awaitable[None]] | None
"""Asks of a connection what must be possible; what is not leaves as the database's error."""

SCHEMA_NEEDED = 3
"""The schema version (the highest applied migration) that this release's services need."""


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


def refused(error: asyncpg.PostgresError) -> str:
    """Return in words what a database refuses; what it lacks, or has given nobody the right to, is of its schema."""
    if isinstance(error, asyncpg.SyntaxOrAccessError):
        return f"the database lacks something: {error}; apply sql/ (millrace schema apply)"
    return f"the database refuses: {error}"


async def look_at_schema(connector: Connector, needed: Needed = None, *, session: bool = False) -> Capability | str:
    """Return what a database can do, or in words why it is not fit.

    Args:
        connector: a role's way to it.
        needed: asks what must be possible.
        session: whether a pooler that keeps none makes it unfit.
    """
    try:
        connection = await (connector.session() if session else connector.connect())
        try:
            async with connection.asking():
                # Asked for before it is read, or the server's log would have an error for each look.
                made = await connection.fetchval("select to_regclass('schema_migrations') is not null")
                version = await connection.fetchval("select max(version) from schema_migrations") if made else None
                if (version or 0) >= SCHEMA_NEEDED:
                    found = await capability(connection)
                    if needed:
                        await needed(connection)
                    return found
            has = f"its schema has version {version}" if made else "it has no schema yet"
            return f"{has}, version {SCHEMA_NEEDED} is needed; apply sql/ (millrace schema apply)"
        finally:
            await connection.close()
    except PoolerError as error:
        return str(error)
    except DATABASE_AWAY as error:
        return f"the database cannot be reached: {type(error).__name__}: {error}"
    except asyncpg.PostgresError as error:
        return refused(error)


async def wait_for_schema(
    connector: Connector, health: Health, part: str = "database", needed: Needed = None, *, session: bool = False
) -> Capability:
    """Wait until `look_at_schema` finds a database fit, saying meanwhile in `health` what lacks."""
    pause = 0.2
    while isinstance(found := await look_at_schema(connector, needed, session=session), str):
        health.lacks(part, found)
        await asyncio.sleep(pause)
        pause = min(pause * 2, 5.0)
    health.has(part)
    return found
