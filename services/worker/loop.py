"""The worker's loop: read, write, settle, and start over from its own pending entries whenever the stream was lost.

Nothing that was read is forgotten: an entry stays pending until its transaction has committed, and only then is
it acknowledged and deleted. After any trouble with the stream the loop reads its own pending entries first; what
had been committed meanwhile the ledger tells.

A bad deployment must turn some batches into dead letters, not all of them. So dead letters have a limit, and it is
looked at *before* a transaction commits that makes any: what the ledger has as dead can only be settled as dead, while
what was rolled back is stored once the fault is mended. The stream's server, which has the dead letters, is not asked
inside of a transaction, for that would hold its locks all the while. So a transaction may make none at first. One that
would is rolled back and says how many; the loop counts what is there and lets it have those, or ends the session: the
entries stay pending, and the worker, which is not ready then, comes back to them until there is room. What one
transaction made is settled before the next begins, so a worker passes the limit by one transaction's dead letters at
most.
"""

import asyncio
import contextlib
import time

import structlog

from services.contract import DeadLetter, Entry, EntryError, NewerVersionError, Outcome
from services.platform.postgres.errors import DATABASE_FAILURES, words_of
from services.platform.runtime import failpoints, metrics
from services.platform.runtime.health import Health
from services.platform.runtime.retry import retried
from services.platform.runtime.tasks import end
from services.platform.runtime.telemetry import carried, tracer
from services.platform.settings import WorkerSettings
from services.platform.stream import STREAM_ERRORS, DeadLetters, Delivery, GroupMissingError, Settlement, Stream

from .janitor import tell_losses
from .reading import Opened, Reader, opened
from .transaction import DeadLettersError, Store
from .work import Work, Written

__all__ = ["Loop"]

log = structlog.get_logger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
"""Seconds between attempts while a server fails. A session that held for longer than the longest was sound."""


class Stopped(Exception):  # noqa: N818 -- no error: the loop ends
    """The worker is told to stop while it waits for a server that fails."""


class DeadLetterLimitError(Exception):
    """No more dead letters may be written: what would become one stays pending, and the worker stops."""


