"""The writer: takes readings one by one from any thread, and sends them in batches, each stored exactly once."""

import asyncio
import atexit
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import httpx

from .asking import Way
from .batches import Batch, Reading, Reject, encoded
from .buffer import Buffer, Entry
from .delivery import Counts, Delivery
from .errors import UnsentError
from .rejects import Rejects
from .spool import Spool, SpoolFullError

__all__ = ["Writer", "WriterStats"]

_CUT_WITHIN = 10.0
"""Seconds in which a closing writer's last batch is on disk."""

_LET_GO_WITHIN = 1.0
"""Seconds for which a writer that gives up waits for its last request, so that its spool is free."""

_log = logging.getLogger("millrace_client")


@dataclass(frozen=True, slots=True)
class WriterStats:
    """What a writer has done since it was made, in readings unless said otherwise.

    Attributes:
        written: taken by `write` and `write_many`.
        acknowledged: acknowledged by ingest, those that an earlier process left in the spool among them.
        waiting: neither acknowledged nor rejected yet.
        rejected: handed over as rejects.
        expired: put aside, as they may be stored and the ledger does not remember.
        damaged: in segments that could not be read.
        retries: requests that failed, and were sent again.
        memory_bytes: of readings that are not in the spool.
        spool_bytes: of the spool's segments.
        held_up_by: what held up sending last; None where nothing has.
    """

    written: int
    acknowledged: int
    waiting: int
    rejected: int
    expired: int
    damaged: int
    retries: int
    memory_bytes: int
    spool_bytes: int
    held_up_by: str | None


