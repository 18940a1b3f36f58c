"""Work that may take hours, one piece at a time beside the passes: filling and rebuilding aggregates."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog

from services.database.aggregates.refresh import refreshing
from services.platform.postgres.errors import DATABASE_FAILURES, words_of
from services.platform.runtime.tasks import end
from services.platform.settings import DatabaseSettings

from ..refusals import Refusal

__all__ = ["Background", "Work"]

log = structlog.get_logger(__name__)

AGAIN_AFTER = 60.0
"""Seconds after a failure before the same work is taken up again."""

Work = Callable[[asyncpg.Connection, asyncpg.Connection], Coroutine[Any, Any, Refusal | None]]
"""Takes two connections of the owner: one to work by, and the guard of its refreshes.

Returns why it cannot be done as things are, where a person has to decide. What it raises may go well the next time.
"""


@dataclass(frozen=True, slots=True)
class _Failure:
    """How the last work of a name ended where it did not end well: when, what to say, and whether that is a refusal."""

    at: float
    problem: str
    refusal: Refusal | None = None


class Background:
    """The work under way and how the last of each name ended."""

    def __init__(self, done: Callable[[], None]) -> None:
        """Call `done` whenever a piece of work has ended, well or not."""
        self._done = done
        self._task: asyncio.Task[None] | None = None
        self._name = ""
        self._failed: dict[str, _Failure] = {}

    def offer(self, name: str, settings: DatabaseSettings, work: Work) -> str | None:
        """Begin `work` on connections of its own as the owner, unless something is under way or it has just failed.

        Args:
            name: of the aggregate; what is under way for it is not begun twice.
            settings: of its database.
            work: may be cancelled at any time and begun anew.

        Returns:
            Why the last attempt for this name failed, None where there was none.

        Raises:
            Refusal: the last attempt returned it.
        """
        failed = self._failed.get(name)
        if self._task is None and (failed is None or time.monotonic() - failed.at >= AGAIN_AFTER):
            self._name, self._task = name, asyncio.create_task(self._run(name, settings, work))
        if failed and failed.refusal:
            # Raised again at each pass: its traceback must not grow with them.
            raise failed.refusal.with_traceback(None)
        return failed.problem if failed else None

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
        """Do a piece of work, keep how it ended, and let the next one begin."""
        began = time.monotonic()
        try:
            async with refreshing(settings) as (connection, guard):
                refusal = await work(connection, guard)
        except Refusal as error:
            self._fails(name, _Failure(time.monotonic(), error.message))
        except DATABASE_FAILURES as error:
            self._fails(name, _Failure(time.monotonic(), words_of(error)))
        else:
            if refusal:
                self._fails(name, _Failure(time.monotonic(), refusal.message, refusal))
            else:
                self._failed.pop(name, None)
                seconds = round(time.monotonic() - began, 1)
                log.info("work in the background is done", action="background", aggregate=name, seconds=seconds)
        finally:
            self._task = None
            self._done()

    def _fails(self, name: str, failure: _Failure) -> None:
        self._failed[name] = failure
        log.warning("work in the background failed", action="background", aggregate=name, problem=failure.problem)
