"""Work on the owner's connections, begun anew when the database is lost, and when it counts as ready."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator

import asyncpg

from services.platform.postgres.capability import Capability
from services.platform.postgres.errors import DATABASE_AWAY
from services.platform.runtime.health import Health
from services.platform.settings import DatabaseSettings

__all__ = ["Database", "Rounds", "reconnecting"]

Database = Callable[[], Awaitable[tuple[DatabaseSettings, Capability]]]
"""Waits for a database whose schema is new enough, and returns how to reach it and what it can do."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between attempts while the database is away; each pause is twice the last."""


UNDER_WAY = 15.0
"""Seconds after which the first round counts as one that works, before its end: a refresh may take an hour."""


class Rounds:
    """What a part's health hears of its rounds: that the last one that came to an end did so well.

    A connection alone tells nothing: what refuses each round would else be ready for a moment before each.
    """

    def __init__(self, health: Health, part: str) -> None:
        """Begin with no round that came to an end."""
        self._health, self._part = health, part
        self._failed = False

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """Have rounds in the block; an error ends it with the round that is under way."""
        soon = None
        if not self._failed:
            soon = asyncio.get_running_loop().call_later(UNDER_WAY, self._health.has, self._part)
        try:
            yield
        except Exception:
            self._failed = True
            raise
        finally:
            if soon is not None:
                soon.cancel()

    def done(self) -> None:
        """Tell that a round came to an end."""
        self._failed = False
        self._health.has(self._part)


async def reconnecting(health: Health, part: str, session: Callable[[Rounds], Awaitable[None]]) -> None:
    """Run `session` until cancelled; it connects, works round after round, and ends by the error that it meets.

    Args:
        health: hears what is lacking, and from the session's rounds when all is there.
        part: of the process that needs it, such as "repair".
        session: what is begun anew.
    """
    pause, rounds = FIRST_PAUSE, Rounds(health, part)
    while True:
        began = time.monotonic()
        try:
            await session(rounds)
        except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
            problem = f"{type(error).__name__}: {error}"
        pause = FIRST_PAUSE if time.monotonic() - began > LONGEST_PAUSE else min(pause * 2, LONGEST_PAUSE)
        health.lacks(part, problem)
        await asyncio.sleep(pause)
