"""The process that `millrace prove-client` kills: a writer with a spool, and a journal of what it was told.

Threads write chunks of readings whose values are the numbers of their rows. A chunk stands in the journal before its
first reading is written, and again, as acknowledged, when `sync` has returned behind its last one: from then on the
client promises it. Each life goes on with the rows behind all that the journal has. SIGINT ends the process when all is
sent.
"""

import random
import signal
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
from millrace_client import Writer
from millrace_client.outcomes import Outcome, State

from services.sender.journal import Journal
from services.sender.readings import Batch

__all__ = ["Work"]

_REJECTED = "rejected"
"""Sensor whose readings the service does not take, as they are too old."""

_THREADS = 3
_CHUNK = 200
"""Readings of a chunk at most."""

_SENSORS = 50
_OLD = timedelta(days=365 * 30)
_ENDS_WITHIN = 90.0


class Work:
    """What the threads share."""

    def __init__(self, writer: Writer, journal: Journal, first: int, dice: random.Random) -> None:
        self._writer = writer
        self._journal = journal
        self._next = first
        self._dice = dice
        self._turn = threading.Lock()
        self.stop = threading.Event()

    def run(self) -> None:
        """Write chunks until it shall stop."""
        while not self.stop.is_set():
            with self._turn:
                rows = self._dice.randint(1, _CHUNK)
                chunk = Batch(0, self._next, rows, b"")
                self._next += rows
                pause, bad = self._dice.uniform(0.01, 0.06), self._dice.random() < 0.1
                self._journal.note(chunk, None, Outcome(State.SENT))
            now = datetime.now(UTC)
            for row in range(chunk.first_row, chunk.first_row + rows):
                self._writer.write(f"sensor-{row % _SENSORS:04d}", now, row)
            if bad:
                self._writer.write(_REJECTED, now - _OLD, chunk.first_row)
            self._writer.sync()
            self._journal.note(chunk, None, Outcome(State.ACKED))
            self.stop.wait(pause)


def _behind(journal: Path) -> int:
    """Return the first row that no life has begun."""
    if not journal.exists():
        return 0
    lines = map(orjson.loads, journal.read_bytes().splitlines())
    return max((line["first_row"] + line["rows"] for line in lines), default=0)


def _main(url: str, spool: Path, path: Path, seed: int) -> None:
    first = _behind(path)
    dice = random.Random(seed + first)  # noqa: S311 -- to be repeated, not to be secret
    with (
        Journal(path) as journal,
        Writer(url, spool=spool, batch_rows=500, batch_age=0.05, timeout=10, closing=_ENDS_WITHIN) as writer,
    ):
        work = Work(writer, journal, first, dice)
        signal.signal(signal.SIGINT, lambda *_: work.stop.set())
        threads = [threading.Thread(target=work.run) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
