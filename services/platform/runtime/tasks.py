"""Background tasks: those whose failure ends the process, and ending them for certain."""

import asyncio
import signal
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import structlog

__all__ = ["end", "fail_fast", "until_stopped"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

_AGAIN = 0.2


def fail_fast(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run work that the process must not live without: where it fails, the process ends and is started anew.

    Health alone would not do: nobody restarts a pod that is not ready, and one loop of several may be silent for good.
    """

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.critical("a background task failed; ending the process", action="fail_fast", exc_info=error)
            signal.raise_signal(signal.SIGTERM)

    task = asyncio.create_task(work)
    task.add_done_callback(ended)
    return task


async def until_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Event, drain: float = 0) -> T | None:
    """Return what work comes to; None where `stop` comes first and `drain` seconds are too few for what is in hand.

    Raises:
        Exception: whatever the work raised.
    """
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    done, late = await asyncio.wait([working], timeout=drain if stop.is_set() else 0)
    await end([stopping, *late])
    return next((task.result() for task in done), None)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended; their results and errors are dropped.

    Before Python 3.12 `asyncio.wait_for` swallows a cancellation that meets the end of what it waits for
    (python/cpython#86296), and redis-py sends each command through it: one call to `cancel` may have no effect.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=_AGAIN)
        for task in done:
            if not task.cancelled():
                task.exception()
