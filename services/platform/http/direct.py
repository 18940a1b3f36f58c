"""The direct way: a plain request that is here whole may be taken as it is read, without a cycle of ASGI.

Plain is a POST of HTTP/1.1 on a connection that stays open and owes no other answer, with a Content-Length and nothing
that calls for an answer before its body is read. Whatever else comes, and whatever is not taken, goes to the
application as if nobody had looked.
"""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HEADER_VALUE_RE, STATUS_LINE

from .http11 import Header
from .protocol import PatientProtocol

__all__ = ["Direct", "DirectProtocol", "Heads", "Left", "Take"]

log = structlog.get_logger(__name__)

_CLOSE = (b"connection", b"close")
_LENGTH = b"content-length"
_NOT_PLAIN = {b"expect", b"transfer-encoding", b"upgrade"}
_CHANGING = {b"traceparent", b"tracestate", b"x-request-id"}
"""Headers that are new with each request."""

Left = Mapping[str, object]
"""What the connection scope of a request that is left to the application holds beside what it always does."""

Take = Callable[[bytes, Callable[[Response], None]], Left | None]
"""Takes the request of a body, and calls what it is given with the answer once, later; or leaves it, and does
neither."""

Direct = Callable[[bytes, Sequence[Header]], Take | None]
"""Returns what takes POSTs of a target with these headers, Content-Length left out; None where nobody does.

The same head means the same: it may be asked once for many requests.
"""


def _line(field: Header) -> bytes:
    return b"%s: %s\r\n" % field


@functools.lru_cache(maxsize=1024)
def _head(status: int, fields: tuple[Header, ...]) -> bytes | None:
    """Return an answer's status line and headers; None where one has a value that HTTP does not let pass."""
    if any(HEADER_VALUE_RE.search(value) for _, value in fields):
        return None
    return STATUS_LINE[status] + b"".join(map(_line, fields))


class Heads:
    """What takes the requests of which heads: clients send the same one again and again. One a server."""

    _MOST, _LONGEST = 4096, 2048

    def __init__(self, direct: Direct) -> None:
        self._direct = direct
        self._known: dict[tuple[bytes, tuple[Header, ...]], Take] = {}

    def known(self, target: bytes, headers: Sequence[Header]) -> Take | None:
        """Return what takes requests of a plain head that has come before; None where it is not remembered."""
        return self._known.get((target, tuple(headers)))

    def meet(self, target: bytes, headers: Sequence[Header]) -> Take | None:
        """Return what takes requests of a plain head, and remember it, unless it is long or will not come again."""
        take = self._direct(target, headers)
        if take is None:
            return None
        names = {name for name, _ in headers}
        size = len(target) + sum(len(name) + len(value) for name, value in headers)
        if size <= self._LONGEST and names.isdisjoint(_CHANGING):
            if len(self._known) >= self._MOST:
                self._known.clear()
            self._known[target, tuple(headers)] = take
        return take


class _DirectCycle:
    """A request that was taken. It stands where uvicorn looks for a request's cycle, and waits for nothing."""

    __slots__ = ("_answer", "disconnected", "keep_alive", "response_complete")

    more_body = False
    response_started = False

    def __init__(self, answer: "Callable[[_DirectCycle, Response], None]") -> None:
        self._answer = answer
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False

    def __call__(self, response: Response) -> None:
        """Answer."""
        self._answer(self, response)

    @property
    def message_event(self) -> "_DirectCycle":
        """What is set when the client goes away: nobody waits for that."""
        return self

    def set(self) -> None:
        """Wake nobody."""


