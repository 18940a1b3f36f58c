"""Posting batches to ingest: several connections, one key a batch, retries that never double a row."""

import asyncio
import gzip
import itertools
import random
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from urllib.parse import SplitResult

from .connection import Connection
from .files import ReadError
from .journal import Journal
from .outcome import Outcome, State, answered, unanswered
from .readings import Batch
from .tally import Tally

__all__ = ["Plan", "Sender"]

ANSWER_TIMEOUT = 30.0
"""Seconds that one request may take; above the longest wait of `ack=stored`."""

LONGEST_PAUSE = 5.0
"""Seconds between attempts at most, where the server names none."""

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
        outcome = await self._persist(connection, headers, body)
        self._journal.note(batch, key, outcome)
        self._tally.ended(batch, outcome)

    async def _persist(self, connection: Connection, headers: dict[str, str], body: bytes) -> Outcome:
        """Try until the outcome is final, patience ends, or a repeat could store a row twice."""
        deadline = time.monotonic() + self._plan.patience
        doubt = False
        for repeat in itertools.count():
            outcome = await self._attempt(connection, headers, body)
            doubt |= outcome.state is State.UNKNOWN
            pause = _backoff(repeat) if outcome.after is None else outcome.after
            forbidden = doubt and self._plan.run is None
            if not outcome.again or forbidden or time.monotonic() + pause > deadline:
                break
            await asyncio.sleep(pause)
            self._tally.retries += 1
        # What was refused at last may have been stored by an attempt whose answer was lost.
        return replace(outcome, state=State.UNKNOWN) if doubt and outcome.state is State.REFUSED else outcome

    async def _attempt(self, connection: Connection, headers: dict[str, str], body: bytes) -> Outcome:
        began = time.monotonic()
        try:
            answer = await connection.post(self._target, headers, body, ANSWER_TIMEOUT)
        except OSError as error:
            outcome = unanswered(error)
        else:
            outcome = answered(answer)
        self._tally.answered(outcome.status, time.monotonic() - began)
        return outcome


def _backoff(repeat: int) -> float:
    return random.uniform(0, min(LONGEST_PAUSE, 0.1 * 2 ** min(repeat, 10)))  # noqa: S311 -- no secret
