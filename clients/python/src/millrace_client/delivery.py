"""Sending the writer's batches, one after the other, until each is acknowledged, refused or put aside.

A batch is sent under one key. Where the service names readings as wrong, the others are sent without them, under the
same key, and the segment says so before the request leaves. So whichever attempt was stored, no other is.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import httpx

from .asking import Way, pause
from .batches import Batch
from .buffer import Buffer, Entry
from .outcomes import Outcome, State, answered, unanswered
from .rejects import Rejects
from .spool import DamagedError, Spool

__all__ = ["Counts", "Delivery"]

_BLOCKED = 5.0
"""Seconds to the next attempt where only people can mend what is wrong, such as a wrong key."""

_log = logging.getLogger("millrace_client")


@dataclass(slots=True)
class Counts:
    """What the writer's thread has done: readings, and requests that failed."""

    acknowledged: int = 0
    rejected: int = 0
    expired: int = 0
    damaged: int = 0
    retries: int = 0


class Delivery:
    """The sending thread's work."""

    def __init__(
        self, way: Way, *, ack: str, horizon: float, buffer: Buffer, spool: Spool | None, rejects: Rejects,
        transport: httpx.BaseTransport | None,
    ) -> None:  # fmt: skip
        """Take what it works with.

        Args:
            way: to ingest.
            ack: how far its answers shall promise.
            horizon: seconds for which the ledger remembers keys.
            buffer: whose batches are sent.
            spool: where segments lie; None where there is none.
            rejects: who takes the readings that the service does not.
            transport: of httpx; None for the usual one.
        """
        self._http = httpx.Client(transport=transport, **way.options())
        self._target = f"/ingest?ack={ack}"
        self._horizon = 1000 * horizon
        self._buffer = buffer
        self._spool = spool
        self._rejects = rejects
        self._said = ""
        self.counts = Counts()

    def run(self) -> None:
        """Send until nothing comes any more, or the buffer is stopped."""
        with self._http:
            while (entry := self._buffer.head()) and self._deliver(entry):
                self._buffer.sent()

    def _deliver(self, entry: Entry) -> bool:
        """See one batch through; tell whether it is done."""
        batch = self._taken(entry)
        if batch is None:
            return True
        doubt = entry.first == 0 and batch.tried is not None
        attempt = 0
        while batch.readings:
            if doubt and batch.tried is not None and _now() - batch.tried > self._horizon:
                return self._expired(entry, batch)
            tried = batch.tried or _now()
            if not self._tried(entry, batch, tried):
                return False
            batch = replace(batch, tried=tried)
            outcome = self._attempt(batch)
            changed = self._judged(batch, outcome, doubt=doubt)
            if changed is not None:
                if outcome.state is State.ACKED or outcome.code == "key_reused":
                    self.counts.acknowledged += len(batch.readings) - len(changed.readings)
                    self._said, attempt, doubt = "", 0, False
                batch = changed
                # Where nothing is left the segment goes at once, and a repeat of its last request would end the same.
                if batch.readings and not self._kept(entry, batch):
                    return False
                continue
            attempt += 1
            self.counts.retries += 1
            self._tell(outcome)
            doubt |= outcome.state is not State.REFUSED
            if not doubt and self._tried(entry, batch, None):
                batch = replace(batch, tried=None)
            if not self._buffer.pause(pause(attempt, outcome.after) if outcome.again else _BLOCKED):
                return False
        return self._done(entry, batch)

    def _taken(self, entry: Entry) -> Batch | None:
        """Return an entry's batch; None where its segment is damaged, and put aside."""
        if entry.batch is not None or self._spool is None:
            return entry.batch
        try:
            return self._spool.get(entry.ordinal)
        except DamagedError as error:
            kept = self._spool.set_aside(entry.ordinal, "damaged")
            self.counts.damaged += entry.rows
            _log.error("millrace: %s is damaged: %s; %d readings are not sent", kept, error, entry.rows)
            return None

    def _attempt(self, batch: Batch) -> Outcome:
        key, body = batch.request
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        try:
            response = self._http.post(self._target, content=body, headers=headers)
        except httpx.RequestError as error:
            return unanswered(error, connected=not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout))
        after = response.headers.get("retry-after", "")
        return answered(response.status_code, float(after) if after.isdecimal() else None, response.content)

    def _judged(self, batch: Batch, outcome: Outcome, *, doubt: bool) -> Batch | None:
        """Return what is left of a batch after an attempt; None where it is sent again as it is."""
        if outcome.state is State.ACKED:
            return batch.behind()
        if outcome.code == "invalid_readings" and outcome.faults:
            return batch.without(outcome.faults, certain=not doubt)
        if outcome.code == "key_reused" and batch.rejects:
            # An attempt with more readings was stored, and its answer lost.
            return batch.behind()
        if outcome.code in {"key_reused", "batch_dead"}:
            return batch.refused(outcome.code, outcome.why, certain=False)
        if outcome.too_large and not doubt:
            alone = len(batch.readings[: batch.take]) == 1
            return batch.refused(outcome.code, outcome.why, certain=True) if alone else batch.halved()
        return None

    def _tried(self, entry: Entry, batch: Batch, tried: int | None) -> bool:
        """Note since when a batch may be stored, before its request leaves; tell whether to go on."""
        return tried == batch.tried or self._write(entry, lambda spool: spool.mark(entry.ordinal, tried))

    def _kept(self, entry: Entry, batch: Batch) -> bool:
        """Write a changed batch into its segment; tell whether to go on."""
        return self._write(entry, lambda spool: spool.put(entry.ordinal, batch))

    def _done(self, entry: Entry, batch: Batch) -> bool:
        """Hand the rejects over and let go of the segment."""
        while True:
            try:
                self._rejects.hand_over(batch.rejects)
                break
            except OSError as error:
                if not self._held_up(f"the file of rejects cannot be written: {error}"):
                    return False
        self.counts.rejected += len(batch.rejects)
        return self._write(entry, lambda spool: spool.remove(entry.ordinal))

    def _expired(self, entry: Entry, batch: Batch) -> bool:
        """Put a batch aside that may be stored, and that the ledger does not remember any more."""
        self.counts.expired += len(batch.readings)
        why = f"it was sent longer ago than the ledger remembers ({self._horizon / 3_600_000:g} h) and may be stored"
        if entry.batch is None and self._spool is not None:
            kept = self._spool.set_aside(entry.ordinal, "expired")
            _log.error("millrace: %s is not sent again: %s; %d readings", kept, why, len(batch.readings))
            return True
        return self._done(entry, replace(batch, take=None).refused("expired", why, certain=False))

    def _write(self, entry: Entry, work: Callable[[Spool], None]) -> bool:
        """Do something with an entry's segment, as often as the disk needs; tell whether to go on."""
        while self._spool is not None and entry.batch is None:
            try:
                work(self._spool)
                break
            except OSError as error:
                if not self._held_up(f"the spool cannot be written: {error}"):
                    return False
        return True

    def _held_up(self, why: str) -> bool:
        self._tell(Outcome(State.REFUSED, why=why))
        return self._buffer.pause(_BLOCKED)

    def _tell(self, outcome: Outcome) -> None:
        """Keep what holds sending up, and log it when it is new: as a warning where it may pass by itself."""
        self._buffer.why = outcome.why
        said = outcome.code or outcome.why
        if said != self._said:
            self._said = said
            _log.log(
                logging.WARNING if outcome.again else logging.ERROR, "millrace: sending is held up: %s", outcome.why
            )


def _now() -> int:
    """Return the milliseconds since 1970."""
    return time.time_ns() // 1_000_000
