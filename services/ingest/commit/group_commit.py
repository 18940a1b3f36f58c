"""Group commit: requests that come at about the same moment share one stream entry and one fsync."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable

import numpy as np
import structlog

from services.contract import encode
from services.contract.ids import MAX_GROUP
from services.platform.admission import stream_problem
from services.platform.http.errors import Problem
from services.platform.runtime import failpoints, metrics
from services.platform.settings import IngestSettings
from services.platform.stream import STREAM_ERRORS, Durability, Listener, Stream

from ..idempotency import key_reused
from ..limits.window import Window
from .pending import Accepted, CheckedBatch, PendingBatch, check_together, shared_entry

__all__ = ["GroupCommit"]

log = structlog.get_logger(__name__)

_INEXACT = 2**53
"""From here on not every integer is a float64."""


_CROWD, _ENOUGH, _ENOUGH_ROWS = 4, 256, 4_000
"""Requests of an entry from which on those of the next wait for more; how many, or of how many readings, do not."""

_STEP, _LONGEST = 0.001, 0.004
"""Seconds after which more must have come for the others to wait on, and for which they wait at most."""

_MOST_LABEL_BYTES = 100 * 1024 * 1024
"""Of the names and labels in a shared entry: workers unpack no more than some times that."""


class GroupCommit:
    """Writes pending batches to the stream, one entry at a time; what arrives meanwhile shares the next entry.

    So who sends alone waits for nobody: while few come and the stream's server is quick, an entry holds one batch. The
    more requests there are, the more of them share a round trip, a check and an fsync.
    """

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
        self._waiting: deque[PendingBatch] = deque()
        self._arrived = asyncio.Event()
        self._crowd = 0

    def put(self, batch: PendingBatch) -> None:
        """Let a batch wait for its place in an entry.

        Its `done` hears when it is in the stream, and if it is durable, on disk; or of a Problem: `invalid_readings`,
        `key_reused`, `stream_full` or `stream_unavailable`.
        """
        self._waiting.append(batch)
        self._arrived.set()

    async def run(self, stream: Stream) -> None:
        """Write for ever. Several may run, each on a stream of its own connection."""
        try:
            while True:
                await self._arrived.wait()
                await self._gather()
                # Not by a name of this frame, which would keep the batches until others come.
                await self._write(stream, self._next_entry())
        finally:
            left, self._waiting = self._waiting, deque()
            _fail(left, _stopping())

    async def _gather(self) -> None:
        """Let a crowd of small requests come together, for some milliseconds at most and while more of them come.

        An entry costs as much as a dozen of them, wherever it passes. Who sends alone waits for nobody: a crowd is
        what the entry before has held. Once as many are here again, those that are just being read are all that is
        waited for, since most clients send the next request when the last one is answered.
        """
        until = time.monotonic() + _LONGEST
        while self._crowd >= _CROWD and time.monotonic() < until:
            waiting = len(self._waiting)
            if waiting >= _ENOUGH or sum(batch.rows for batch in self._waiting) >= _ENOUGH_ROWS:
                return
            await asyncio.sleep(_STEP if waiting < self._crowd else 0)
            if len(self._waiting) == waiting:
                return

    def _next_entry(self) -> list[PendingBatch]:
        """Take pending batches until an entry is full.

        Twins of one key go into separate entries: an entry is one transaction, and the second must find the first's
        mark or ledger row. Where the disk is waited for by WAITAOF, an entry is of one durability, so that who asked
        for `queued` does not wait for the disk with the others. What is left out stays first in line.
        """
        taken: list[PendingBatch] = []
        left: deque[PendingBatch] = deque()
        rows, labels, keys = 0, 0, set()
        by_durability = self._proof() is Durability.WAITAOF
        while self._waiting and len(taken) < MAX_GROUP:
            batch = self._waiting.popleft()
            if batch.done.cancelled():
                continue
            count = batch.rows
            full = bool(taken) and (
                rows + count > self._settings.entry_rows or labels + batch.label_bytes > _MOST_LABEL_BYTES
            )
            apart = by_durability and taken and taken[0].durable != batch.durable
            if full or apart or batch.batch_id in keys:
                left.append(batch)
                if full:
                    break
                continue
            if batch.batch_id is not None:
                keys.add(batch.batch_id)
            rows += count
            labels += batch.label_bytes
            taken.append(batch)
        self._waiting.extendleft(reversed(left))
        self._crowd = len(taken)
        if not self._waiting:
            self._arrived.clear()
        return taken

    async def _write(self, stream: Stream, batches: list[PendingBatch]) -> None:
        """Check the batches, write those that are right as one entry, and answer each of them, whatever happens."""
        if not batches:
            return
        began = time.perf_counter()
        try:
            checked = check_together(batches, self._window.limits())
            while checked:
                accepted = await self._try(stream, checked)
                if accepted is not None:
                    break
                checked = [one for one in checked if not one.pending.done.done()]
            else:
                return
            if any(one.pending.durable for one in checked) and self._proof() is Durability.WAITAOF:
                await self._reach_disk(stream)
        except asyncio.CancelledError:
            _fail(batches, _stopping())
            raise
        except Problem as problem:
            _fail(batches, problem)
        except STREAM_ERRORS as error:
            log.warning("an entry could not be written", action="add", error=str(error))
            _fail(batches, stream_problem(error))
        except Exception as error:
            log.exception("an entry could not be made", action="add")
            _fail(batches, error)
        else:
            metrics.queue_seconds.record(time.perf_counter() - began)
            metrics.entries_added.add(1)
            rows = sum(one.rows for one in accepted)
            metrics.rows_accepted.add(rows)
            log.debug("accepted", action="accept", first=str(accepted[0].batch_id), batches=len(accepted), rows=rows)
            for one, result in zip(checked, accepted, strict=True):
                one.pending.succeed(result)

    async def _try(self, stream: Stream, checked: list[CheckedBatch]) -> list[Accepted] | None:
        """Write one entry; None, with the clashing batches failed, where a key stands there with another body.

        Who wants to hear of the settlement is noted before the write: a worker may be quicker than the reply.
        """
        entry, marks = shared_entry(checked)
        settled = [self._listener.expect(batch.batch_id) if batch.notify else None for batch in entry.batches]
        failpoints.reach("ingest.before_add")
        clashes = await stream.add(encode(entry), marks)
        failpoints.reach("ingest.after_add")
        if clashes:
            _fail((one.pending for one in checked if one.pending.batch_id in clashes), key_reused())
            return None
        inexact = int(np.count_nonzero(np.abs(entry.columns.values) >= _INEXACT))
        if inexact:
            metrics.rows_inexact.add(inexact)
        return [
            Accepted(
                batch.batch_id,
                batch.digest,
                batch.accepted_at,
                batch.rows,
                one.faults,
                event,
                one.pending.decoded.skipped,
            )
            for one, batch, event in zip(checked, entry.batches, settled, strict=True)
        ]

    async def _reach_disk(self, stream: Stream) -> None:
        if not await stream.wait_for_disk(self._disk_timeout):
            raise Problem(
                "stream_unavailable",
                "the stream's server did not confirm the disk in time",
                {"Retry-After": "1"},
            )


def _stopping() -> Problem:
    return Problem("stream_unavailable", "the service is stopping", {"Retry-After": "1"})


def _fail(batches: Iterable[PendingBatch], error: Exception) -> None:
    for batch in batches:
        batch.fail(error)