class Writer:
    """Sends readings to ingest from threads of its own. It is a context manager, in asyncio too, and closes itself.

    What it promises: a reading that was taken is sent until it is acknowledged, and is then stored exactly once, or it
    is handed over as a reject. What is in memory goes with the process; what lies in the spool is sent by the next
    writer on it.
    """

    def __init__(
        self, url: str, key: str | None = None, *, batch_rows: int = 1000, batch_age: float = 1.0,
        memory_bytes: int = 64 << 20, full: Literal["block", "raise"] = "block", spool: Path | str | None = None,
        spool_bytes: int = 1 << 30, ack: Literal["queued", "durable", "stored"] = "durable",
        on_reject: Callable[[Reject], object] | None = None, rejects: Path | str | None = None, timeout: float = 30.0,
        closing: float = 30.0, horizon: timedelta = timedelta(hours=72), transport: httpx.BaseTransport | None = None,
    ) -> None:  # fmt: skip
        """Start it.

        Args:
            url: where ingest is, such as http://localhost:8000.
            key: API key with the scope `ingest`.
            batch_rows: readings of a request.
            batch_age: seconds that a reading waits for others.
            memory_bytes: of readings that may wait in memory.
            full: what `write` does where they are so many: wait, or raise `WriterFullError`.
            spool: folder of batches that wait, which outlives the process; None keeps them in memory.
            spool_bytes: of its segments; what does not fit waits in memory.
            ack: how far an acknowledgement promises.
            on_reject: is called by the writer's thread for each reading that the service does not take.
            rejects: file that these are appended to, one JSON object a line; in the spool where one is given.
            timeout: seconds that a request may take.
            closing: seconds for what is left when the writer is closed.
            horizon: for how long the service's ledger remembers keys.
            transport: of httpx, such as one with a proxy.

        Raises:
            SpoolError: the spool cannot be used, or another process has it.
            ValueError: a limit is none, or the URL none of HTTP.
        """
        if min(batch_rows, memory_bytes, spool_bytes) < 1 or batch_age < 0:
            raise ValueError("batch_rows, memory_bytes and spool_bytes are 1 at least, and batch_age 0")
        self._closing = closing
        self._spool = None if spool is None else Spool(Path(spool), spool_bytes)
        if self._spool and rejects is None:
            rejects = Path(spool or "") / "rejects.ndjson"
        left = [Entry(ordinal, 0, rows, 0, None) for ordinal, rows in (self._spool.segments if self._spool else ())]
        self._next = self._spool.free if self._spool else 1
        self._buffer = Buffer(rows=batch_rows, age=batch_age, memory=memory_bytes, blocks=full == "block", left=left)
        self._delivery = Delivery(
            Way(url, key, timeout, 0.0), ack=ack, horizon=horizon.total_seconds(), buffer=self._buffer,
            spool=self._spool, rejects=Rejects(on_reject, None if rejects is None else Path(rejects)),
            transport=transport,
        )  # fmt: skip
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=f"millrace-{name}", daemon=True)
            for name, work in (("batches", self._cut), ("sending", self._delivery.run))
        ]
        self._turn = threading.Lock()
        self._running = len(self._threads)
        self._ended = threading.Event()
        atexit.register(self._at_exit)
        for thread in self._threads:
            thread.start()

    def write(self, sensor_id: str, timestamp: datetime | str, value: float) -> None:
        """Take a reading.

        Raises:
            TypeError, ValueError: it is none; the timestamp needs a time zone.
            WriterFullError: there is no room, and `full` says so.
            MillraceError: the writer is closed, or failed.
        """
        self._buffer.take(encoded((sensor_id, timestamp, value)))

    def write_many(self, readings: Iterable[Reading]) -> int:
        """Take readings, as tuples or as objects with names and labels, and return how many there were.

        Raises:
            TypeError, ValueError: one is none; those before it were taken.
            WriterFullError: there is no room, and `full` says so; those before it were taken.
            MillraceError: the writer is closed, or failed.
        """
        count = 0
        for count, reading in enumerate(readings, 1):  # noqa: B007 -- the last one counts
            self._buffer.take(encoded(reading))
        return count

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was taken before is acknowledged, or handed over as rejects.

        Raises:
            UnsentError: it is not, `timeout` seconds later; sending goes on.
        """
        self._buffer.settled(timeout, kept=False)

    def sync(self, timeout: float | None = None) -> None:
        """Wait until all that was taken before outlives this process: in the spool's disk, or acknowledged.

        Raises:
            UnsentError: it is not, `timeout` seconds later; sending goes on.
        """
        self._buffer.settled(timeout, kept=True)

    @property
    def stats(self) -> WriterStats:
        """What it has done, and what waits."""
        written, waiting, memory = self._buffer.figures()
        counts: Counts = replace(self._delivery.counts)
        size = self._spool.size if self._spool else 0
        return WriterStats(
            written, counts.acknowledged, waiting, counts.rejected, counts.expired, counts.damaged, counts.retries,
            memory, size, self._buffer.why,
        )  # fmt: skip

    def close(self, timeout: float | None = None) -> None:
        """Send what is left and end; a second time it does nothing.

        Args:
            timeout: seconds for it; as the writer was made for where it is None. 0 leaves all to the spool.

        Raises:
            UnsentError: something is not acknowledged; what lies in the spool is sent by the next writer on it.
        """
        if self._ended.is_set():
            return
        self._ended.set()
        atexit.unregister(self._at_exit)
        until = time.monotonic() + (self._closing if timeout is None else timeout)
        self._buffer.close()
        cutting, sending = self._threads
        cutting.join(_CUT_WITHIN)
        sending.join(max(until - time.monotonic(), 0.0))
        left = self._buffer.stop()
        # A request that is under way ends by itself; what it tells is taken, and the spool is held until then.
        sending.join(_LET_GO_WITHIN)
        if left is not None:
            raise left

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _cut(self) -> None:
        """Make batches of what was taken, and put them into the spool where there is one."""
        while found := self._buffer.cut():
            first, readings = found
            batch = Batch.new(readings)
            ordinal, self._next = self._next, self._next + 1
            kept = self._spool is not None and self._kept(self._spool, ordinal, batch)
            size = sum(map(len, readings))
            self._buffer.queue(Entry(ordinal, first, len(readings), size, None if kept else batch))

    def _kept(self, spool: Spool, ordinal: int, batch: Batch) -> bool:
        """Put a batch into the spool; tell whether it is there. Else it waits in memory, as without a spool."""
        now = time.time_ns() // 1_000_000 if self._buffer.idle else None
        try:
            spool.put(ordinal, replace(batch, tried=now))
        except SpoolFullError as error:
            self._buffer.why = str(error)
        except OSError as error:
            self._buffer.why = f"the spool cannot be written: {error}"
            _log.error("millrace: the spool cannot be written, readings wait in memory: %s", error)
        else:
            return True
        return False

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 -- who waits for the thread is told
            _log.exception("millrace: the writer failed")
            self._buffer.fail(error)
        finally:
            with self._turn:
                self._running -= 1
                if self._running == 0 and self._spool:
                    self._spool.close()

    def _at_exit(self) -> None:
        try:
            self.close()
        except UnsentError as error:
            _log.critical("millrace: the interpreter ends, and the writer was not closed: %s", error)
