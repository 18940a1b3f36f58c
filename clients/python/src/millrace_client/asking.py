"""What both clients share: how to reach the service, which faults may pass, and how long to wait for that."""

import random
import time
from dataclasses import dataclass
from typing import Any

import httpx

from .errors import AnswerError, BrokenAnswerError, MillraceError, NoAnswerError, UnavailableError, problem
from .words import FORMATS, Question

__all__ = ["Patience", "Way", "broken", "no_answer", "pause", "refusal", "request"]

_CONNECT = 10.0
_MAY_PASS = {"database_unavailable", "overloaded", "rate_limited", ""}
"""Codes of 429 and 503 behind which the same question may be answered; a `query_timeout` would only come again."""


@dataclass(frozen=True, slots=True)
class Way:
    """How to reach a service.

    Attributes:
        url: its base, with a path's prefix where a proxy has one.
        key: API key; None where none is asked for.
        timeout: seconds without a byte after which an answer is given up.
        patience: seconds from the first attempt in which another may begin.
    """

    url: str
    key: str | None
    timeout: float
    patience: float

    def options(self) -> dict[str, Any]:
        """Return the arguments of an HTTP client.

        Raises:
            ValueError: the URL is none of HTTP.
        """
        url = httpx.URL(self.url)
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError(f"{self.url!r} is no URL of a service; one is http://localhost:8001")
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return {"base_url": url, "headers": headers, "timeout": httpx.Timeout(self.timeout, connect=_CONNECT)}


class Patience:
    """Decides, fault by fault, whether one question is asked again."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._attempt = 0

    def pause(self, fault: MillraceError) -> float:
        """Return the seconds to wait before the next attempt.

        Questions change nothing, so any may be asked again; those are that were not answered because nothing listened,
        or because the service asked to wait.

        Raises:
            MillraceError: `fault`, which does not pass, or not in time.
        """
        self._attempt += 1
        after = pause(self._attempt, fault.retry_after if isinstance(fault, AnswerError) else None)
        passes = isinstance(fault, UnavailableError) and fault.status in {429, 503} and fault.code in _MAY_PASS
        refused = isinstance(fault, NoAnswerError) and isinstance(fault.__cause__, httpx.ConnectError)
        if not (passes or refused) or time.monotonic() + after > self._until:
            raise fault
        return after


def pause(attempt: int, retry_after: float | None) -> float:
    """Return the seconds behind an attempt, the first being 1: as the service asks, else at random, of ever more."""
    if retry_after is not None:
        return retry_after
    return random.uniform(0.0, min(5.0, 0.1 * 2 ** min(attempt, 10)))  # noqa: S311 -- no secret


def request(client: httpx.Client | httpx.AsyncClient, question: Question, form: str) -> httpx.Request:
    """Return the request that asks a question in a format."""
    method, target, body = question.request()
    return client.build_request(method, target, json=body, headers={"Accept": FORMATS.get(form, "*/*")})


def refusal(response: httpx.Response) -> AnswerError:
    """Return what a read answer says that is none of success."""
    return problem(response.status_code, response.headers, response.content)


def no_answer(error: httpx.RequestError) -> NoAnswerError:
    """Return the error of a request without an answer."""
    url = error.request.url
    found = NoAnswerError(f"no answer from {url.scheme}://{url.netloc.decode()}: {_said(error)}")
    found.__cause__ = error
    return found


def broken(error: httpx.RequestError) -> BrokenAnswerError:
    """Return the error of an answer that began and ends too early."""
    found = BrokenAnswerError(f"the answer breaks off: {_said(error)}; what was read is not all")
    found.__cause__ = error
    return found


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
