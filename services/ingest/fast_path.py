"""The doors' fast path: their requests are answered before the app's middleware, which would cost more than the work.

What is the same for each door is done here: credentials are asked for, the request is counted, traced and timed, and
whatever is raised becomes an answer. Other paths and methods are the app's. Most requests do not come even here:
`direct` takes them.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import structlog
from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.platform.http.auth import Caller
from services.platform.http.errors import Problem, internal
from services.platform.http.parameters import by_name
from services.platform.http.protocol import ARRIVED
from services.platform.runtime import metrics
from services.platform.runtime.telemetry import is_sampled, request_span

from .accept import Acceptor, Asked, Request
from .limits.in_flight import InFlight

__all__ = ["SAMPLED", "Door", "FastPath", "refused"]

log = structlog.get_logger(__name__)

SAMPLED = "millrace.sampled"
"""Key of a connection scope: whether the request is traced, where that has been decided."""


class Door(Protocol):
    """One protocol of readings: its path, credentials, documentation, answer and refusals."""

    @property
    def name(self) -> str:
        """What metrics call the protocol."""

    @property
    def path(self) -> str:
        """Where its requests are POSTed to."""

    def credentials(self, headers: Mapping[bytes, bytes], query: bytes) -> Caller:
        """Return who sends a request, by its headers or query string.

        Raises:
            Problem: `no_key`, `wrong_key` or `forbidden`.
        """

    def asked(self, caller: Caller, query: bytes, headers: Mapping[bytes, bytes]) -> Asked:
        """Return what a caller's request asks for, by its query string and headers; nothing is counted or kept.

        Raises:
            Problem: whatever the client can mend.
        """

    def refusal(self, problem: Problem, headers: Mapping[bytes, bytes], /) -> Response:
        """Return the answer to a request of these headers that is refused, in the protocol's form."""

    def document(self, app: FastAPI) -> None:
        """Add the door to the app's OpenAPI document."""


class FastPath(FastAPI):
    """An app with doors."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._doors: dict[str, Door] = {}
        self._acceptor: Acceptor
        self._in_flight: InFlight

    def open(self, doors: Iterable[Door], acceptor: Acceptor, in_flight: InFlight) -> None:
        """Answer the requests at `doors`, and document them; `acceptor` takes them, and `in_flight` counts them."""
        self._acceptor, self._in_flight = acceptor, in_flight
        for door in doors:
            self._doors[door.path] = door
            door.document(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        door = self._doors.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if door is None:
            await super().__call__(scope, receive, send)
            return
        headers: Mapping[bytes, bytes] = {}
        try:
            headers = by_name(scope["headers"])
            response = await self._answer(door, headers, scope, receive)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 -- it is logged there
            response = refused(door, headers, error)
        await response(scope, receive, send)

    async def _answer(self, door: Door, headers: Mapping[bytes, bytes], scope: Scope, receive: Receive) -> Response:
        """Answer a request whose sender may send; who may not is neither counted nor timed."""
        query = scope["query_string"]
        caller = door.credentials(headers, query)
        began = time.perf_counter()
        traceparent = headers.get(b"traceparent", b"").decode("latin-1")
        sampled = scope[SAMPLED] if SAMPLED in scope else is_sampled(traceparent)
        with request_span("ingest", traceparent, sampled=sampled) as span:
            try:
                with self._in_flight.request() as in_flight:
                    asked = door.asked(caller, query, headers)
                    request = Request(door.name, caller, headers, receive, ARRIVED in scope, in_flight)
                    accepted = await self._acceptor.accept(request, asked.parameters, asked.decode)
                    response = asked.answer(accepted)
            except Problem as problem:
                metrics.refused_requests.add(1, {"code": problem.code})
                span.set_attribute("millrace.code", problem.code)
                raise
            metrics.request_seconds.record(time.perf_counter() - began, response.status_code)
            return response


def refused(door: Door, headers: Mapping[bytes, bytes], error: Exception) -> Response:
    """Return the answer to a request that failed by `error`: what is no problem of the client's is one of ours."""
    if not isinstance(error, Problem):
        log.error("a request failed", action="ingest", exc_info=error)
        error = internal()
    return door.refusal(error, headers)
