"""HTTP/1.1 for clients of any sort: who is silent, slow or endless before a request has begun is let go.

uvicorn closes a connection that is idle between requests, but waits for ever for the first one, and for headers
that dribble in.
"""

import asyncio
import contextlib
import resource
from typing import Any

from .errors import Problem
from .http11 import ConformingProtocol

__all__ = ["ARRIVED", "HEADER_TIMEOUT", "PatientProtocol", "raise_file_limit"]

HEADER_TIMEOUT = 10.0
"""Seconds that a request's headers may take where no setting says otherwise."""

ARRIVED = "millrace.arrived"
"""Key of a connection scope: present where the whole body is here, so that reading it needs no deadline."""

_MAX_HEAD = 64 * 1024
_OTHER_FILES = 200
"""Files that a process may need beside its HTTP connections."""

_waiting: dict["PatientProtocol", None] = {}
"""Connections whose next request has not begun, the longest waiting first."""


def raise_file_limit() -> None:
    """Let this process open as many files as it is allowed to: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class PatientProtocol(ConformingProtocol):
    """A connection whose next request must have sent its headers in time, and within 64 KiB.

    Where files run out, who has waited longest is let go first, so that silent crowds leave room for others.
    """

    def __init__(self, *arguments: Any, header_timeout: float = HEADER_TIMEOUT, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._header_timeout = header_timeout
        self._deadline: asyncio.TimerHandle | None = None
        self._head = 0
        self._joined: _Joined

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        self._joined = _Joined(transport, self.loop)
        super().connection_made(self._joined)  # type: ignore[arg-type]
        self._wait()
        if len(self.connections) > resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_FILES:
            next(iter(_waiting)).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._begin()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; count what is no body: heads, trailers and what surrounds chunks."""
        before = self.cycle
        self._head += len(data)
        super().data_received(data)
        if self.refusal is not None:
            return
        # Most requests come whole: a deadline is for those whose headers did not end with this piece.
        if self._deadline is None and self.cycle is before and (before is None or before.response_complete):  # type: ignore[redundant-expr]
            self._wait()
        if self._head > _MAX_HEAD:
            self.refuse(self._too_large())

    def on_headers_complete(self) -> None:
        """Leave the rest of the request to the application, which has deadlines of its own."""
        if self._head > _MAX_HEAD and len(self.url) + sum(len(n) + len(v) for n, v in self.headers) > _MAX_HEAD:
            raise self._too_large()
        self.begun()
        super().on_headers_complete()

    def begun(self) -> None:
        """Note that the headers are here."""
        self._begin()
        self._head = 0

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._head = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is here."""
        self._head = 0
        super().on_message_complete()
        self.scope[ARRIVED] = True  # type: ignore[literal-required]

    def on_response_complete(self) -> None:
        """Wait for the next request: idle for as long as uvicorn lets it, but in time once it has begun."""
        super().on_response_complete()
        if not self.transport.is_closing() and self.cycle.response_complete:
            self.await_next()

    def await_next(self) -> None:
        """Be idle: among those that are let go where files run out."""
        _waiting[self] = None

    def is_at_head(self) -> bool:
        """Tell whether a request's headers are arriving, which have a deadline."""
        return self._deadline is not None

    def is_between_requests(self) -> bool:
        """Tell whether nothing of a next request's headers has come, and nothing was wrong before."""
        return not self._head and self.refusal is None

    def write_whole(self, data: bytes) -> None:
        """Write an answer that is one piece, behind all that was written before."""
        self._joined.write_whole(data)

    def _wait(self) -> None:
        self._begin()
        self._deadline = self.loop.call_later(self._header_timeout, self._timed_out)
        _waiting[self] = None

    def _begin(self) -> None:
        _waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _timed_out(self) -> None:
        if self._head:
            self.refuse(Problem("headers_timeout", "the request's headers took too long to arrive"))
        else:
            self.transport.close()

    def _too_large(self) -> Problem:
        if len(self.url) > _MAX_HEAD // 2:
            return Problem("uri_too_long", "the request's target is longer than 64 KiB")
        return Problem("headers_too_large", "the request's headers are larger than 64 KiB")


class _Joined:
    """A transport whose writes of one turn of the event loop leave together: head and body of an answer are one."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def write_whole(self, data: bytes) -> None:
        if self._parts:
            self._parts.append(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))
