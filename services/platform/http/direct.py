"""The direct way: a plain request that is here whole may be taken as it is read, without a cycle of ASGI.

Plain is a POST of HTTP/1.1 on a connection that stays open and owes no other answer, with a Content-Length and nothing
that calls for an answer before its body is read. Whatever else comes, and whatever is not taken, goes to the
application as if nobody had looked.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import structlog
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HEADER_VALUE_RE, STATUS_LINE

from .http11 import Header
from .protocol import PatientProtocol

__all__ = ["Direct", "DirectProtocol", "Left", "WholeRequest"]

log = structlog.get_logger(__name__)

_CLOSE = (b"connection", b"close")
_NOT_PLAIN = {b"expect", b"transfer-encoding", b"upgrade"}


class WholeRequest(NamedTuple):
    """A POST that is here whole.

    Attributes:
        target: path and query string, as sent.
        headers: names in small letters, with their values.
        body: as sent.
    """

    target: bytes
    headers: list[Header]
    body: bytes


Left = Mapping[str, object]
"""What the connection scope of a request that is left to the application holds beside what it always does."""

Direct = Callable[[WholeRequest, Callable[[Response], None]], Left | None]
"""Takes a request, and calls what it is given with the answer once, later; or leaves it, and does neither."""


class _DirectCycle:
    """Stands where uvicorn looks for the cycle of a request, and waits for nothing."""

    __slots__ = ("disconnected", "keep_alive", "response_complete")

    more_body = False
    response_started = False

    def __init__(self) -> None:
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False

    @property
    def message_event(self) -> "_DirectCycle":
        """What is set when the client goes away: nobody waits for that."""
        return self

    def set(self) -> None:
        """Wake nobody."""


class DirectProtocol(PatientProtocol):
    """A connection whose plain requests are shown to `direct` before the application."""

    def __init__(self, *arguments: Any, direct: Direct | None = None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._direct = direct
        self._held: list[bytes] | None = None

    def data_received(self, data: bytes) -> None:
        """Read on; a request whose end did not come with this piece goes to the application."""
        super().data_received(data)
        if self._held is not None:
            self._let_go()

    def begin(self) -> None:
        """Hold a plain request until its end; give any other to the application."""
        if self._direct is not None and self._is_plain():
            self._held = []
        else:
            super().begin()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._held is None:
            super().on_body(body)
        else:
            self._held.append(body)

    def on_message_complete(self) -> None:
        """Show a request that was held to who may take it."""
        if self._held is not None:
            assert self._direct is not None  # noqa: S101 -- narrows for the type checker
            cycle = _DirectCycle()
            request = WholeRequest(self.url, self.headers, b"".join(self._held))
            left = self._direct(request, lambda response: self._answer(cycle, response))
            if left is None:
                self._held = None
                self.cycle = self._answering = cycle  # type: ignore[assignment]
                return
            self.scope.update(left)  # type: ignore[typeddict-item]
            self._let_go()
        super().on_message_complete()

    def _is_plain(self) -> bool:
        """Tell whether the request, whose head is here, may be taken if its body follows."""
        if self.cycle is not None and not self.cycle.response_complete:  # type: ignore[redundant-expr]
            return False
        names = {name for name, _ in self.headers}
        return (
            b"content-length" in names
            and names.isdisjoint(_NOT_PLAIN)
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.flow.write_paused
            and self.refusal is None
        )

    def _let_go(self) -> None:
        """Give the request that is held to the application, as much of it as is here."""
        held, self._held = self._held or [], None
        super().begin()
        for part in held:
            super().on_body(part)

    def _answer(self, cycle: _DirectCycle, response: Response) -> None:
        """Write an answer whole, where the client is still there, and go on with what came meanwhile."""
        cycle.response_complete = True
        if cycle.disconnected:
            return
        fields = [*self.server_state.default_headers, *response.raw_headers]
        says_close = _CLOSE in response.raw_headers
        if not (cycle.keep_alive or says_close):
            fields.append(_CLOSE)
        if any(HEADER_VALUE_RE.search(value) for _, value in response.raw_headers):
            log.error("an answer has a header that is none", action="answer")
            self.transport.abort()
            return
        head = b"".join([b"%s: %s\r\n" % field for field in fields])
        self.transport.write(b"%s%s\r\n%s" % (STATUS_LINE[response.status_code], head, bytes(response.body)))
        if says_close or not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()
