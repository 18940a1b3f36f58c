"""Backpressure: ingest says 429 while the backlog is past its limits, long before the server runs out of memory."""

import asyncio
import math
import time

import structlog

from services.platform.admission import Fitness, full, stream_problem, unfit
from services.platform.http.errors import Problem
from services.platform.runtime.health import Health
from services.platform.runtime.metrics import dead_letters, show_backlog
from services.platform.settings import IngestSettings, RedisSettings
from services.platform.stream import (
    STREAM_ERRORS,
    Backlog,
    DeadLetters,
    Durability,
    Server,
    Stream,
    is_misused,
    server_of,
)

__all__ = ["Admission"]

log = structlog.get_logger(__name__)

_INTERVAL = 0.5
_RECHECK = 5.0
_SMOOTHING = 0.3


class Admission:
    """Watches the stream's server, and refuses requests while it must not be given more."""

    def __init__(
        self, stream: Stream, letters: DeadLetters, redis: RedisSettings, limits: IngestSettings, health: Health
    ) -> None:
        self._stream = stream
        self._letters = letters
        self._limits = limits
        self._health = health
        self._refusal: Problem | None = Problem("stream_unavailable", "the service is starting", {"Retry-After": "1"})
        self._checked_at = -math.inf
        self._drain = 0.0
        self._last: tuple[float, Backlog] | None = None
        self._fitness = Fitness(stream, redis)
        self._server: Server | None = None
        self._elsewhere = False
        self._unfit: str | None = None
        self._dead: int | None = None
        show_backlog(lambda: self._last[1] if self._last else None)
        dead_letters.show(lambda: self._dead)

    def check(self) -> None:
        """Let a request pass.

        Raises:
            Problem: `backlog_full`, `stream_full` or `stream_unavailable`, with Retry-After.
        """
        if self._refusal is not None:
            # It stands for many requests, and would else keep a traceback of each.
            raise self._refusal.with_traceback(None)

    async def admit(self) -> None:
        """Let something else than a request pass, as `check` does."""
        self.check()

    @property
    def proof(self) -> Durability:
        """How the server proves a write; looked at every few seconds, for it may be set otherwise while it runs."""
        return self._fitness.proof

    async def first_proof(self) -> Durability:
        """Return how the server proves a write, as soon as it has been asked."""
        await self._fitness.judged.wait()
        return self.proof

    def knows(self, server: Server) -> bool:
        """Tell whether a server, found by way of Sentinels or a cluster, is the one that was judged.

        Where it is not, the next look is at the server that has the stream by then: a new primary may keep what it is
        given less well than the one before.
        """
        self._elsewhere = server != self._server
        return not self._elsewhere

    async def run(self) -> None:
        """Look at the server twice a second, for ever."""
        while True:
            try:
                await self._look()
            except STREAM_ERRORS as error:
                self._checked_at = -math.inf
                problem = stream_problem(error)
                self._refuse(problem.code, problem.detail, 1)
                self._health.lacks("stream", problem.detail if is_misused(error) else f"{problem.detail}: {error}")
            await asyncio.sleep(_INTERVAL)

    async def _look(self) -> None:
        """Measure the backlog and decide whether requests pass until the next look.

        The server's settings are read again every few seconds, and whenever another server has the stream: what it is
        then must be judged before anything more is taken.
        """
        client = self._stream.client
        if self._elsewhere:
            self._elsewhere = False
            await client.connection_pool.disconnect()
        backlog = await self._stream.backlog()
        server = server_of(client)
        if time.monotonic() - self._checked_at > _RECHECK or server != self._server:
            if server != self._server:
                self._server = None
            problem = await self._fitness.problem(self._on_trial)
            if problem is not None:
                self._health.lacks("stream", problem)
                if problem != self._unfit:
                    log.error("the stream's server is not fit for use", action="check_server", problem=problem)
                self._unfit = problem
                self._refusal = unfit(problem)
                return
            self._unfit = None
            self._checked_at = time.monotonic()
            self._server = server if server == server_of(client) else None
        memory = await self._stream.memory()
        self._dead = await self._letters.count()
        self._measure(backlog)
        await self._stream.see_writable()
        self._health.has("stream")
        self._refusal = full(backlog, memory, self._limits, self._drain)

    def _on_trial(self) -> None:
        self._refuse("stream_unavailable", "the stream's server is being asked how it proves a write", 3)

    def _measure(self, backlog: Backlog) -> None:
        """Follow the drain rate in rows/s, smoothed over a few looks: workers settle whole transactions at a time.

        Rows that were ever settled only grow; where the server lost data they fall, and nothing drained meanwhile.
        """
        now = time.monotonic()
        if self._last is not None:
            then, before = self._last
            rate = max(0.0, (backlog.settled - before.settled) / max(now - then, 0.01))
            self._drain += _SMOOTHING * (rate - self._drain)
        self._last = (now, backlog)

    def _refuse(self, code: str, detail: str, seconds: int) -> None:
        self._refusal = Problem(code, detail, {"Retry-After": str(seconds)})