class Loop:
    """Carries entries from the stream to the store until it is told to stop."""

    def __init__(
        self,
        stream: Stream,
        letters: DeadLetters,
        store: Store,
        *,
        settings: WorkerSettings,
        health: Health,
        stop: asyncio.Event,
    ) -> None:
        self._stream = stream
        self._letters = letters
        self._store = store
        self._settings = settings
        self._health = health
        self._stop = stop
        self._newer: set[bytes] = set()
        self._had_group = False
        self._reader = Reader(stream, settings, health, stop)
        self._next_look = 0.0
        self._written_at = 0.0

    async def run(self) -> None:
        """Work until `stop` is set and what was read by then is written, or the database fails at that moment."""
        if self._stop.is_set():
            return
        lost = (DeadLetterLimitError, GroupMissingError, *STREAM_ERRORS)
        with contextlib.suppress(Stopped):
            await retried(
                self._session,
                lost,
                self._session_ended,
                first=_FIRST_PAUSE,
                longest=_LONGEST_PAUSE,
                steady=_LONGEST_PAUSE,
                sleep=self._rest,
            )

    def _session_ended(self, error: BaseException) -> None:
        if isinstance(error, DeadLetterLimitError):
            log.critical(str(error), action="dead_letter_limit")
        elif isinstance(error, GroupMissingError):
            log.error("the stream or its group was lost", action="read", error=str(error))
        else:
            self._health.lacks("stream", f"the stream's server fails: {error}")
            metrics.worker_retries.add(1, {"what": "stream"})

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
        # All that was pending is written, so the limit stops nothing.
        self._health.has("dead_letters")
        reading = asyncio.create_task(self._reader.read())
        try:
            while not self._stop.is_set():
                found = await reading
                reading = asyncio.create_task(self._reader.read())
                await self._process(found)
                await self._look()
            await self._process(await reading)
        finally:
            await end([reading])

    async def _own_pending(self) -> None:
        """Write what this consumer was given before, by a name kept over a restart or before a lost connection."""
        self._newer.clear()
        after = b"0"
        while deliveries := await self._stream.read_pending(self._settings.name, after, 64):
            after = deliveries[-1].entry_id
            await self._process(list(map(opened, deliveries)))
        self._tell_newer()

    async def _look(self) -> None:
        """Look every few seconds, in a quiet stream too, at what others may have changed."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + self._settings.reclaim_interval
        await self._stream.backlog()
        await self._look_at_newer()
        await self._look_at_database()
        await self._take_over()

    async def _look_at_newer(self) -> None:
        """Forget newer entries that are gone, or that another worker has by now."""
        self._newer, gone = await self._stream.still_pending(self._settings.name, sorted(self._newer))
        await self._let_go(gone)
        self._tell_newer()

    def _tell_newer(self) -> None:
        if self._newer:
            self._health.lacks("contract", f"{len(self._newer)} entries of a newer contract version stay pending")
        else:
            self._health.has("contract")

    async def _look_at_database(self) -> None:
        """Ask the database where nothing was written lately, so that readiness follows it."""
        if time.monotonic() - self._written_at < self._settings.reclaim_interval:
            return
        try:
            await self._store.check()
        except DATABASE_FAILURES as error:
            self._database_fails(error)
        else:
            self._health.has("database")

    def _database_fails(self, error: BaseException) -> None:
        self._health.lacks("database", f"the database fails: {words_of(error)}")

    async def _take_over(self) -> None:
        """Take over entries whose consumer has been silent for too long."""
        deliveries = await self._stream.reclaim(self._settings.name, self._settings.reclaim_idle, 64)
        fresh = [delivery for delivery in deliveries if delivery.entry_id not in self._newer]
        if fresh:
            log.info("took over entries", action="reclaim", entries=len(fresh))
            await self._process(list(map(opened, fresh)))

    async def _process(self, found: list[Opened]) -> None:
        """Write and settle what was read, in transactions of about `batch_rows` rows."""
        await self._let_go([one.delivery for one in found if one.entry is None])
        read: list[tuple[Delivery, Entry]] = []
        rows = 0
        for one in found:
            if isinstance(one.entry, EntryError):
                await self._put_aside(one.delivery, one.entry)
            if not isinstance(one.entry, Entry):
                continue
            read.append((one.delivery, one.entry))
            rows += len(one.entry.columns)
            if rows >= self._settings.batch_rows:
                await self._write(Work(read, together=True))
                read, rows = [], 0
        if read:
            await self._write(Work(read, together=True))

    async def _let_go(self, gone: list[Delivery]) -> None:
        """Acknowledge entries that somebody deleted while they were pending."""
        if gone:
            first = gone[0].entry_id.decode()
            log.error("pending entries were deleted by somebody", action="read", entries=len(gone), first=first)
            await self._stream.settle(Settlement(entries=[(delivery, []) for delivery in gone]))
            await tell_losses(self._stream)

    async def _put_aside(self, delivery: Delivery, error: EntryError) -> None:
        """Make a damaged entry a dead letter; leave a newer one pending."""
        entry_id = delivery.entry_id.decode()
        if isinstance(error, NewerVersionError):
            self._newer.add(delivery.entry_id)
            self._tell_newer()
            metrics.foreign_content.add(1, {"what": "newer_entry"})
            log.error("a newer entry", action="decode", entry_id=entry_id, error=str(error))
            return
        await self._check_limit(1)
        letter = DeadLetter("damaged", str(error), entry_id, delivery.fields or {})
        await self._stream.settle(Settlement(entries=[(delivery, [letter])]))
        metrics.dead_batches.add(1, {"reason": "damaged"})
        log.error("a damaged entry", action="dead_letter", entry_id=entry_id, error=str(error))

    async def _check_limit(self, more: int) -> None:
        """Let `more` dead letters be written where fewer than the limit are there.

        Raises:
            DeadLetterLimitError: the limit is reached; the worker is not ready until there is room.
            redis.exceptions.RedisError: the stream's server is away.
        """
        there, limit = await self._letters.count(), self._settings.dead_letter_limit
        if there >= limit:
            problem = (
                f"{there} dead letters, the limit is {limit}, and {more} more would follow: the worker stops. "
                "Find out why (millrace dead-letters list), mend it, replay or delete them"
            )
            self._health.lacks("dead_letters", problem)
            raise DeadLetterLimitError(problem)

    async def _write(self, work: Work) -> None:
        """Write until it is committed, then settle. An error on the way leaves the entries pending."""
        began = time.time_ns()

        def failed(error: BaseException) -> None:
            self._database_fails(error)
            metrics.worker_retries.add(1, {"what": "database"})
            self._health.beat()

        try:
            written = await retried(
                lambda: self._committed(work),
                DATABASE_FAILURES,
                failed,
                first=_FIRST_PAUSE,
                longest=_LONGEST_PAUSE,
                sleep=self._rest,
            )
        except Stopped:
            log.warning("stopped with entries unwritten; others will take them over", action="drain")
            raise
        self._health.has("database")
        self._written_at = time.monotonic()
        failpoints.reach("worker.after_commit")
        await self._stream.settle(written.work.settlement(written.verdicts))
        failpoints.reach("worker.after_settle")
        self._report(written, began)

    async def _committed(self, work: Work) -> Written:
        """Write `work`, as soon as the dead letters that it comes to are within the limit."""
        dead = 0
        while True:
            try:
                return await self._store.write(work, dead)
            except DeadLettersError as error:
                dead = error.count
            await self._check_limit(dead)

    def _report(self, written: Written, began: int) -> None:
        """Count what a transaction did, and end the spans of its batches."""
        work = written.work
        now = time.time_ns()
        metrics.commit_seconds.record((now - began) / 1e9)
        metrics.entry_age_seconds.record(now / 1e9 - work.oldest / 1e6)
        rows = taken_back = repeated = 0
        for part in work.parts:
            verdict = written.verdicts[part]
            came_before = written.selection.repeated(part)
            repeated += came_before
            if verdict.outcome is Outcome.DUPLICATE:
                metrics.duplicate_batches.add(part.batches)
            elif verdict.outcome is Outcome.DEAD:
                metrics.dead_batches.add(1, {"reason": verdict.code})
                batch_id = str(part.batch.batch_id)
                log.error("a dead letter", action="dead_letter", batch_id=batch_id, reason=verdict.detail)
            else:
                left_out = written.selection.taken_back(part)
                rows += part.batch.rows - left_out - came_before
                taken_back += left_out
            if part.batch.traceparent:
                span = tracer.start_span("store", carried(part.batch.traceparent), start_time=began)
                span.set_attribute("millrace.batch_id", str(part.batch.batch_id))
                span.set_attribute("millrace.outcome", verdict.outcome)
                span.end(now)
        metrics.rows_written.add(rows)
        if repeated:
            metrics.rows_repeated.add(repeated)
        if taken_back:
            metrics.rows_deleted.add(taken_back, {"where": "stream"})
            log.info("left out what deletions cover", action="delete", rows=taken_back)
        log.debug("written", action="write", entries=len(work.deliveries), rows=rows)

    async def _rest(self, seconds: float) -> None:
        """Pause.

        Raises:
            Stopped: the worker is told to stop, or was before.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
                raise Stopped
