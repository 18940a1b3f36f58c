"""How much of their limits callers use, told beside the stream now and then, off the way of requests."""

import asyncio
import contextlib
import time
from collections.abc import Iterable

from services.contract import CallerUsage
from services.platform.runtime.rates import Meter
from services.platform.stream import STREAM_ERRORS, Usages

from .rates import Rates, Taken

__all__ = ["Reporter", "used"]

_INTERVAL = 5.0
_SILENT = 60.0
"""Seconds after which a caller who sends nothing is told of no more."""

Meters = dict[tuple[str, str, float], Meter]


class Reporter:
    """Tells what the callers of this process use. One a process."""

    def __init__(self, rates: Rates, usages: Usages) -> None:
        self._rates = rates
        self._usages = usages

    async def run(self) -> None:
        """Look and tell, for ever; while the server is away nobody is told."""
        meters: Meters = {}
        while True:
            callers, meters = used(self._rates.taken(), meters, time.monotonic())
            if callers:
                # Admission says what is wrong with the server.
                with contextlib.suppress(*STREAM_ERRORS):
                    await self._usages.tell(callers)
            await asyncio.sleep(_INTERVAL)


def used(taken: Iterable[Taken], before: Meters, now: float) -> tuple[list[CallerUsage], Meters]:
    """Return how much callers with limits who came of late use of them, and the meters for the next look.

    Args:
        taken: what each has taken so far.
        before: the meters of the look before.
        now: by the clock of `Taken.at`.
    """
    meters: Meters = {}
    found: dict[str, dict[str, float]] = {}
    # The limits of a caller may have been set anew: the one that was taken of last counts.
    for limit in sorted(taken, key=lambda limit: limit.at):
        if now - limit.at > _SILENT:
            continue
        key = (limit.name, limit.what, limit.limit)
        meter = before.get(key, Meter(now, limit.total)).look(now, limit.total)
        meters[key] = meter
        if meter.per_second is not None:
            found.setdefault(limit.name, {}).update({limit.what: meter.per_second, f"{limit.what}_limit": limit.limit})
    return [CallerUsage(name, **usage) for name, usage in found.items()], meters
