"""Posting batches to ingest: several connections, one key a batch, retries that never double a row."""

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvloop
from millrace_client.outcomes import Outcome, State

from .journal import Journal
from .posting import Poster, Way
from .progress import Tally, shown
from .readings import Batch

__all__ = ["Plan", "Sender", "run_sender"]

_NAMESPACE = uuid.UUID("0b6a3a52-62a5-5b52-9d0e-8a5a5c9f1d27")


@dataclass(frozen=True, slots=True)
class Plan:
    """How to send.

    Attributes:
        way: to ingest.
        ack: how far its answers shall promise: queued, durable or stored.
        connections: requests under way at once.
        run: name that the keys are made from, the same for a repeat of the same run; None sends no keys, and
            then a batch that may have been stored is not sent again.
    """

    way: Way
    ack: str
    connections: int
    run: str | None

    def key(self, number: int) -> str | None:
        """Return the Idempotency-Key of a batch."""
        return None if self.run is None else str(uuid.uuid5(uuid.uuid5(_NAMESPACE, self.run), str(number)))


class Sender:
    """Sends the batches of `source`; what became of each stands in the tally and the journal."""

    def __init__(self, plan: Plan, source: Iterator[Batch], tally: Tally, journal: Journal) -> None:
        self._plan = plan
        self._source = source
        self._tally = tally
        self._journal = journal

    async def run(self) -> None:
        """Send everything."""
        await asyncio.gather(*(self._work() for _ in range(self._plan.connections)))

    async def _work(self) -> None:
        with Poster(self._plan.way, self._tally) as poster:
            for batch in self._source:
                await self._send(poster, batch)

    async def _send(self, poster: Poster, batch: Batch) -> None:
        key = self._plan.key(batch.number)
        self._journal.note(batch, key, Outcome(State.SENT))
        target = f"/ingest?ack={self._plan.ack}"
        outcome = await poster.post(target, {"content-type": "application/json"}, batch.body, key)
        self._journal.note(batch, key, outcome)
        self._tally.ended(batch, outcome)


def run_sender(plan: Plan, source: Iterator[Batch], tally: Tally, journal: Path | None, rows: int) -> None:
    """Send everything in an event loop of its own, and show on standard error how it goes.

    Args:
        plan: how.
        source: the batches.
        tally: counts; they are right too where this is interrupted.
        journal: file to append to.
        rows: how many there will be.

    Raises:
        OSError: the journal cannot be written.
    """

    async def run(open_journal: Journal) -> None:
        async with shown(tally, rows):
            await Sender(plan, source, tally, open_journal).run()

    with Journal(journal) as open_journal:
        uvloop.run(run(open_journal))
