"""Read replicas: which of them are fresh enough to answer, judged by the primary's own positions in its log.

The primary's position is noted every second. A replica that has replayed what was noted at an instant is as fresh as
that instant, whatever its clock says and however idle the primary is. While the primary is away nothing new comes, so
who has replayed the last note is fresh.
"""

import asyncio
import itertools
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import asyncpg
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from .postgres import DATABASE_AWAY, connection_options
from .settings import DatabaseSettings

__all__ = ["Positions", "Replica", "Replicas", "one_url_a_host"]

log = structlog.get_logger(__name__)

INTERVAL = 1.0
"""Seconds between looks at a server's position."""

WRITTEN = "select pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"

REPLAYED = """
select pg_wal_lsn_diff(
  case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end, '0/0'
)::bigint
"""


def one_url_a_host(url: str) -> list[str]:
    """Return a URL for each of the hosts that `url` names, separated by commas as in libpq's URLs."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    return [parts._replace(netloc=user + at + host).geturl() for host in hosts.split(",")]


class Positions:
    """What the primary had written and when, for a span of seconds."""

    def __init__(self, span: float) -> None:
        self._span = span
        self._notes: deque[tuple[float, int]] = deque()

    def note(self, at: float, written: int) -> None:
        """Note that the primary had written so many bytes at an instant of a clock that never goes back."""
        self._notes.append((at, written))
        while self._notes[0][0] < at - self._span:
            self._notes.popleft()

    def lag(self, at: float, replayed: int) -> float:
        """Return how many seconds a server is behind that has replayed so many bytes; infinite where no note tells."""
        for instant, written in reversed(self._notes):
            if written <= replayed:
                return 0.0 if instant == self._notes[-1][0] else at - instant
        return math.inf


@dataclass(slots=True)
class Replica:
    """A server to read from: its host, its pool, and how many seconds it is behind."""

    host: str
    url: str
    engine: AsyncEngine
    lag: float = field(default=math.inf)


class Replicas:
    """The replicas of a primary; there may be none."""

    def __init__(self, settings: DatabaseSettings, max_lag: float, engine: Callable[[str], AsyncEngine]) -> None:
        """Connect later, in `run`; `engine` makes the pool for a URL."""
        self._settings = settings
        self._max_lag = max_lag
        self._positions = Positions(max_lag + 60)
        urls = one_url_a_host(settings.replica_url.get_secret_value()) if settings.replica_url else []
        self._replicas = [Replica(urlsplit(url).netloc.rpartition("@")[2], url, engine(url)) for url in urls]
        self._turn = itertools.count()

    def fresh(self) -> list[Replica]:
        """Return the replicas that may be asked, another one first each time."""
        fresh = [replica for replica in self._replicas if replica.lag <= self._max_lag]
        first = next(self._turn) % len(fresh) if fresh else 0
        return fresh[first:] + fresh[:first]

    def away(self, replica: Replica) -> None:
        """Ask a replica no more until it has been seen again."""
        replica.lag = math.inf

    async def run(self) -> None:
        """Watch the primary and the replicas, for ever."""
        if not self._replicas:
            return
        primary = self._watch(self._settings.reader_url.get_secret_value(), WRITTEN, self._written)
        async with asyncio.TaskGroup() as watches:
            watches.create_task(primary)
            for replica in self._replicas:
                watches.create_task(self._watch(replica.url, REPLAYED, _Seen(replica, self._positions, self._max_lag)))

    async def close(self) -> None:
        """Close all connections."""
        for replica in self._replicas:
            await replica.engine.dispose()

    def _written(self, position: int | None) -> None:
        if position is not None:
            self._positions.note(time.monotonic(), position)

    async def _watch(self, url: str, statement: str, seen: Callable[[int | None], None]) -> None:
        """Tell `seen` a server's position every second, None while it is away."""
        connection: asyncpg.Connection | None = None
        try:
            while True:
                try:
                    async with asyncio.timeout(self._settings.connect_timeout):
                        if connection is None:
                            connection = await asyncpg.connect(url, **connection_options(self._settings))
                        seen(await connection.fetchval(statement))
                except (asyncpg.PostgresError, *DATABASE_AWAY):
                    seen(None)
                    if connection is not None:
                        connection.terminate()
                        connection = None
                await asyncio.sleep(INTERVAL)
        finally:
            if connection is not None:
                connection.terminate()


@dataclass(slots=True)
class _Seen:
    """Judges a replica by each look at it, and says so when the judgement turns."""

    replica: Replica
    positions: Positions
    max_lag: float
    told: bool | None = None

    def __call__(self, position: int | None) -> None:
        lag = math.inf if position is None else self.positions.lag(time.monotonic(), position)
        self.replica.lag = lag
        fresh = lag <= self.max_lag
        if fresh is not self.told:
            self.told = fresh
            why = "away" if position is None else "fresh" if fresh else f"{lag:.0f} s behind"
            log.info("a read replica is asked" if fresh else "a read replica is not asked", action="watch_replicas",
                     replica=self.replica.host, why=why)  # fmt: skip
