"""Keeping parts alive: what ends unasked is started again, ever later while it keeps ending."""

import asyncio
import signal
import time
from typing import Protocol

import structlog

from services.platform.runtime.retry import pauses
from services.platform.runtime.starting import StartError

__all__ = ["Part", "supervise"]

log = structlog.get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
STEADY_AFTER = 30.0


class Part(Protocol):
    """What is kept: a service, or a server."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def pid(self) -> int | None:
        """Its process, None where none runs."""

    async def start(self) -> None:
        """Start it."""

    def signal(self, number: signal.Signals) -> None:
        """Send its process a signal, if it runs."""

    async def ended(self) -> int:
        """Wait for its end and return the exit code."""


async def supervise(part: Part) -> None:
    """Start `part` again whenever it ends; who wants it to end cancels this first."""
    waits = pauses(FIRST_PAUSE, LONGEST_PAUSE)
    began = time.monotonic()
    while True:
        code = await part.ended()
        if time.monotonic() - began > STEADY_AFTER:
            waits = pauses(FIRST_PAUSE, LONGEST_PAUSE)
        pause = next(waits)
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        log.error("ended unasked, starts again", action="restart", part=part.name, by=how, pause=pause)
        await asyncio.sleep(pause)
        began = time.monotonic()
        try:
            await part.start()
        except (StartError, OSError) as error:
            log.error(str(error), action="restart", part=part.name)
