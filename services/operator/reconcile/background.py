"""Work that may take hours, one piece at a time beside the passes: filling and rebuilding aggregates."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import structlog

from services.database.aggregates.refresh import refreshing
from services.platform.postgres.errors import DATABASE_AWAY
from services.platform.runtime.tasks import end
from services.platform.settings import DatabaseSettings

from ..status.refusals import Refused
from .apply import ReconcileError

__all__ = ["Background", "Work"]

log = structlog.get_logger(__name__)

AGAIN_AFTER = 60.0
"""Seconds after a failure before the same work is taken up again."""

Work = Callable[[asyncpg.Connection, asyncpg.Connection], Coroutine[Any, Any, None]]
"""Takes two connections of the owner: one to work by, and the guard of its refreshes."""


class Background:
    """The work under way and how the last of each name ended."""

    def __init__(self, done: Callable[[], None]) -> None:
        """Call `done` whenever a piece of work has ended, well or not."""
        self._done = done
        self._task: asyncio.Task[None] | None = None
        self._name = ""
        self._failed: dict[str, tuple[float, Exception]] = {}

    def offer(self, name: str, settings: DatabaseSettings, work: Work) -> str | None:
        """Begin `work` on connections of its own as the owner, unless something is under way or it has just failed.

        Args:
            name: of the aggregate; what is under way for it is not begun twice.
            settings: of its database.
            work: may be cancelled at any time and begun anew.

        Returns:
            Why the last attempt for this name failed, None where there was none.

        Raises:
            Refused: the last attempt was, and nothing was applied.
        """
        failed_at, error = self._failed.get(name, (-math.inf, None))
        if self._task is None and time.monotonic() - failed_at >= AGAIN_AFTER:
            self._name, self._task = name, asyncio.create_task(self._run(name, settings, work))
        if isinstance(error, Refused):
            raise error
        return f"{type(error).__name__}: {error}" if error else None

    async def withdraw(self, name: str) -> None:
        """Cut short what is under way for a name, and forget how it failed: nothing is to be done for it any more."""
        self._failed.pop(name, None)
        if self._task and self._name == name:
            await end((self._task,))

    async def stop(self) -> None:
        """Cut short what is under way."""
        if self._task:
            await end((self._task,))

    async def _run(self, name: str, settings: DatabaseSettings, work: Work) -> None:
        began = time.monotonic()
        try:
            async with refreshing(settings) as (connection, guard):
                await work(connection, guard)
        except (Refused, ReconcileError, asyncpg.PostgresError, *DATABASE_AWAY) as error:
            self._failed[name] = time.monotonic(), error
            log.warning("work in the background failed", action="background", aggregate=name, problem=str(error))
        else:
            self._failed.pop(name, None)
            log.info("work in the background is done", aggregate=name, seconds=round(time.monotonic() - began, 1))
        finally:
            self._task = None
            self._done()
