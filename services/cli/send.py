"""Posting batches to ingest: several connections, one key a batch, retries that never double a row."""

import asyncio
import gzip
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import SplitResult

import orjson
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_before_delay, wait_random_exponential

from .connection import Answer, Connection, NotConnectedError
from .files import ReadError
from .journal import Journal, State
from .readings import Batch
from .tally import Tally

__all__ = ["Plan", "Sender"]

ANSWER_TIMEOUT = 30.0
"""Seconds that one request may take; above the longest wait of `ack=stored`."""

_NAMESPACE = uuid.UUID("0b6a3a52-62a5-5b52-9d0e-8a5a5c9f1d27")
_backoff = wait_random_exponential(multiplier=0.1, max=5.0)


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
    """

    url: SplitResult
    ack: str
    connections: int
    gzip: bool
    patience: float
    run: str | None

    def key(self, number: int) -> str | None:
        """Return the Idempotency-Key of a batch."""
        return None if self.run is None else str(uuid.uuid5(uuid.uuid5(_NAMESPACE, self.run), str(number)))


class _AgainError(Exception):
    """An attempt failed that may be repeated."""

    def __init__(self, why: str, status: int | None, after: float | None, *, landed: bool) -> None:
        super().__init__(why)
        self.status = status
        self.after = after
        self.landed = landed
        """Whether the attempt may have been served all the same."""


class Sender:
    """Sends the batches of `source`; what became of each stands in the tally and the journal."""

    def __init__(self, plan: Plan, source: Iterator[Batch], tally: Tally, journal: Journal) -> None:
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
        async with self._turn:  # a source that waits for a pipe must not hold up the answers
            try:
                return None if self._fault else await asyncio.to_thread(next, self._source, None)
            except ReadError as fault:
                self._fault = fault
                return None

    async def _send(self, connection: Connection, batch: Batch) -> None:
        key = self._plan.key(batch.number)
        self._journal.note(batch, key, State.SENT)
        body = gzip.compress(batch.body, 1) if self._plan.gzip else batch.body
        landed = False
        attempts = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, _AgainError) and bool(key or not error.landed)),
            wait=_pause,
            stop=stop_before_delay(self._plan.patience),
            reraise=True,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    self._tally.retries += attempt.retry_state.attempt_number > 1
                    try:
                        answer = await self._attempt(connection, key, body)
                    except _AgainError as error:
                        landed |= error.landed
                        raise
        except _AgainError as error:
            self._end(batch, key, State.UNKNOWN if landed else State.REFUSED, error.status, str(error))
            return
        self._judge(batch, key, answer, landed=landed)

    async def _attempt(self, connection: Connection, key: str | None, body: bytes) -> Answer:
        headers = {"content-type": "application/json"}
        if key:
            headers["idempotency-key"] = key
        if self._plan.gzip:
            headers["content-encoding"] = "gzip"
        began = time.monotonic()
        try:
            answer = await connection.post(self._target, headers, body, ANSWER_TIMEOUT)
        except OSError as error:
            self._tally.answered(None, 0)
            why = f"no answer: {str(error) or type(error).__name__}"
            raise _AgainError(why, None, None, landed=not isinstance(error, NotConnectedError)) from error
        self._tally.answered(answer.status, time.monotonic() - began)
        if answer.status in {429, 502, 503, 504}:
            landed = answer.status != 429
            raise _AgainError(_told(answer), answer.status, answer.retry_after, landed=landed)
        return answer

    def _judge(self, batch: Batch, key: str | None, answer: Answer, *, landed: bool) -> None:
        batch_id = _batch_id(answer)
        if batch_id is not None:
            self._end(batch, key, State.ACKED, answer.status, "", batch_id)
        else:
            landed |= not 400 <= answer.status < 500
            state = State.UNKNOWN if landed else State.REFUSED
            self._end(batch, key, state, answer.status, _told(answer))

    def _end(  # noqa: PLR0917 -- one line of the journal
        self, batch: Batch, key: str | None, state: State, status: int | None, why: str, batch_id: str | None = None
    ) -> None:
        self._journal.note(batch, key, state, status, batch_id)
        self._tally.ended(batch, state, why)


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.after if isinstance(error, _AgainError) else None
    return _backoff(state) if asked is None else asked


def _batch_id(answer: Answer) -> str | None:
    try:
        return str(orjson.loads(answer.body)["batch_id"]) if answer.status in {200, 202} else None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _told(answer: Answer) -> str:
    try:
        problem = orjson.loads(answer.body)
        return f"{answer.status} {problem['code']}: {problem['detail']}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"{answer.status} {answer.body[:200].decode(errors='replace')}"