class DirectProtocol(PatientProtocol):
    """A connection whose plain requests are taken by whom `heads` names, the others by the application."""

    def __init__(self, *arguments: Any, heads: Heads | None = None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._heads = heads
        self._length: Header | None = None
        self._take: Take | None = None
        self._held = b""
        self._idle_since = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        if self._alarm is not None:
            self._alarm.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; a request whose end did not come with this piece goes to the application."""
        super().data_received(data)
        if self._take is not None:
            self._let_go()

    def on_message_begin(self) -> None:
        """Begin to read a request."""
        self._length = None
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; the length apart, which alone differs among the requests of many clients."""
        if self._length is None and name.lower() == _LENGTH:
            self._length = (_LENGTH, value)
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hold a request whose head is known until its end; look closely at any other."""
        if self._heads is not None and self._length is not None and self._is_free():
            self._take = self._heads.known(self.url, self.headers)
        if self._take is None:
            self._complete_headers()
            super().on_headers_complete()
        else:
            self.begun()

    def begin(self) -> None:
        """Hold a request that may be taken until its end; give any other to the application."""
        if self._heads is not None and self._is_free() and self._is_plain():
            self._take = self._heads.meet(self.url, [field for field in self.headers if field[0] != _LENGTH])
        if self._take is None:
            super().begin()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._take is None:
            super().on_body(body)
        else:
            self._held += body

    def on_message_complete(self) -> None:
        """Let a request that was held be taken, or give it to the application."""
        if self._take is None:
            super().on_message_complete()
            return
        cycle = _DirectCycle(self._answer)
        left = self._take(self._held, cycle)
        if left is None:
            self._take, self._held = None, b""
            self.cycle = self._answering = cycle  # type: ignore[assignment]
            return
        self.scope.update(left)  # type: ignore[typeddict-item]
        self._let_go()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on, and note since when there is nothing to do."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def _is_free(self) -> bool:
        """Tell whether the connection owes no answer, takes one at once, and is at a POST of HTTP/1.1."""
        return (
            (self.cycle is None or self.cycle.response_complete)  # type: ignore[redundant-expr]
            and not self.flow.write_paused
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
        )

    def _is_plain(self) -> bool:
        """Tell whether the head says nothing unusual."""
        names = {name for name, _ in self.headers}
        return _LENGTH in names and _NOT_PLAIN.isdisjoint(names) and bool(self.parser.should_keep_alive())

    def _let_go(self) -> None:
        """Give the request that is held to the application, as much of it as is here."""
        held, self._take, self._held = self._held, None, b""
        # A piece that ended no head's wait began one, as no cycle had begun.
        self.begun()
        self._complete_headers()
        super().begin()
        if held:
            super().on_body(held)

    def _complete_headers(self) -> None:
        if self._length is not None:
            self.headers.append(self._length)
            self._length = None

    def _answer(self, cycle: _DirectCycle, response: Response) -> None:
        """Write an answer whole, where the client is still there, and go on with what came meanwhile."""
        cycle.response_complete = True
        if cycle.disconnected:
            return
        head = _head(response.status_code, tuple(response.raw_headers))
        if head is None:
            log.error("an answer has a header that is none", action="answer")
            self.transport.abort()
            return
        closes = _CLOSE in response.raw_headers
        stays = cycle.keep_alive and not closes
        more = self.server_state.default_headers if stays or closes else [*self.server_state.default_headers, _CLOSE]
        self.write_whole(b"%s%s\r\n%s" % (head, b"".join(map(_line, more)), response.body))
        if stays and not self.pipeline and not self.flow.read_paused and self.refusal is None:
            self._rest()
        else:
            if not stays:
                self.transport.close()
            self.on_response_complete()

    def _rest(self) -> None:
        """Wait for the next request, as `on_response_complete` does, but with one timer for many requests."""
        self._answering = None
        self.server_state.total_requests += 1
        self._idle_since = self.loop.time()
        self.await_next()
        if self._alarm is None:
            self._alarm = self.loop.call_later(self.timeout_keep_alive, self._look_at_clock)

    def _look_at_clock(self) -> None:
        """Close the connection where it has been idle for too long; while there is something to do, that has limits."""
        self._alarm = None
        if not self.cycle.response_complete or self.is_at_head():
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._alarm = self.loop.call_later(left, self._look_at_clock)
        else:
            self.timeout_keep_alive_handler()
