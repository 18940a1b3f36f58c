"""Rounds of repair on the owner's connections, begun anew whenever the database is lost.

The operator runs the loops of repair, deletions and catalogue beside its own; `millrace run repair` runs
them alone.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import structlog

from services.platform.postgres.capability import Capability
from services.platform.postgres.connections import Connection
from services.platform.postgres.errors import (
    DATABASE_AWAY,
    DATABASE_FAILURES,
    DatabaseRefusedError,
    with_deadline,
    words_of,
)
from services.platform.runtime.health import Health
from services.platform.runtime.metrics import late_ranges_waiting
from services.platform.runtime.retry import retried
from services.platform.settings import DatabaseSettings, RepairSettings, Settings

from ..aggregates.refresh import refreshing
from .late_ranges import Repaired, promptly, recompute_changed, repair_once
from .retention import watch_retention
from .rollups import RollupKeeper, keeping

__all__ = ["Database", "RepairLoop", "Rounds", "reconnecting", "repair_health"]

log = structlog.get_logger(__name__)

REST = 4
"""Rest after a round, in times its length: a backfill must not keep the database refreshing all the time, and
notes that gather meanwhile are refreshed together. Queries are right all along."""

Database = Callable[[], Awaitable[tuple[DatabaseSettings, Capability]]]
"""Waits for a database whose schema is new enough, and returns how to reach it and what it can do."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between attempts while the database is away. A connection that held for longer than the longest was sound."""

UNDER_WAY = 15.0
"""Seconds after which the first round counts as one that works, before its end: a refresh may take an hour."""


def repair_health(settings: Settings) -> Health:
    """Return the health of the loops that run together; repair may be silent for the length of a refresh."""
    tier = ("tier",) if settings.tier.location else ()
    return Health(
        "repair", "deletions", "catalogue", "partitions", *tier, stuck_after=settings.repair.refresh_timeout * 2 + 120
    )


class Rounds:
    """What a part's health hears of its rounds: that the last one that came to an end did so well.

    A connection alone tells nothing: what refuses each round would else be ready for a moment before each.
    """

    def __init__(self, health: Health, part: str) -> None:
        """Begin with no round that came to an end."""
        self._health, self._part = health, part
        self._failed = False
        self._soon: asyncio.TimerHandle | None = None

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """Have rounds in the block; an error ends it with the round that is under way."""
        if not self._failed:
            self._soon = asyncio.get_running_loop().call_later(UNDER_WAY, self._health.has, self._part)
        try:
            yield
        except Exception:
            self._failed = True
            raise
        finally:
            self._no_longer_the_first()

    def done(self) -> None:
        """Tell that a round came to an end."""
        self._failed = False
        self._health.has(self._part)

    def cut_short(self, problem: str) -> None:
        """Tell that a round could not do all that it should, for a reason that is not the connection's."""
        self._failed = True
        self._no_longer_the_first()
        self._health.lacks(self._part, problem)

    def _no_longer_the_first(self) -> None:
        if self._soon is not None:
            self._soon.cancel()


async def reconnecting(health: Health, part: str, session: Callable[[Rounds], Awaitable[None]]) -> None:
    """Run `session` until cancelled; it connects, works round after round, and ends by the error that it meets.

    Args:
        health: hears what is lacking, and from the session's rounds when all is there.
        part: of the process that needs it, such as "repair".
        session: what is begun anew.
    """
    rounds = Rounds(health, part)

    def failed(error: BaseException) -> None:
        health.lacks(part, words_of(error))

    await retried(
        lambda: session(rounds),
        DATABASE_FAILURES,
        failed,
        first=FIRST_PAUSE,
        longest=LONGEST_PAUSE,
        steady=LONGEST_PAUSE,
    )


class RepairLoop:
    """Refreshes late ranges, or keeps rollups, for as long as it runs."""

    def __init__(self, settings: RepairSettings, health: Health, database: Database) -> None:
        """Take what waits for the database; it is asked at each new connection."""
        self._settings, self._health, self._database = settings, health, database
        self._last: Repaired | None = None
        late_ranges_waiting.show(self._waiting)

    async def run(self) -> None:
        """Round after round, until cancelled; a refresh that is cut short leaves its notes where they are."""
        await reconnecting(self._health, "repair", self._rounds_on_a_connection)

    def _waiting(self) -> float | None:
        return None if self._last is None else self._last.waiting

    async def _rounds_on_a_connection(self, rounds: Rounds) -> None:
        database, capability = await self._database()
        async with self._repairing(database, capability) as (connection, repaired):
            with rounds.connected():
                while True:
                    self._health.beat()
                    began = time.monotonic()
                    # A server that fell silent since the last round is known sooner than by a statement's patience.
                    await with_deadline(connection.execute("select"), database.connect_timeout, connection.terminate)
                    self._last = await repaired()
                    rounds.done()
                    await asyncio.sleep(max(self._settings.interval, REST * (time.monotonic() - began)))

    @contextlib.asynccontextmanager
    async def _repairing(
        self, database: DatabaseSettings, capability: Capability
    ) -> AsyncIterator[tuple[Connection, Callable[[], Awaitable[Repaired]]]]:
        """Lend a connection, and what a round does on it."""
        patience = self._settings.refresh_timeout
        if capability.rollups:
            async with keeping(database, patience) as connection:
                keeper = RollupKeeper(connection, self._health, patience, spread=capability.spread)
                yield connection, keeper.round
            return
        async with refreshing(database, patience) as (connection, guard):

            async def repaired() -> Repaired:
                full = capability.edition == "full"
                if full:
                    await promptly(connection, _watched(connection))
                done = await repair_once(connection, guard, capability, self._health)
                if full:
                    await recompute_changed(connection, guard, self._health)
                return done

            yield connection, repaired


async def _watched(connection: Connection) -> None:
    """Watch over retention; what the database refuses there holds no repair up."""
    try:
        await watch_retention(connection)
    except DATABASE_AWAY:
        raise
    except DatabaseRefusedError as error:
        log.warning("retention could not be looked at", action="retention", problem=str(error))
