"""One look for all who ask at the same time: twenty open pages cost what one does."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from services.platform.runtime.tasks import end

__all__ = ["Shared"]

T = TypeVar("T")


class Shared(Generic[T]):
    """What a look found, kept for some seconds; a look that is under way serves all who come meanwhile."""

    def __init__(self, look: Callable[[], Coroutine[Any, Any, T]], kept: Callable[[T], float]) -> None:
        """Take what looks, and for how many seconds what it found is kept; a look fails never."""
        self._look = look
        self._kept = kept
        self._task: asyncio.Task[T] | None = None
        self._until = -math.inf

    async def get(self) -> T:
        """Return what was found, if that is still kept, or what is found now."""
        if self._task is None or time.monotonic() >= self._until:
            self._until = math.inf
            self._task = asyncio.create_task(self._looked())
        # Who goes away takes nothing from the others.
        return await asyncio.shield(self._task)

    async def _looked(self) -> T:
        found = await self._look()
        self._until = time.monotonic() + self._kept(found)
        return found

    async def close(self) -> None:
        """Give up a look that is under way."""
        if self._task is not None:
            await end([self._task])
