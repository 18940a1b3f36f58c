"""The worker's loop: read, write, settle, and start over from its own pending entries whenever the stream was lost.

Nothing that was read is forgotten: an entry stays pending until its transaction has committed, and only then is
it acknowledged and deleted. After any trouble with the stream the loop reads its own pending entries first; what
had been committed meanwhile the ledger tells.
"""

import asyncio
import time

import structlog

from services.contract import DamagedEntryError, DeadLetter, Entry, NewerVersionError, Outcome, decode
from services.platform.runtime import failpoints, metrics
from services.platform.runtime.health import Health
from services.platform.runtime.tasks import end
from services.platform.runtime.telemetry import carried, tracer
from services.platform.settings import WorkerSettings
from services.platform.stream import STREAM_ERRORS, Delivery, GroupMissingError, Settlement, Stream

from .dead_letter_limit import GraveyardFullError
from .losses import tell_losses
from .transaction import RETRIED, Store
from .work import Work

__all__ = ["Loop"]

log = structlog.get_logger(__name__)

_LONGEST_PAUSE = 5.0


class Stopped(Exception):  # noqa: N818 -- no error: the loop ends
    """The worker is told to stop and its time for draining is over."""


class Loop:
    """Carries entries from the stream to the store until it is told to stop."""

    def __init__(
        self, stream: Stream, store: Store, settings: WorkerSettings, health: Health, stop: asyncio.Event
    ) -> None:
        self._stream = stream
        self._store = store
        self._settings = settings
        self._health = health
        self._stop = stop
        self._held: set[bytes] = set()
        self._had_group = False
        self._count = 1
        self._next_look = 0.0
        self._written_at = 0.0

    async def run(self) -> None:
        """Work until `stop` is set and what was read by then is written, or the drain time is over."""
        pause = 0.1
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                await self._session()
            except Stopped:
                log.warning("stopped with entries unwritten; others will take them over", action="drain")
                return
            except GraveyardFullError as error:
                log.critical(str(error), action="bury")
            except GroupMissingError as error:
                log.error("the stream or its group was lost", action="read", error=str(error))
            except STREAM_ERRORS as error:
                self._health.lacks("stream", f"the stream's server fails: {error}")
                metrics.worker_retries.add(1, {"what": "stream"})
            pause = 0.1 if time.monotonic() - began > _LONGEST_PAUSE else min(pause * 2, _LONGEST_PAUSE)
            await self._rest(pause)

    async def _session(self) -> None:
        """Work on one sound connection: own pending entries first, then what is new, reading while writing."""
        # Where a key holds what does not belong there, this error names it.
        await self._stream.backlog()
        if await self._stream.ensure_group():
            tell = log.warning if self._had_group else log.info
            tell("made the stream and its group", action="ensure_group", stream=self._stream.names.stream)
            if self._had_group:
                metrics.stream_losses.add(1, {"what": "group"})
        self._had_group = True
        self._health.has("stream")
        await tell_losses(self._stream)
        await self._own_pending()
        self._store.graveyard.passed()
        reading = asyncio.create_task(self._read())
        try:
            while not self._stop.is_set():
                deliveries = await reading
                reading = asyncio.create_task(self._read())
                await self._process(deliveries)
                await self._look()
            await self._process(await reading)
        finally:
            await end([reading])

    async def _own_pending(self) -> None:
        """Write what this consumer was given before, by a name kept over a restart or before a lost connection."""
        self._held.clear()
        after = b"0"
        while deliveries := await self._stream.read_pending(self._settings.name, after, 64):
            after = deliveries[-1].entry_id
            await self._process(deliveries)
        self._tell_held()

    async def _read(self) -> list[Delivery]:
        """Read about a transaction's worth: the more rows entries have, the fewer of them."""
        deliveries = await self._stream.read_new(self._settings.name, self._count, self._settings.block)
        self._health.beat()
        if deliveries:
            failpoints.reach("worker.after_read")
            largest = max(1, *(delivery.rows for delivery in deliveries))
            fitting = max(1, self._settings.batch_rows // largest)
            self._count = min(fitting, self._settings.batch_entries, max(8, self._count * 2))
        return deliveries

    async def _look(self) -> None:
        """Look every few seconds, in a quiet stream too, at what others may have changed."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + self._settings.reclaim_interval
        await self._stream.backlog()
        await self._look_at_held()
        await self._look_at_database()
        await self._take_over()

    async def _look_at_held(self) -> None:
        """Forget newer entries that are gone, or that another worker has by now."""
        self._held, gone = await self._stream.still_held(self._settings.name, sorted(self._held))
        await self._let_go(gone)
        self._tell_held()

    def _tell_held(self) -> None:
        if self._held:
            self._health.lacks("contract", f"{len(self._held)} entries of a newer contract version stay pending")
        else:
            self._health.has("contract")

    async def _look_at_database(self) -> None:
        """Ask the database where nothing was written lately, so that readiness follows it."""
        if time.monotonic() - self._written_at < self._settings.reclaim_interval:
            return
        try:
            await self._store.check()
        except RETRIED as error:
            self._database_fails(error)
        else:
            self._health.has("database")

    def _database_fails(self, error: BaseException) -> None:
        self._health.lacks("database", f"the database fails: {type(error).__name__}: {error}")

    async def _take_over(self) -> None:
        """Take over entries whose consumer has been silent for too long."""
        deliveries = await self._stream.reclaim(self._settings.name, self._settings.reclaim_idle, 64)
        fresh = [delivery for delivery in deliveries if delivery.entry_id not in self._held]
        if fresh:
            log.info("took over entries", action="reclaim", entries=len(fresh))
            await self._process(fresh)

    async def _process(self, deliveries: list[Delivery]) -> None:
        """Write and settle `deliveries`, in transactions of about `batch_rows` rows."""
        await self._let_go([delivery for delivery in deliveries if delivery.fields is None])
        read: list[tuple[Delivery, Entry]] = []
        rows = 0
        for delivery in deliveries:
            if delivery.fields is None:
                continue
            entry = await self._decoded(delivery)
            if entry is None:
                continue
            read.append((delivery, entry))
            rows += len(entry.columns)
            if rows >= self._settings.batch_rows:
                await self._write(Work(read))
                read, rows = [], 0
        if read:
            await self._write(Work(read))

    async def _let_go(self, gone: list[Delivery]) -> None:
        """Acknowledge entries that somebody deleted while they were pending."""
        if gone:
            first = gone[0].entry_id.decode()
            log.error("pending entries were deleted by somebody", action="read", entries=len(gone), first=first)
            await self._stream.settle(Settlement(entries=[(delivery, []) for delivery in gone]))
            await tell_losses(self._stream)

    async def _decoded(self, delivery: Delivery) -> Entry | None:
        """Decode an entry; a damaged one becomes a dead letter, a newer one stays pending."""
        fields = delivery.fields or {}
        try:
            return decode(fields)
        except NewerVersionError as error:
            self._held.add(delivery.entry_id)
            self._tell_held()
            log.error("a newer entry", action="decode", entry_id=delivery.entry_id.decode(), error=str(error))
        except DamagedEntryError as error:
            await self._store.graveyard.admit(1)
            letter = DeadLetter("damaged", str(error), delivery.entry_id.decode(), fields)
            await self._stream.settle(Settlement(entries=[(delivery, [letter])]))
            metrics.dead_batches.add(1, {"reason": "damaged"})
            log.error("a damaged entry", action="bury", entry_id=delivery.entry_id.decode(), error=str(error))
        return None

    async def _write(self, work: Work) -> None:
        """Write until it is committed, then settle. An error on the way leaves the entries pending."""
        pause = 0.1
        began = time.time_ns()
        while True:
            try:
                await self._store.write(work)
                break
            except RETRIED as error:
                self._database_fails(error)
                metrics.worker_retries.add(1, {"what": "database"})
            self._health.beat()
            await self._rest(pause)
            if self._stop.is_set():
                raise Stopped
            pause = min(pause * 2, _LONGEST_PAUSE)
        self._health.has("database")
        self._written_at = time.monotonic()
        failpoints.reach("worker.after_commit")
        await self._stream.settle(work.settlement())
        failpoints.reach("worker.after_settle")
        self._report(work, began)

    def _report(self, work: Work, began: int) -> None:
        now = time.time_ns()
        metrics.commit_seconds.record((now - began) / 1e9)
        metrics.entry_age_seconds.record(now / 1e9 - min(part.batch.accepted_at for part in work.parts) / 1e6)
        written = taken_back = 0
        for part in work.parts:
            verdict = part.verdict
            if verdict is None or verdict.outcome is Outcome.DUPLICATE:
                metrics.duplicate_batches.add(1)
            elif verdict.outcome is Outcome.DEAD:
                metrics.dead_batches.add(1, {"reason": verdict.code})
                log.error("a dead letter", action="bury", batch_id=str(part.batch.batch_id), reason=verdict.detail)
            else:
                written += part.batch.rows - part.taken_back
                taken_back += part.taken_back
            if part.batch.traceparent:
                span = tracer.start_span("store", carried(part.batch.traceparent), start_time=began)
                span.set_attribute("millrace.batch_id", str(part.batch.batch_id))
                span.set_attribute("millrace.outcome", verdict.outcome if verdict else "")
                span.end(now)
        metrics.rows_written.add(written)
        if taken_back:
            metrics.rows_deleted.add(taken_back, {"where": "stream"})
            log.info("left out what deletions cover", action="delete", rows=taken_back)
        log.debug("written", action="write", entries=len(work.deliveries), rows=written)

    async def _rest(self, seconds: float) -> None:
        """Pause, but not longer than until the stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
