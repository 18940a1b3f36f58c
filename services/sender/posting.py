"""Posting a body until its outcome is final, over a connection that is kept: the one way in which commands deliver."""

import gzip
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult

from millrace_client.outcomes import Outcome, answered, unanswered

from .connection import Connection, NotConnectedError
from .progress import Attempts
from .retries import until_final

__all__ = ["Poster", "Way", "attempt"]

ANSWER_TIMEOUT = 30.0
"""Seconds that one request may take; above the longest wait of `ack=stored`."""


async def attempt(connection: Connection, target: str, headers: dict[str, str], body: bytes) -> Outcome:
    """Post a body once, and return what is known of it then."""
    try:
        answer = await connection.post(target, headers, body, ANSWER_TIMEOUT)
    except OSError as error:
        return unanswered(error, connected=not isinstance(error, NotConnectedError))
    return answered(answer.status, answer.retry_after, answer.body)


@dataclass(frozen=True, slots=True)
class Way:
    """How to reach ingest.

    Attributes:
        url: where it is.
        gzip: whether bodies are compressed.
        patience: seconds after which a body is given up.
        api_key: sent with each request.
    """

    url: SplitResult
    gzip: bool
    patience: float
    api_key: str | None = None


class Poster:
    """Posts one body at a time over a connection of its own, and counts its attempts."""

    def __init__(self, way: Way, attempts: Attempts) -> None:
        self._way = way
        self._attempts = attempts
        self._connection = Connection(way.url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    async def post(self, target: str, headers: Mapping[str, str], body: bytes, key: str | None) -> Outcome:
        """Post a body until its outcome is final, patience ends, or a repeat could store a row twice.

        Args:
            target: path and query below the URL's own path.
            headers: of the body.
            body: not compressed.
            key: its Idempotency-Key; None where there is none.
        """
        sent = dict(headers)
        if self._way.api_key:
            sent["authorization"] = f"Bearer {self._way.api_key}"
        if key:
            sent["idempotency-key"] = key
        if self._way.gzip:
            sent["content-encoding"] = "gzip"
            body = gzip.compress(body, 1)
        return await until_final(
            lambda: self._attempt(f"{self._way.url.path.rstrip('/')}{target}", sent, body),
            patience=self._way.patience,
            keyed=key is not None,
            retries=self._attempts.retried,
        )

    async def _attempt(self, target: str, headers: dict[str, str], body: bytes) -> Outcome:
        began = time.monotonic()
        outcome = await attempt(self._connection, target, headers, body)
        self._attempts.answered(outcome.status, time.monotonic() - began)
        return outcome
