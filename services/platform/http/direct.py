"""The direct way: a plain request that is here whole may be taken as it is read, without a parser or a cycle of ASGI.

Clients send the same head again and again. What the parser has once found to be the head of a plain request (a POST of
HTTP/1.1 on a connection that stays open, with a Content-Length and nothing that calls for an answer before its body is
read) is known by its bytes from then on. A piece that is such a head and as much body as it says, on a connection that
owes no other answer, is a request. Whatever else comes, and whatever is not taken, is read by the parser and goes to
the application as if nobody had looked.
"""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

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
_END = b"\r\n\r\n"

Left = Mapping[str, object]
"""What the connection scope of a request that is left to the application holds beside what it always does."""

Take = Callable[[bytes, Callable[[Response], None]], Left | None]
"""Takes the request of a body, and calls what it is given with the answer once, later; or leaves it, and does
neither."""

Direct = Callable[[bytes, Sequence[Header]], Take | None]
"""Returns what takes POSTs of a target with these headers, Content-Length left out; None where nobody does.

The same head means the same: it is asked once for many requests.
"""


@functools.lru_cache(maxsize=1024)
def _head(status: int, fields: tuple[Header, ...], keep_alive: bool) -> tuple[bytes, bool] | None:
    """Return an answer's status line and headers, and whether the connection stays open behind it.

    None where a header has a value that HTTP does not let pass.
    """
    if any(HEADER_VALUE_RE.search(value) for _, value in fields):
        return None
    closes = _CLOSE in fields
    told = fields if keep_alive or closes else (*fields, _CLOSE)
    head = STATUS_LINE[status] + b"".join(b"%s: %s\r\n" % field for field in told) + b"\r\n"
    return head, keep_alive and not closes


class _Known(NamedTuple):
    """What takes the requests of a head, and how long their bodies are."""

    take: Take
    length: int


class Heads:
    """Plain heads, and what takes their requests. One a server."""

    _MOST, _LONGEST = 4096, 2048

    def __init__(self, direct: Direct) -> None:
        self._direct = direct
        self._known: dict[bytes, _Known] = {}

    def request(self, piece: bytes) -> tuple[Take, bytes] | None:
        """Return what takes the request that `piece` is, whole and nothing else, and its body; None where it is none.

        `piece` must begin where a request begins.
        """
        end = piece.find(_END) + len(_END)
        known = self._known.get(piece[:end])
        if known is None or len(piece) != end + known.length:
            return None
        return known.take, piece[end:]

    def learn(self, piece: bytes, target: bytes, headers: Sequence[Header]) -> None:
        """Know a head from now on, if it is plain and somebody takes its requests.

        Args:
            piece: what came, from the request's first byte on, as far as it is here.
            target: of the request, as the parser reads it.
            headers: so too; the parser finds that it is a POST of HTTP/1.1 which leaves the connection open.
        """
        head = piece[: piece.find(_END) + len(_END)]
        names = {name for name, _ in headers}
        # As many lines as there are headers: what the parser took for the head's end is what a search finds.
        exact = head.startswith(b"POST ") and head.count(b"\n") == head.count(b"\r\n") == len(headers) + 2
        plain = exact and _LENGTH in names and names.isdisjoint(_NOT_PLAIN | _CHANGING)
        if not plain or len(head) > self._LONGEST:
            return
        take = self._direct(target, [field for field in headers if field[0] != _LENGTH])
        if take is None:
            return
        if len(self._known) >= self._MOST:
            self._known.clear()
        self._known[head] = _Known(take, int(dict(headers)[_LENGTH]))


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
        self._piece = b""
        self._left: Left | None = None
        self._idle_since = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        if self._alarm is not None:
            self._alarm.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Let a request that is here whole be taken; read whatever else comes."""
        if self._heads is not None and self._is_free():
            request = self._heads.request(data)
            if request is not None and self._takes(*request):
                return
            self._piece = data
        super().data_received(data)
        self._piece, self._left = b"", None

    def begin(self) -> None:
        """Give a request to the application, and look whether the next of its head may be taken."""
        piece, self._piece = self._piece, b""
        if piece and self._heads is not None and self._left is None and self._is_of_this_version():
            self._heads.learn(piece, self.url, self.headers)
        super().begin()
        if self._left is not None:
            self.scope.update(self._left)  # type: ignore[typeddict-item]
            self._left = None

    def on_response_complete(self) -> None:
        """Go on, and note since when there is nothing to do."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def _is_free(self) -> bool:
        """Tell whether the connection owes no answer, takes one at once, and is at the first byte of a request.

        A body may still be arriving behind the answer that refused it.
        """
        cycle = self.cycle
        return (
            (cycle is None or (cycle.response_complete and not cycle.more_body))  # type: ignore[redundant-expr]
            and self.is_between_requests()
            and not self.flow.write_paused
        )

    def _is_of_this_version(self) -> bool:
        """Tell whether a head's request leaves the connection open, as HTTP/1.1 does unless it is told otherwise."""
        return self.parser.get_http_version() == "1.1" and bool(self.parser.should_keep_alive())

    def _takes(self, take: Take, body: bytes) -> bool:
        """Let a request be taken, and tell whether it was."""
        cycle = _DirectCycle(self._answer)
        self._left = take(body, cycle)
        if self._left is not None:
            return False
        self._unset_keepalive_if_required()
        self.begun()
        self.cycle = self._answering = cycle  # type: ignore[assignment]
        return True

    def _answer(self, cycle: _DirectCycle, response: Response) -> None:
        """Write an answer whole, where the client is still there, and go on with what came meanwhile."""
        cycle.response_complete = True
        if cycle.disconnected:
            return
        fields = (*response.raw_headers, *self.server_state.default_headers)
        found = _head(response.status_code, fields, cycle.keep_alive)
        if found is None:
            log.error("an answer has a header that is none", action="answer")
            self.transport.abort()
            return
        head, stays = found
        self.write_whole(head + response.body)
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
