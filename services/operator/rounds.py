"""Work on the owner's connections, begun anew when the database is lost."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import asyncpg

from services.platform.health import Health
from services.platform.postgres import DATABASE_AWAY, Capability
from services.platform.settings import DatabaseSettings

__all__ = ["Database", "reconnecting"]

Database = Callable[[], Awaitable[tuple[DatabaseSettings, Capability]]]
"""Waits for a database whose schema is new enough, and returns how to reach it and what it can do."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between attempts while the database is away; each pause is twice the last."""


async def reconnecting(health: Health, part: str, session: Callable[[], Awaitable[None]]) -> None:
    """Run `session` until cancelled; it connects, works round after round, and ends by the error that it meets.

    Args:
        health: hears that the database is away; the session tells when it is there.
        part: of the process that needs it, such as "repair".
        session: what is begun anew.
    """
    pause = FIRST_PAUSE
    while True:
        began = time.monotonic()
        try:
            await session()
        except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
            problem = f"{type(error).__name__}: {error}"
        pause = FIRST_PAUSE if time.monotonic() - began > LONGEST_PAUSE else min(pause * 2, LONGEST_PAUSE)
        health.lacks(part, problem)
        await asyncio.sleep(pause)
