"""Backpressure: ingest says 429 while the backlog is past its limits, long before the server runs out of memory."""

import asyncio
import math
import random
import time

import structlog

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
    answers_nothing,
    durability,
    fsyncs_each,
    is_misused,
    server_of,
    settings_problem,
    takes_no_writes,
    waitaof_holds,
)

__all__ = ["Admission", "retry_after", "stream_problem"]

log = structlog.get_logger(__name__)

_INTERVAL = 0.5
_RECHECK = 5.0
_MEMORY_SHARE = 0.8
"""Share of the server's memory limit past which nothing more is taken in, whoever filled it."""
_SMOOTHING = 0.3
_ROOM = 0.1
"""Share of a full backlog that should have drained before somebody comes again."""


class Admission:
    """Watches the stream's server, and refuses requests while it must not be given more.

    Attributes:
        proof: how the server proves a write; looked at every few seconds, for it may be set otherwise while it runs.
    """

    def __init__(
        self, stream: Stream, letters: DeadLetters, redis: RedisSettings, limits: IngestSettings, health: Health
    ) -> None:
        self._stream = stream
        self._letters = letters
        self._redis = redis
        self._limits = limits
        self._health = health
        self._refusal: Problem | None = Problem("stream_unavailable", "the service is starting", {"Retry-After": "1"})
        self._checked_at = -math.inf
        self._drain = 0.0
        self._last: tuple[float, Backlog] | None = None
        self.proof = Durability.NONE
        self._believed: dict[str, bool] = {}
        self._judged = asyncio.Event()
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

    async def first_proof(self) -> Durability:
        """Return how the server proves a write, as soon as it has been asked."""
        await self._judged.wait()
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
        then must be judged before anything more is taken. Of two reasons to refuse, memory comes before the backlog:
        it may have been filled by somebody else, and then the backlog's limits never show it.
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
            problem = await self._settings_problem()
            if problem is not None:
                self._health.lacks("stream", problem)
                if problem != self._unfit:
                    log.error("the stream's server is not fit for use", action="check_server", problem=problem)
                self._unfit = problem
                self._refuse("stream_unavailable", f"the stream's server is not fit for use: {problem}", 30)
                return
            self._unfit = None
            self._checked_at = time.monotonic()
            self._server = server if server == server_of(client) else None
        used, limit = await self._stream.memory()
        self._dead = await self._letters.count()
        self._measure(backlog)
        await self._stream.see_writable()
        self._health.has("stream")
        if limit and used > _MEMORY_SHARE * limit:
            share = (used - _MEMORY_SHARE * limit) / max(1, backlog.bytes)
            self._refuse("backlog_full", "the stream's server is nearly out of memory", self._wait(backlog, share))
        elif full := self._passed(backlog):
            self._refuse("backlog_full", full, self._wait(backlog, _ROOM))
        else:
            self._refusal = None

    async def _settings_problem(self) -> str | None:
        """Return why the server must not be given readings, None where it may; note how it proves a write.

        A server that proves nothing is taken only where the settings say so: whoever asks for `durable` would be told
        what is not so.
        """
        problem = await settings_problem(self._stream.client)
        if problem is not None:
            return problem
        found = await durability(self._stream.client, self._redis.durable_replicas)
        why = "it can neither fsync each write nor be asked by WAITAOF"
        if found is Durability.WAITAOF and not await self._keeps_its_word():
            found, why = Durability.NONE, "its WAITAOF answers before the disk does, a fault of this version"
        if found is Durability.NONE and not self._redis.allow_weak_durability:
            return (
                f"{why}; set appendonly yes and appendfsync always, or accept that a power cut may lose "
                "readings by MILLRACE_REDIS_ALLOW_WEAK_DURABILITY=true"
            )
        if self._judged.is_set() and found is not self.proof:
            log.warning("the server proves writes in another way now", action="check_server", how=found.value)
        self.proof = found
        self._judged.set()
        return None

    async def _keeps_its_word(self) -> bool:
        """Tell whether WAITAOF can be believed; each server process is tried once."""
        if await fsyncs_each(self._stream.client):
            return True
        run_id = str((await self._stream.client.info("server"))["run_id"])
        if run_id not in self._believed:
            self._refuse("stream_unavailable", "the stream's server is being asked how it proves a write", 3)
            self._believed = {run_id: await waitaof_holds(self._stream.client, self._stream.names.probe)}
        return self._believed[run_id]

    def _passed(self, backlog: Backlog) -> str | None:
        """Return which limit the backlog has passed, None where none.

        Bytes guard the server's memory, entries and rows what draining takes, and age the ledger's horizon: what
        waits for longer than that becomes a dead letter.
        """
        limits = self._limits
        if backlog.bytes >= limits.backlog_bytes:
            return f"the backlog holds {backlog.bytes} bytes, the limit is {limits.backlog_bytes}"
        if backlog.entries >= limits.backlog_entries:
            return f"the backlog holds {backlog.entries} entries, the limit is {limits.backlog_entries}"
        if backlog.rows >= limits.backlog_rows:
            return f"the backlog holds {backlog.rows} rows, the limit is {limits.backlog_rows}"
        if backlog.age >= limits.backlog_age:
            return f"the oldest entry waits for {backlog.age:.0f} s, the limit is {limits.backlog_age:.0f} s"
        return None

    def _wait(self, backlog: Backlog, share: float) -> float:
        """Return after how many seconds a share of the backlog has drained."""
        return retry_after(min(1.0, share) * backlog.rows, self._drain)

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

    def _refuse(self, code: str, detail: str, seconds: float) -> None:
        self._refusal = Problem(code, detail, {"Retry-After": str(math.ceil(seconds))})


def retry_after(excess: float, drain: float) -> float:
    """Return after how many seconds (1 to 60) `excess` rows are gone at `drain` rows/s, spread by a fifth.

    Where nothing drains it is 10 s: clients should look again, and not all at once.
    """
    wait = excess / drain if drain > 0 else 10.0
    return min(60.0, max(1.0, wait)) * random.uniform(1.0, 1.2)  # noqa: S311 -- spreads clients, guards nothing


def stream_problem(error: BaseException) -> Problem:
    """Return the problem that one of `STREAM_ERRORS` is to a client."""
    if why := takes_no_writes(error):
        return Problem("stream_full", f"the stream's server takes no writes: {why}", {"Retry-After": "5"})
    if is_misused(error):
        return Problem("stream_unavailable", str(error).removeprefix("MISUSED "), {"Retry-After": "5"})
    why = answers_nothing(error)
    detail = f"the stream's server answers nothing: {why}" if why else "the stream's server cannot be reached"
    return Problem("stream_unavailable", detail, {"Retry-After": "1"})
