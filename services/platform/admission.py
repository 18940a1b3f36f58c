"""Whether the stream's server may be given more: what it must be, how much it may hold, and what a client is told.

Ingest watches it all the time, for the requests between two looks; who puts something in seldom asks when it does.
"""

import asyncio
import math
import random
from collections.abc import Callable

import structlog

from .http.errors import Problem
from .settings import IngestSettings, RedisSettings
from .stream import (
    Backlog,
    Durability,
    Stream,
    answers_nothing,
    durability,
    fsyncs_each,
    is_misused,
    settings_problem,
    takes_no_writes,
    waitaof_holds,
)

__all__ = ["Asked", "Fitness", "full", "retry_after", "stream_problem", "unfit"]

log = structlog.get_logger(__name__)

_MEMORY_SHARE = 0.8
"""Share of the server's memory limit past which nothing more is taken in, whoever filled it."""
_ROOM = 0.1
"""Share of a full backlog that should have drained before somebody comes again."""


class Fitness:
    """Judges the stream's server by its settings, and by how it proves a write.

    Attributes:
        proof: how it proves a write, as of the last look.
        judged: whether there was a look that found it fit.
    """

    def __init__(self, stream: Stream, settings: RedisSettings) -> None:
        self._stream = stream
        self._settings = settings
        self._believed: dict[str, bool] = {}
        self.proof = Durability.NONE
        self.judged = asyncio.Event()

    async def problem(self, on_trial: Callable[[], None] = lambda: None) -> str | None:
        """Return why the server must not be given readings, None where it may; note how it proves a write.

        A server that proves nothing is taken only where the settings say so: whoever asks for `durable` would be told
        what is not so. `on_trial` is called before a server is tried, which takes seconds.

        Raises:
            redis.exceptions.RedisError: the server is away.
        """
        problem = await settings_problem(self._stream.client)
        if problem is not None:
            return problem
        found = await durability(self._stream.client, self._settings.durable_replicas)
        why = "it can neither fsync each write nor be asked by WAITAOF"
        if found is Durability.WAITAOF and not await self._keeps_its_word(on_trial):
            found, why = Durability.NONE, "its WAITAOF answers before the disk does, a fault of this version"
        if found is Durability.NONE and not self._settings.allow_weak_durability:
            return (
                f"{why}; set appendonly yes and appendfsync always, or accept that a power cut may lose "
                "readings by MILLRACE_REDIS_ALLOW_WEAK_DURABILITY=true"
            )
        if self.judged.is_set() and found is not self.proof:
            log.warning("the server proves writes in another way now", action="check_server", how=found.value)
        self.proof = found
        self.judged.set()
        return None

    async def _keeps_its_word(self, on_trial: Callable[[], None]) -> bool:
        """Tell whether WAITAOF can be believed; each server process is tried once."""
        if await fsyncs_each(self._stream.client):
            return True
        run_id = str((await self._stream.client.info("server"))["run_id"])
        if run_id not in self._believed:
            on_trial()
            self._believed = {run_id: await waitaof_holds(self._stream.client, self._stream.names.probe)}
        return self._believed[run_id]


class Asked:
    """Admission for who puts something in now and then: the server is asked each time."""

    def __init__(self, stream: Stream, redis: RedisSettings, limits: IngestSettings) -> None:
        self._stream = stream
        self._limits = limits
        self._fitness = Fitness(stream, redis)

    async def admit(self) -> None:
        """Let something into the stream.

        Raises:
            Problem: `backlog_full` or `stream_unavailable`, with Retry-After.
            redis.exceptions.RedisError: the server is away, or takes no writes.
        """
        problem = await self._fitness.problem()
        if problem is not None:
            raise unfit(problem)
        backlog, memory = await self._stream.backlog(), await self._stream.memory()
        await self._stream.see_writable()
        # How fast it drains is not known from one look.
        refusal = full(backlog, memory, self._limits, drain=0.0)
        if refusal is not None:
            raise refusal


def unfit(problem: str) -> Problem:
    """Return the problem of a server that must not be given readings."""
    detail = f"the stream's server is not fit for use: {problem}"
    return Problem("stream_unavailable", detail, {"Retry-After": "30"})


def full(backlog: Backlog, memory: tuple[int, int], limits: IngestSettings, drain: float) -> Problem | None:
    """Return `backlog_full` where the server or the backlog holds as much as it may, None where there is room.

    Of two reasons to refuse, memory comes before the backlog: it may have been filled by somebody else, and then the
    backlog's limits never show it.

    Args:
        backlog: what waits.
        memory: in use and its limit in bytes; a limit of 0 is none.
        limits: of the backlog.
        drain: in rows/s; 0 where nothing drains or nobody knows.
    """
    used, limit = memory
    if limit and used > _MEMORY_SHARE * limit:
        share = (used - _MEMORY_SHARE * limit) / max(1, backlog.bytes)
        return _backlog_full("the stream's server is nearly out of memory", backlog, share, drain)
    passed = _passed(backlog, limits)
    return _backlog_full(passed, backlog, _ROOM, drain) if passed else None


def _backlog_full(detail: str, backlog: Backlog, share: float, drain: float) -> Problem:
    """Return the problem, with the seconds after which a share of the backlog has drained."""
    wait = retry_after(min(1.0, share) * backlog.rows, drain)
    return Problem("backlog_full", detail, {"Retry-After": str(math.ceil(wait))})


def _passed(backlog: Backlog, limits: IngestSettings) -> str | None:
    """Return which limit the backlog has passed, None where none.

    Bytes guard the server's memory, entries and rows what draining takes, and age the ledger's horizon: what waits
    for longer than that becomes a dead letter.
    """
    if backlog.bytes >= limits.backlog_bytes:
        return f"the backlog holds {backlog.bytes} bytes, the limit is {limits.backlog_bytes}"
    if backlog.entries >= limits.backlog_entries:
        return f"the backlog holds {backlog.entries} entries, the limit is {limits.backlog_entries}"
    if backlog.rows >= limits.backlog_rows:
        return f"the backlog holds {backlog.rows} rows, the limit is {limits.backlog_rows}"
    if backlog.age >= limits.backlog_age:
        return f"the oldest entry waits for {backlog.age:.0f} s, the limit is {limits.backlog_age:.0f} s"
    return None


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
