"""The doors' fast path: their requests are answered before the app's middleware, which would cost more than the work.

What is the same for each door is done here: credentials are asked for, the request is counted, traced and timed, and
whatever is raised becomes an answer. Other paths and methods are the app's.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
from services.platform.runtime.telemetry import request_span

from .limits.in_flight import InFlight, RequestInFlight

__all__ = ["Door", "FastPath", "Request"]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Request:
    """A request at a door: who sends it, its query string and headers, and its body, which is still to be read.

    Attributes:
        door: the name of the door's protocol.
        caller: who sends it.
        query: its query string.
        headers: by their names, in small letters.
        receive: the body's source.
        arrived: whether all of the body is here.
        in_flight: counts what the request holds.
    """

    door: str
    caller: Caller
    query: bytes
    headers: Mapping[bytes, bytes]
    receive: Receive
    arrived: bool
    in_flight: RequestInFlight


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

    async def answer(self, request: Request) -> Response:
        """Answer a request.

        Raises:
            Problem: whatever the client can mend or must wait for.
            ClientDisconnect: the client went away.
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
        self._in_flight: InFlight

    def open(self, doors: Iterable[Door], in_flight: InFlight) -> None:
        """Answer the requests at `doors`, and document them; `in_flight` counts them."""
        self._in_flight = in_flight
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
        except Problem as problem:
            response = door.refusal(problem, headers)
        except Exception:
            log.exception("a request failed", action="ingest")
            response = door.refusal(internal(), headers)
        await response(scope, receive, send)

    async def _answer(self, door: Door, headers: Mapping[bytes, bytes], scope: Scope, receive: Receive) -> Response:
        """Answer a request whose sender may send; who may not is neither counted nor timed."""
        caller = door.credentials(headers, scope["query_string"])
        began = time.perf_counter()
        traceparent = headers.get(b"traceparent", b"").decode("latin-1")
        with request_span("ingest", traceparent) as span:
            try:
                with self._in_flight.request() as in_flight:
                    response = await door.answer(
                        Request(door.name, caller, scope["query_string"], headers, receive, ARRIVED in scope, in_flight)
                    )
            except Problem as problem:
                metrics.refused_requests.add(1, {"code": problem.code})
                span.set_attribute("millrace.code", problem.code)
                raise
            metrics.request_seconds.record(time.perf_counter() - began, {"status": response.status_code})
            return response
