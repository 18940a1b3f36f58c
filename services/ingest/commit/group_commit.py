"""Group commit: requests that wait at the same moment share one stream entry and one fsync."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

import numpy as np
import structlog

from services.contract import encode
from services.contract.ids import MAX_GROUP
from services.platform.http.errors import Problem
from services.platform.runtime import failpoints, metrics
from services.platform.settings import IngestSettings
from services.platform.stream import (
    STREAM_ERRORS,
    Durability,
    Listener,
    Stream,
    answers_nothing,
    is_misused,
    takes_no_writes,
)

from ..limits.window import Window
from .pending import Accepted, Wish, check_together, shared_entry

__all__ = ["StreamWriter", "as_problem", "key_reused"]

log = structlog.get_logger(__name__)

_INEXACT = 2**53
"""From here on not every integer is a float64."""


class StreamWriter:
    """Writes wishes to the stream, one entry at a time; what arrives meanwhile shares the next entry."""

    def __init__(
        self,
        listener: Listener,
        proof: Callable[[], Durability],
        window: Window,
        settings: IngestSettings,
        disk_timeout: float,
    ) -> None:
        """`proof` tells how the server proves a write now; it may change while the server runs."""
        self._listener = listener
        self._proof = proof
        self._window = window
        self._settings = settings
        self._disk_timeout = disk_timeout
        self._waiting: deque[Wish] = deque()
        self._arrived = asyncio.Event()

    async def put(self, wish: Wish) -> Accepted:
        """Return when the batch is in the stream, and for a durable one, on disk.

        Raises:
            Problem: `invalid_readings`, `key_reused`, `stream_full` or `stream_unavailable`.
        """
        self._waiting.append(wish)
        self._arrived.set()
        return await wish.done

    async def run(self, stream: Stream) -> None:
        """Write for ever. Several may run, each on a stream of its own connection."""
        while True:
            await self._arrived.wait()
            wishes = self._next_entry()
            if not self._waiting:
                self._arrived.clear()
            if wishes:
                await self._write(stream, wishes)

    def _next_entry(self) -> list[Wish]:
        """Take wishes of one durability until an entry is full; twins of one key go into separate entries."""
        taken: list[Wish] = []
        left: deque[Wish] = deque()
        rows, keys = 0, set()
        while self._waiting and len(taken) < MAX_GROUP:
            wish = self._waiting.popleft()
            if wish.done.cancelled():
                continue
            full = bool(taken) and rows + len(wish.readings) > self._settings.entry_rows
            apart = self._proof() is Durability.WAITAOF and taken and taken[0].durable != wish.durable
            if full or apart or wish.batch_id in keys:
                left.append(wish)
                if full:
                    break
                continue
            if wish.batch_id is not None:
                keys.add(wish.batch_id)
            rows += len(wish.readings)
            taken.append(wish)
        self._waiting.extendleft(reversed(left))
        return taken

    async def _write(self, stream: Stream, wishes: list[Wish]) -> None:
        began = time.perf_counter()
        try:
            wishes = check_together(wishes, self._window.limits())
            while wishes:
                accepted = await self._try(stream, wishes)
                if accepted is not None:
                    break
                wishes = [wish for wish in wishes if not wish.done.done()]
            else:
                return
            if any(wish.durable for wish in wishes) and self._proof() is Durability.WAITAOF:
                await self._reach_disk(stream)
        except asyncio.CancelledError:
            self._fail(wishes, Problem("stream_unavailable", "the service is stopping", {"Retry-After": "1"}))
            raise
        except Problem as problem:
            self._fail(wishes, problem)
        except STREAM_ERRORS as error:
            log.warning("an entry could not be written", action="add", error=str(error))
            self._fail(wishes, as_problem(error))
        except Exception as error:
            log.exception("an entry could not be made", action="add")
            self._fail(wishes, error)
        else:
            metrics.queue_seconds.record(time.perf_counter() - began)
            metrics.entries_added.add(1)
            rows = sum(len(wish.readings) for wish in wishes)
            metrics.rows_accepted.add(rows)
            log.debug("accepted", action="accept", first=str(accepted[0].batch_id), batches=len(accepted), rows=rows)
            for wish, result in zip(wishes, accepted, strict=True):
                if not wish.done.done():
                    wish.done.set_result(result)

    async def _try(self, stream: Stream, wishes: list[Wish]) -> list[Accepted] | None:
        """Write one entry; None, with the clashing wishes failed, where a key stands there with another body."""
        entry, marks = shared_entry(wishes)
        settled = [self._listener.expect(batch.batch_id) if batch.notify else None for batch in entry.batches]
        failpoints.reach("ingest.before_add")
        clashes = await stream.add(encode(entry), marks)
        failpoints.reach("ingest.after_add")
        if not clashes:
            inexact = int(np.count_nonzero(np.abs(entry.columns.values) >= _INEXACT))
            if inexact:
                metrics.rows_inexact.add(inexact)
            return [
                Accepted(batch.batch_id, batch.digest is not None, batch.accepted_at, event)
                for batch, event in zip(entry.batches, settled, strict=True)
            ]
        self._fail([wish for wish in wishes if wish.batch_id in clashes], key_reused())
        return None

    async def _reach_disk(self, stream: Stream) -> None:
        if not await stream.wait_for_disk(self._disk_timeout):
            raise Problem(
                "stream_unavailable",
                "the stream's server did not confirm the disk in time",
                {"Retry-After": "1"},
            )

    @staticmethod
    def _fail(wishes: list[Wish], error: Exception) -> None:
        for wish in wishes:
            wish.fail(error)


def key_reused() -> Problem:
    """Return the problem of a key that came with another body."""
    return Problem(
        "key_reused",
        "this Idempotency-Key was sent with other readings before; use a new key for new readings",
    )


def as_problem(error: BaseException) -> Problem:
    """Return the problem that one of `STREAM_ERRORS` is to a client."""
    if why := takes_no_writes(error):
        return Problem("stream_full", f"the stream's server takes no writes: {why}", {"Retry-After": "5"})
    if is_misused(error):
        return Problem("stream_unavailable", str(error).removeprefix("MISUSED "), {"Retry-After": "5"})
    why = answers_nothing(error)
    detail = f"the stream's server answers nothing: {why}" if why else "the stream's server cannot be reached"
    return Problem("stream_unavailable", detail, {"Retry-After": "1"})
