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
from dataclasses import dataclass, field, replace

import structlog

from services.platform.postgres.connections import Connection, Connector
from services.platform.postgres.errors import DATABASE_FAILURES
from services.platform.postgres.pool import Pool
from services.platform.settings import DatabaseSettings, PostgresAddress, postgres_address

__all__ = ["Positions", "Replica", "Replicas", "one_address_a_host"]

log = structlog.get_logger(__name__)

INTERVAL = 1.0
"""Seconds between looks at a server's position."""

WRITTEN = "select pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"

REPLAYED = """
select pg_wal_lsn_diff(
  case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end, '0/0'
)::bigint
"""


def one_address_a_host(address: PostgresAddress) -> list[PostgresAddress]:
    """Return an address for each of the hosts that `address` names."""
    return [replace(address, hosts=(host,)) for host in address.hosts] or [address]


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
        instant = self.replayed_at(replayed)
        return 0.0 if self._notes and instant == self._notes[-1][0] else at - instant

    def replayed_at(self, replayed: int) -> float:
        """Return the last instant of which a server has all that was written; before all time where no note tells."""
        return next((instant for instant, written in reversed(self._notes) if written <= replayed), -math.inf)


@dataclass(slots=True)
class Replica:
    """A server to read from: its host, its pool, how many seconds it is behind, and as of when it answers.

    `as_of` is in microseconds since 1970-01-01 UTC: what the primary had written before, the server has.
    """

    host: str
    pool: Pool
    lag: float = field(default=math.inf)
    as_of: int = 0


class Replicas:
    """The replicas of a primary; there may be none."""

    def __init__(self, settings: DatabaseSettings, max_lag: float, pool: Callable[[PostgresAddress], Pool]) -> None:
        """Connect later, in `run`; `pool` makes the connections to an address."""
        self._settings = settings
        self._max_lag = max_lag
        self._positions = Positions(max_lag + 60)
        named = settings.replica_url
        addresses = one_address_a_host(postgres_address(named.get_secret_value())) if named else []
        self._replicas = [Replica(address.where, pool(address)) for address in addresses]
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
        primary = self._watch(
            Connector(self._settings.reader_url, self._settings, default_transaction_read_only="on"),
            WRITTEN,
            self._written,
        )
        async with asyncio.TaskGroup() as watches:
            watches.create_task(primary)
            for replica in self._replicas:
                seen = _Seen(replica, self._positions, self._max_lag)
                watches.create_task(self._watch(replica.pool.connector, REPLAYED, seen))

    def close(self) -> None:
        """Drop all connections."""
        for replica in self._replicas:
            replica.pool.drop()

    def _written(self, asked: float, position: int | None) -> None:
        if position is not None:
            self._positions.note(asked, position)

    async def _watch(self, connector: Connector, statement: str, seen: Callable[[float, int | None], None]) -> None:
        """Tell `seen` when a server was asked for its position, and what it is, every second; None while it is away.

        The instant is that before the question: what was committed by then, the position has behind it.
        """
        connection: Connection | None = None
        try:
            while True:
                asked = time.monotonic()
                try:
                    async with asyncio.timeout(self._settings.connect_timeout):
                        if connection is None:
                            connection = await connector.connect()
                        asked = time.monotonic()
                        async with connection.asking():
                            position = await connection.fetchval(statement)
                        seen(asked, position)
                except DATABASE_FAILURES:
                    seen(asked, None)
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

    def __call__(self, _: float, position: int | None) -> None:
        replayed_at = -math.inf if position is None else self.positions.replayed_at(position)
        lag = math.inf if position is None else self.positions.lag(time.monotonic(), position)
        self.replica.lag = lag
        if math.isfinite(replayed_at):
            self.replica.as_of = int((time.time() - time.monotonic() + replayed_at) * 1_000_000)
        fresh = lag <= self.max_lag
        if fresh is not self.told:
            self.told = fresh
            why = "away" if position is None else "fresh" if fresh else f"{lag:.0f} s behind"
            log.info("a read replica is asked" if fresh else "a read replica is not asked", action="watch_replicas",
                     replica=self.replica.host, why=why)  # fmt: skip
