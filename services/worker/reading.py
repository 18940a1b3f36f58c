"""Reading: entries for about a transaction, each as it came and decoded, after a wait for more where that pays."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from services.contract import Entry, EntryError, decode
from services.platform.runtime import failpoints
from services.platform.runtime.health import Health
from services.platform.settings import WorkerSettings
from services.platform.stream import Delivery, Stream

from .linger import Arrivals, Bounds, Hand, wait_for_more

__all__ = ["Opened", "Reader", "opened"]

_AT_ONCE = 0.001
"""Seconds that a read waits for what is there already."""

_LOOKS_EVERY = 0.02
"""Seconds between looks while more is waited for: as long as somebody who waits for a commit may go unnoticed."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A delivery, decoded.

    Attributes:
        delivery: as it was read.
        entry: what it holds, or why that cannot be read; None where it was deleted while it was pending.
        awaited: whether somebody waits to hear that it is stored.
    """

    delivery: Delivery
    entry: Entry | EntryError | None
    awaited: bool = False


def opened(delivery: Delivery) -> Opened:
    """Decode a delivery."""
    if delivery.fields is None:
        return Opened(delivery, None)
    try:
        entry = decode(delivery.fields)
    except EntryError as error:
        return Opened(delivery, error)
    return Opened(delivery, entry, any(batch.notify for batch in entry.batches))


class Reader:
    """Reads what nobody was given yet. What it has in hand stays pending, so that nothing is lost with it."""

    def __init__(self, stream: Stream, settings: WorkerSettings, health: Health, stop: asyncio.Event) -> None:
        """Read for the consumer that the settings name; `stop` ends a wait for more."""
        self._stream = stream
        self._settings = settings
        self._health = health
        self._stop = stop
        self._bounds = Bounds(settings.linger, settings.batch_entries, settings.batch_rows // 2)
        self._arrivals = Arrivals()
        self._count = 1

    async def read(self) -> list[Opened]:
        """Return entries for about a transaction; none where none came for as long as a read waits.

        Raises:
            GroupMissingError: the stream or its group is gone.
            redis.exceptions.RedisError: the stream's server is away.
        """
        found = await self._look(self._settings.block, self._count)
        since = _since(found)
        while found and not self._stop.is_set():
            rows, entries = sum(one.delivery.rows for one in found), len(found)
            size, awaited = sum(one.delivery.size for one in found), any(one.awaited for one in found)
            hand = Hand(since, entries, rows, size, awaited=awaited)
            seconds = wait_for_more(hand, self._arrivals, time.monotonic(), self._bounds)
            if not seconds:
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(seconds, _LOOKS_EVERY)):
                    await self._stop.wait()
            fitting = (self._settings.batch_rows - rows) * entries // max(1, rows)
            most = min(self._count, self._settings.batch_entries - entries, fitting)
            found += await self._look(_AT_ONCE, max(1, most))
        return found

    async def _look(self, block: float, count: int) -> list[Opened]:
        """Read what is there; the more rows entries have, the fewer the next look asks for."""
        deliveries = await self._stream.read_new(self._settings.name, count, block)
        self._health.beat()
        if not deliveries:
            return []
        failpoints.reach("worker.after_read")
        found = list(map(opened, deliveries))
        rows = [delivery.rows for delivery in deliveries]
        fitting = max(1, self._settings.batch_rows // max(1, *rows))
        self._count = min(fitting, self._settings.batch_entries, max(8, self._count * 2))
        awaited = sum(one.awaited for one in found)
        self._arrivals = self._arrivals.followed_by(time.monotonic(), len(found), sum(rows), awaited)
        return found


def _since(found: Sequence[Opened]) -> float:
    """Return when the first entry came, in seconds of the monotonic clock.

    An entry's id is the time at which the stream's server took it. Clocks differ, so it may shorten a wait, and never
    prolong it.
    """
    if not found:
        return 0.0
    came = int(found[0].delivery.entry_id.partition(b"-")[0]) / 1000
    return time.monotonic() - max(0.0, time.time() - came)
