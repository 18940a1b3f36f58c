"""HTTP/1.1 for clients of any sort: who is silent, slow or endless before a request has begun is let go.

uvicorn closes a connection that is idle between requests, but waits for ever for the first one, and for headers
that dribble in.
"""

import asyncio
import contextlib
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["ARRIVED", "HEADER_TIMEOUT", "PatientProtocol", "raise_file_limit"]

HEADER_TIMEOUT = 10.0
"""Seconds that a request's headers may take where no setting says otherwise."""

ARRIVED = "millrace.arrived"
"""Key of a connection scope: present where the whole body is here, so that reading it needs no deadline."""

_MAX_HEAD = 64 * 1024
_OTHER_FILES = 200
"""Files that a process may need beside its HTTP connections."""

_TOO_SLOW = (408, b"Request Timeout", b"the request's headers took too long to arrive")
_TOO_LARGE = (431, b"Request Header Fields Too Large", b"the request's headers are larger than 64 KiB")

_waiting: dict["PatientProtocol", None] = {}
"""Connections whose next request has not begun, the longest waiting first."""


def raise_file_limit() -> None:
    """Let this process open as many files as it is allowed to: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class PatientProtocol(HttpToolsProtocol):
    """A connection whose next request must have sent its headers in time, and within 64 KiB.

    Where files run out, who has waited longest is let go first, so that silent crowds leave room for others.
    """

    def __init__(self, *arguments: Any, header_timeout: float = HEADER_TIMEOUT, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._header_timeout = header_timeout
        self._deadline: asyncio.TimerHandle | None = None
        self._head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(_Joined(transport, self.loop))  # type: ignore[arg-type]
        self._wait()
        if len(self.connections) > resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_FILES:
            next(iter(_waiting)).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._begin()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; count what comes before the end of the headers."""
        before = self.cycle
        super().data_received(data)
        # Most requests come whole: a deadline is for those whose headers did not end with this piece.
        if self._deadline is None and self.cycle is before and (before is None or before.response_complete):  # type: ignore[redundant-expr]
            self._wait()
        if self._deadline is not None:
            self._head += len(data)
            if self._head > _MAX_HEAD:
                self._let_go(*_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Leave the rest of the request to the application, which has deadlines of its own."""
        self._begin()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the request is here."""
        super().on_message_complete()
        self.scope[ARRIVED] = True  # type: ignore[literal-required]

    def on_response_complete(self) -> None:
        """Wait for the next request: idle for as long as uvicorn lets it, but in time once it has begun."""
        super().on_response_complete()
        if not self.transport.is_closing() and self.cycle.response_complete:
            _waiting[self] = None

    def _wait(self) -> None:
        self._begin()
        self._deadline = self.loop.call_later(self._header_timeout, self._timed_out)
        _waiting[self] = None

    def _begin(self) -> None:
        _waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline, self._head = None, 0

    def _timed_out(self) -> None:
        if self._head:
            self._let_go(*_TOO_SLOW)
        else:
            self.transport.close()

    def _let_go(self, status: int, title: bytes, detail: bytes) -> None:
        if not self.transport.is_closing():
            head = b"HTTP/1.1 %d %s\r\ncontent-type: text/plain; charset=utf-8\r\n" % (status, title)
            self.transport.write(b"%scontent-length: %d\r\nconnection: close\r\n\r\n%s" % (head, len(detail), detail))
            self.transport.close()


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

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))
