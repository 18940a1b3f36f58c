"""What a writer holds: readings that are in no batch yet, and batches in the order in which they are sent.

Everything stands behind one condition. Readings are numbered from 1 in the order in which they were taken, so that a
wait is for all up to a number.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass

from .batches import Batch
from .errors import MillraceError, UnsentError, WriterFullError

__all__ = ["Buffer", "Entry"]

_SLOW = "there was no time"
"""What holds up where nothing was said to."""

BATCH_BYTES = 4 << 20
"""Bytes at which a batch is cut, whatever its rows: half of what ingest takes as sent."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A batch that is not sent.

    Attributes:
        ordinal: of the batch, and of its segment.
        first: number of its first reading; 0 for one that an earlier process left.
        rows: how many readings.
        size: their bytes.
        batch: what is sent; None where it lies in the spool.
    """

    ordinal: int
    first: int
    rows: int
    size: int
    batch: Batch | None


class Buffer:
    """The writer's state. Callers' threads put readings in; one thread cuts batches, and one sends them."""

    def __init__(self, *, rows: int, age: float, memory: int, blocks: bool, left: list[Entry]) -> None:
        """Take the limits.

        Args:
            rows: of a batch.
            age: seconds that a reading may wait for others.
            memory: bytes of readings that may be held.
            blocks: whether who writes waits where they are, else gets an error.
            left: what an earlier process left.
        """
        self._rows = rows
        self._age = age
        self._memory = memory
        self._blocks = blocks
        self._changed = threading.Condition()
        self._open: list[bytes] = []
        self._open_bytes = 0
        self._since = 0.0
        self._taken = 0
        self._cut = 0
        self._wanted = 0
        """All readings up to this number shall be in a batch now."""
        self._queue = deque(left)
        self._held = 0
        self._closing = False
        self._stopped = False
        self._failure: BaseException | None = None
        self.why: str | None = None
        """What held up sending last; None where nothing has."""

    def take(self, reading: bytes) -> None:
        """Take a reading in.

        Raises:
            WriterFullError: there is no room, and nobody waits for it.
            MillraceError: the writer is closed, or failed.
        """
        with self._changed:
            while self._held and self._held + len(reading) > self._memory and not self._closing:
                self._check()
                self._wanted = self._taken
                self._changed.notify_all()
                if not self._blocks:
                    raise WriterFullError(f"{self._held} bytes of readings wait in memory: {self.why or _SLOW}")
                self._changed.wait()
            self._check()
            if self._closing:
                raise MillraceError("the writer is closed")
            if not self._open:
                self._since = time.monotonic()
            self._open.append(reading)
            self._held += len(reading)
            self._open_bytes += len(reading)
            self._taken += 1
            if len(self._open) in {1, self._rows} or self._open_bytes >= BATCH_BYTES:
                self._changed.notify_all()

    def cut(self) -> tuple[int, list[bytes]] | None:
        """Wait until a batch is due, and return its readings and the number of the first; None when all is cut."""
        with self._changed:
            while not self._due():
                if self._stopped or (self._closing and not self._open):
                    return None
                left = self._since + self._age - time.monotonic() if self._open else None
                self._changed.wait(left)
            readings, size = [], 0
            for reading in self._open[: self._rows]:
                readings.append(reading)
                size += len(reading)
                if size >= BATCH_BYTES:
                    break
            del self._open[: len(readings)]
            self._open_bytes -= size
            return self._cut + 1, readings

    def queue(self, entry: Entry) -> None:
        """Take a batch that was cut in as the last to be sent."""
        with self._changed:
            self._queue.append(entry)
            self._cut += entry.rows
            if entry.batch is None:
                self._held -= entry.size
            self._changed.notify_all()

    def head(self) -> Entry | None:
        """Wait for a batch, and return the first one; None when no other comes, or sending shall stop."""
        with self._changed:
            while not self._queue and not (self._closing and self._cut == self._taken):
                if self._stopped:
                    return None
                self._changed.wait()
            return None if self._stopped or not self._queue else self._queue[0]

    @property
    def idle(self) -> bool:
        """Whether a batch that is queued now is sent at once."""
        with self._changed:
            return not self._queue

    def sent(self) -> None:
        """Forget the first batch."""
        with self._changed:
            entry = self._queue.popleft()
            if entry.batch is not None:
                self._held -= entry.size
            self._changed.notify_all()

    def pause(self, seconds: float) -> bool:
        """Wait, and tell whether to go on sending."""
        until = time.monotonic() + seconds
        with self._changed:
            while not self._stopped and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            return not self._stopped

    def settled(self, timeout: float | None, *, kept: bool) -> None:
        """Wait until all readings that were taken are sent, or with `kept` on disk at least.

        Raises:
            UnsentError: they are not, `timeout` seconds later, or will not be, as the writer was closed.
            MillraceError: the writer failed.
        """
        with self._changed:
            number = self._wanted = self._taken
            self._changed.notify_all()
            open_ = self._unkept if kept else self._unsent
            self._changed.wait_for(lambda: self._stopped or not open_(number), timeout)
            self._check()
            if open_(number):
                raise self._left()

    def close(self) -> None:
        """Take nothing more; what is there is cut and sent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def stop(self) -> UnsentError | None:
        """Send nothing more, and return what is left, where anything is."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            return self._left() if self._queue or self._cut < self._taken else None

    def fail(self, error: BaseException) -> None:
        """Let all who wait know that the writer's thread is dead."""
        with self._changed:
            self._failure = error
            self._stopped = True
            self._changed.notify_all()

    def figures(self) -> tuple[int, int, int]:
        """Return how many readings were taken, how many wait, and the bytes in memory."""
        with self._changed:
            return self._taken, self._waiting(), self._held

    def _check(self) -> None:
        if self._failure is not None:
            raise MillraceError(f"the writer failed: {self._failure!r}") from self._failure

    def _due(self) -> bool:
        if not self._open or self._stopped:
            return False
        full = len(self._open) >= self._rows or self._open_bytes >= BATCH_BYTES
        return full or self._closing or self._wanted > self._cut or time.monotonic() >= self._since + self._age

    def _unsent(self, number: int) -> bool:
        return self._cut < number or bool(self._queue and self._queue[0].first <= number)

    def _unkept(self, number: int) -> bool:
        return self._cut < number or any(entry.batch is not None and entry.first <= number for entry in self._queue)

    def _waiting(self) -> int:
        return self._taken - self._cut + sum(entry.rows for entry in self._queue)

    def _left(self) -> UnsentError:
        kept = sum(entry.rows for entry in self._queue if entry.batch is None)
        return UnsentError(kept, self._waiting() - kept, self.why or _SLOW)
