"""Backpressure: ingest says 429 while the backlog is past its limits, long before the server runs out of memory."""

import asyncio
import math
import random
import time

import structlog

from services.platform.errors import Problem
from services.platform.health import Health
from services.platform.metrics import observe_backlog
from services.platform.settings import IngestSettings, RedisSettings
from services.platform.stream import (
    STREAM_ERRORS,
    Backlog,
    Durability,
    Stream,
    durability,
    settings_problem,
)

__all__ = ["Admission", "retry_after"]

log = structlog.get_logger(__name__)

_INTERVAL = 0.5
_RECHECK = 30.0
_MEMORY_SHARE = 0.8
"""Share of the server's memory limit past which nothing more is taken in, whoever filled it."""
_SMOOTHING = 0.3


class Admission:
    """Watches the stream's server, and refuses requests while it must not be given more."""

    def __init__(self, stream: Stream, redis: RedisSettings, limits: IngestSettings, health: Health) -> None:
        self._stream = stream
        self._redis = redis
        self._limits = limits
        self._health = health
        self._refusal: Problem | None = Problem("stream_unavailable", "the service is starting", {"Retry-After": "1"})
        self._checked_at = -math.inf
        self._drain = 0.0
        self._last: tuple[float, Backlog] | None = None
        self._durability = Durability.NONE
        self._judged = asyncio.Event()
        observe_backlog(lambda: self._last[1] if self._last else None)

    def check(self) -> None:
        """Let a request pass.

        Raises:
            Problem: `backlog_full`, `stream_full` or `stream_unavailable`, with Retry-After.
        """
        if self._refusal is not None:
            # It stands for many requests, and would else keep a traceback of each.
            raise self._refusal.with_traceback(None)

    async def durability(self) -> Durability:
        """Return how the server proves a write, as soon as it has been asked."""
        await self._judged.wait()
        return self._durability

    async def run(self) -> None:
        """Look at the server twice a second, for ever."""
        while True:
            try:
                await self._look()
            except STREAM_ERRORS as error:
                self._checked_at = -math.inf
                self._refuse("stream_unavailable", "the stream's server cannot be reached", 1)
                self._health.lacks("stream", f"the stream's server cannot be reached: {error}")
            await asyncio.sleep(_INTERVAL)

    async def _look(self) -> None:
        if time.monotonic() - self._checked_at > _RECHECK:
            problem = await self._settings_problem()
            if problem is not None:
                self._health.lacks("stream", problem)
                self._refuse("stream_unavailable", f"the stream's server is not fit for use: {problem}", 30)
                log.error("the stream's server is not fit for use", action="check_server", problem=problem)
                return
            self._checked_at = time.monotonic()
        backlog = await self._stream.backlog()
        used, limit = await self._stream.memory()
        self._measure(backlog)
        self._health.has("stream")
        if limit and used > _MEMORY_SHARE * limit:
            wait = retry_after(used - _MEMORY_SHARE * limit, self._drain)
            self._refuse("backlog_full", "the stream's server is nearly out of memory", wait)
        elif full := self._passed(backlog):
            self._refuse("backlog_full", full, retry_after(backlog.bytes / 10, self._drain))
        else:
            self._refusal = None

    async def _settings_problem(self) -> str | None:
        problem = await settings_problem(self._stream.client)
        if problem is not None:
            return problem
        found = await durability(self._stream.client)
        if found is Durability.NONE and not self._redis.allow_weak_durability:
            return (
                "it can neither fsync each write nor be asked by WAITAOF; set appendonly yes, or accept "
                "that a power cut may lose readings by MILLRACE_REDIS_ALLOW_WEAK_DURABILITY=true"
            )
        self._durability = found
        self._judged.set()
        return None

    def _passed(self, backlog: Backlog) -> str | None:
        limits = self._limits
        if backlog.bytes >= limits.backlog_bytes:
            return f"the backlog holds {backlog.bytes} bytes, the limit is {limits.backlog_bytes}"
        if backlog.entries >= limits.backlog_entries:
            return f"the backlog holds {backlog.entries} entries, the limit is {limits.backlog_entries}"
        if backlog.age >= limits.backlog_age:
            return f"the oldest entry waits for {backlog.age:.0f} s, the limit is {limits.backlog_age:.0f} s"
        return None

    def _measure(self, backlog: Backlog) -> None:
        """Follow the drain rate (bytes/s) while nothing is let in; the last one known stands for the next time."""
        now = time.monotonic()
        if self._last is not None and self._refusal is not None:
            then, before = self._last
            rate = max(0.0, (before.bytes - backlog.bytes) / max(now - then, 0.01))
            self._drain += _SMOOTHING * (rate - self._drain)
        self._last = (now, backlog)

    def _refuse(self, code: str, detail: str, seconds: float) -> None:
        self._refusal = Problem(code, detail, {"Retry-After": str(math.ceil(seconds))})


def retry_after(excess: float, drain: float) -> float:
    """Return after how many seconds (1 to 60) `excess` bytes are gone at `drain` bytes/s, spread by a fifth.

    Where nothing drains it is 10 s: clients should look again, and not all at once.
    """
    wait = excess / drain if drain > 0 else 10.0
    return min(60.0, max(1.0, wait)) * random.uniform(1.0, 1.2)  # noqa: S311 -- spreads clients, guards nothing
