"""What the stream's server tells: what waits, how fast it comes and goes, dead letters, callers and their limits."""

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from services.contract import CallerUsage
from services.platform.admission import stream_problem
from services.platform.runtime.rates import Meter
from services.platform.runtime.tasks import end
from services.platform.stream import STREAM_ERRORS, DeadLetters, Stream, Usages, is_misused, said

from .problems import LONGEST, Part, problem

__all__ = ["StreamLook", "summed"]

T = TypeVar("T")


class StreamLook:
    """Looks at the stream's server; nothing connects before the first look."""

    def __init__(self, stream: Stream, reclaim_idle: float) -> None:
        """A worker that was silent for `reclaim_idle` seconds is taken for gone, as other workers take it."""
        self._stream = stream
        self._letters = DeadLetters(stream.client, stream.names)
        self._usages = Usages(stream.client, stream.names)
        self._reclaim_idle = reclaim_idle
        self._accepted: Meter | None = None
        self._settled: Meter | None = None

    async def look(self) -> Mapping[str, Part]:
        """Return `stream`, `dead_letters` and `callers`."""
        parts = {"stream": self._backlog(), "dead_letters": self._dead(), "callers": self._callers()}
        looks = {name: asyncio.create_task(_told(part)) for name, part in parts.items()}
        try:
            await asyncio.wait(looks.values(), timeout=LONGEST)
            late = {name for name, look in looks.items() if not look.done()}
        finally:
            await end(looks.values())
        silent = problem(f"the stream's server did not answer within {LONGEST:g} s")
        return {name: silent if name in late else look.result() for name, look in looks.items()}

    async def _backlog(self) -> Part:
        """Count what waits; what came and went is told by two looks at the totals that the stream's scripts keep."""
        backlog = await self._stream.backlog()
        now = time.monotonic()
        self._accepted = self._accepted.look(now, backlog.accepted) if self._accepted else Meter(now, backlog.accepted)
        self._settled = self._settled.look(now, backlog.settled) if self._settled else Meter(now, backlog.settled)
        return {
            "entries": backlog.entries,
            "rows": backlog.rows,
            "bytes": backlog.bytes,
            "age": backlog.age,
            "rows_in_per_second": self._accepted.per_second,
            "rows_out_per_second": self._settled.per_second,
            "workers": await self._stream.workers(self._reclaim_idle),
        }

    async def _dead(self) -> Part:
        return {"total": await self._letters.count()}

    async def _callers(self) -> Part:
        return summed(await self._usages.read())


async def _told(part: Awaitable[Part]) -> Part:
    try:
        return await part
    except STREAM_ERRORS as error:
        detail = stream_problem(error).detail
        words = None if is_misused(error) else said(error)
        return problem(f"{detail}; it says: {words}" if words else detail)


def summed(told: list[list[CallerUsage]]) -> list[dict[str, Any]]:
    """Return each caller's use of its limits over all processes, who is nearest to a limit first.

    A caller has its limits in each process: what it may send in all is their sum over those that it sends to, and what
    refuses it is the one in which it uses most of them.
    """
    callers: dict[str, list[CallerUsage]] = {}
    for usage in (usage for process in told for usage in process):
        callers.setdefault(usage.name, []).append(usage)
    found = [
        {
            "name": name,
            "requests_per_second": _sum(usage.requests for usage in usages),
            "requests_limit": _sum(usage.requests_limit for usage in usages),
            "rows_per_second": _sum(usage.rows for usage in usages),
            "rows_limit": _sum(usage.rows_limit for usage in usages),
            "processes": len(usages),
            "used": max(map(_used, usages)),
        }
        for name, usages in callers.items()
    ]
    return sorted(found, key=lambda caller: (-caller["used"], caller["name"]))


def _used(usage: CallerUsage) -> float:
    """Return the larger share that a caller uses of its limits."""
    pairs = ((usage.requests, usage.requests_limit), (usage.rows, usage.rows_limit))
    return max((used / limit for used, limit in pairs if used is not None and limit), default=0.0)


def _sum(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
