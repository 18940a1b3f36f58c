"""Posting batches to ingest: several connections, one key a batch, retries that never double a row."""

import asyncio
import gzip
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult

import uvloop
from millrace_client.outcomes import Outcome, State, answered, unanswered

from .connection import Connection, NotConnectedError
from .files import ReadError
from .journal import Journal
from .progress import Tally, shown
from .readings import Batch
from .retries import until_final

__all__ = ["Plan", "Sender", "run_sender"]

ANSWER_TIMEOUT = 30.0
"""Seconds that one request may take; above the longest wait of `ack=stored`."""

_NAMESPACE = uuid.UUID("0b6a3a52-62a5-5b52-9d0e-8a5a5c9f1d27")


@dataclass(frozen=True, slots=True)
class Plan:
    """How to send.

    Attributes:
        url: where ingest is.
        ack: how far its answers shall promise: queued, durable or stored.
        connections: requests under way at once.
        gzip: whether bodies are compressed.
        patience: seconds after which a batch is given up.
        run: name that the keys are made from, the same for a repeat of the same run; None sends no keys, and
            then a batch that may have been stored is not sent again.
        api_key: sent with each request.
    """

    url: SplitResult
    ack: str
    connections: int
    gzip: bool
    patience: float
    run: str | None
    api_key: str | None = None

    def key(self, number: int) -> str | None:
        """Return the Idempotency-Key of a batch."""
        return None if self.run is None else str(uuid.uuid5(uuid.uuid5(_NAMESPACE, self.run), str(number)))


class Sender:
    """Sends the batches of `source`; what became of each stands in the tally and the journal."""

    def __init__(self, plan: Plan, source: AsyncIterator[Batch], tally: Tally, journal: Journal) -> None:
        self._plan = plan
        self._source = source
        self._tally = tally
        self._journal = journal
        self._target = f"{plan.url.path.rstrip('/')}/ingest?ack={plan.ack}"
        self._turn = asyncio.Lock()
        self._fault: ReadError | None = None

    async def run(self) -> None:
        """Send everything.

        Raises:
            ReadError: the source broke off; all that came before it was sent.
        """
        await asyncio.gather(*(self._work() for _ in range(self._plan.connections)))
        if self._fault:
            raise self._fault

    async def _work(self) -> None:
        connection = Connection(self._plan.url)
        try:
            while batch := await self._next():
                await self._send(connection, batch)
        finally:
            connection.close()

    async def _next(self) -> Batch | None:
        async with self._turn:
            try:
                return None if self._fault else await anext(self._source, None)
            except ReadError as fault:
                self._fault = fault
                return None

    async def _send(self, connection: Connection, batch: Batch) -> None:
        key = self._plan.key(batch.number)
        self._journal.note(batch, key, Outcome(State.SENT))
        headers = {"content-type": "application/json"}
        if self._plan.api_key:
            headers["authorization"] = f"Bearer {self._plan.api_key}"
        if key:
            headers["idempotency-key"] = key
        body = batch.body
        if self._plan.gzip:
            headers["content-encoding"] = "gzip"
            body = gzip.compress(body, 1)
        outcome = await until_final(
            lambda: self._attempt(connection, headers, body),
            patience=self._plan.patience,
            keyed=key is not None,
            retries=self._tally.retried,
        )
        self._journal.note(batch, key, outcome)
        self._tally.ended(batch, outcome)

    async def _attempt(self, connection: Connection, headers: dict[str, str], body: bytes) -> Outcome:
        began = time.monotonic()
        try:
            answer = await connection.post(self._target, headers, body, ANSWER_TIMEOUT)
        except OSError as error:
            outcome = unanswered(error, connected=not isinstance(error, NotConnectedError))
        else:
            outcome = answered(answer.status, answer.retry_after, answer.body)
        self._tally.answered(outcome.status, time.monotonic() - began)
        return outcome


def run_sender(plan: Plan, source: AsyncIterator[Batch], tally: Tally, journal: Path | None, rows: int | None) -> None:
    """Send everything in an event loop of its own, and show on standard error how it goes.

    Args:
        plan: how.
        source: the batches.
        tally: counts; they are right too where this is interrupted.
        journal: file to append to.
        rows: how many there will be, where it is known.

    Raises:
        ReadError: the source broke off.
        OSError: the journal cannot be written.
    """

    async def run(open_journal: Journal) -> None:
        async with shown(tally, rows):
            await Sender(plan, source, tally, open_journal).run()

    with Journal(journal) as open_journal:
        uvloop.run(run(open_journal))
