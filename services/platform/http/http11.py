"""HTTP/1.1 and 1.0 as RFC 9110 and 9112 have them, where uvicorn and its parser leave off.

This module, and `protocol` and `direct` on top of it, alone reach into uvicorn's protocol; a test names the version
that they were made for.
"""

import functools
import re
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from .errors import Problem

__all__ = ["ConformingProtocol", "Header", "target_of", "without_upgrade"]

log = structlog.get_logger(__name__)

_REMARK_EVERY = 60.0
"""Seconds between two lines of log about requests that cannot be read: scanners and probes bring many."""

_NO_BODY = {204, 304}
_TLS_HANDSHAKE = b"\x16"

Header = tuple[bytes, bytes]
"""A field's name in small letters, and its value."""

_FRAMING = {b"host", b"transfer-encoding"}
_HOST = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")
_ABSOLUTE = re.compile(rb"http(s?)://", re.IGNORECASE)


class ConformingProtocol(HttpToolsProtocol):
    """A connection that ignores upgrades, refuses in turn what it cannot read, and never hands HTTP/1.0 a chunk."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.url = b""
        self.refusal: Problem | None = None
        self._answering: RequestResponseCycle | None = None

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self.refusal is not None:
            return
        self._unset_keepalive_if_required()
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._ignore(upgrade, memoryview(data))
        except httptools.HttpParserError as error:
            problem = _problem(error)
            hello = self.cycle is None and data[:1] == _TLS_HANDSHAKE
            _remarks.tell(self.loop.time(), self.client, "TLS on a plain port" if hello else problem.detail)
            self.refuse(problem)

    def _ignore(self, upgrade: httptools.HttpParserUpgrade, data: memoryview) -> None:
        """Read on where the parser stopped: it took no body for the request, so another reads the head again."""
        while True:
            version = self.parser.get_http_version()
            head = without_upgrade(self.parser.get_method(), version, self.url, self.headers)
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(head)
            data = data[upgrade.args[0] :]
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as another:
                upgrade = another
            else:
                return

    def on_headers_complete(self) -> None:
        """Begin to answer, unless the head breaks a rule."""
        method = self.parser.get_method()
        if self.parser.should_upgrade() and method != b"CONNECT":
            return
        version = self.parser.get_http_version()
        self.url = target_of(method, version, self.url, self.headers)
        if version == "1.0":
            self.expect_100_continue = False
        self.begin()

    def begin(self) -> None:
        """Give the request, whose head holds to the rules, to the application."""
        super().on_headers_complete()
        self.headers = _TRAILERS
        if self.expect_100_continue or self.parser.get_http_version() == "1.0":
            self.cycle.__class__ = _CarefulCycle
        if not self.pipeline:
            self._answering = self.cycle

    def on_message_complete(self) -> None:
        """Note that the request is here, be it answered already or not."""
        if self.parser.should_upgrade():
            return
        self.cycle.more_body = False
        if not self.cycle.response_complete:
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Go on with the next request, or say what was wrong behind the last."""
        self._answering = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        if self.refusal is not None:
            self._say_refusal(self.refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered too; uvicorn tells the newest."""
        if self._answering is not None:
            _disconnect(self._answering)
        super().connection_lost(exc)

    def refuse(self, problem: Problem) -> None:
        """Read no more; answer what came before, then the problem, and close."""
        self.refusal = problem
        cycle = self.cycle
        if cycle is not None and cycle.more_body:  # type: ignore[redundant-expr]
            # The body cannot be read to its end, so its request is the one that is refused.
            if cycle.response_complete:
                self.transport.close()
            elif cycle is not self._answering:
                self.pipeline.popleft()
            elif cycle.response_started:
                self.transport.abort()
            else:
                _disconnect(cycle)
                self._answering = None
        self._say_refusal(problem)

    def _say_refusal(self, problem: Problem) -> None:
        if self._answering is not None or self.transport.is_closing():
            return
        response = problem.response()
        fields = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
        head = b"".join(b"%s: %s\r\n" % field for field in fields)
        self.transport.write(b"%s%s\r\n%s" % (STATUS_LINE[response.status_code], head, bytes(response.body)))
        self.transport.close()


def _disconnect(cycle: RequestResponseCycle) -> None:
    if not cycle.response_complete:
        cycle.disconnected = True
        cycle.message_event.set()


def _problem(error: httptools.HttpParserError) -> Problem:
    if isinstance(error.__context__, Problem):
        return error.__context__
    reason = "its target is no URL" if isinstance(error, httptools.HttpParserCallbackError) else str(error)
    return Problem("bad_request", f"this is no request of HTTP/1.1: {reason}")


class _Trailers(list[Header]):
    """Takes the place of the headers when they are complete: what comes behind a body must not pass for one."""

    def append(self, _: Header) -> None:
        pass


_TRAILERS = _Trailers()


class _CarefulCycle(RequestResponseCycle):
    """An answer to HTTP/1.0, or to who waits for `100 Continue`."""

    _until_close = False

    async def send(self, message: Any) -> None:
        """Send without chunks where the client knows none: the end is then that of the connection.

        Until the end is there, a connection that closes is reset, so that a broken answer does not look whole.
        """
        if message["type"] == "http.response.start":
            if self.waiting_for_100_continue:
                # Whether the body comes all the same cannot be known.
                self.keep_alive = False
            if self.scope["http_version"] == "1.0" and _is_endless(self.scope["method"], message):
                self._until_close, self.chunked_encoding = True, False
                self._reset_on_close(1)
        elif self._until_close:
            self.expected_content_length = len(message.get("body", b""))
            if not message.get("more_body"):
                self._reset_on_close(0)
        await super().send(message)

    def _reset_on_close(self, on: int) -> None:
        if not self.transport.is_closing():
            option = struct.pack("ii", on, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)


def _is_endless(method: str, start: Any) -> bool:
    sized = any(name.lower() == b"content-length" for name, _ in start["headers"])
    return not sized and method != "HEAD" and start["status"] not in _NO_BODY


class _Remarks:
    """Tells now and then who sent what cannot be read, and how many others did since."""

    def __init__(self) -> None:
        self._told_at: float | None = None
        self._untold = 0

    def tell(self, now: float, peer: tuple[str, int] | None, reason: str) -> None:
        if self._told_at is not None and now - self._told_at < _REMARK_EVERY:
            self._untold += 1
            return
        sender = "{}:{}".format(*peer) if peer else None
        log.info("a request cannot be read", action="read_request", peer=sender, reason=reason, others=self._untold)
        self._told_at, self._untold = now, 0


_remarks = _Remarks()


def target_of(method: bytes, version: str, target: bytes, headers: Sequence[Header]) -> bytes:
    """Return a request's target without scheme and host.

    Raises:
        Problem: `bad_request`, `method_not_allowed` or `misdirected`; the connection cannot be read on.
    """
    if version not in {"1.1", "1.0"}:
        raise _bad(f"HTTP/{version} is not spoken here; send HTTP/1.1")
    if method == b"CONNECT":
        raise Problem("method_not_allowed", "this is no proxy: CONNECT is not taken", {"Allow": ""})
    framing = [field for field in headers if field[0] in _FRAMING]
    hosts = [value for name, value in framing if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise _bad(f"the request has {len(hosts)} Host headers; send one")
    if hosts and not _is_host(hosts[0]):
        raise _bad("the Host header is no host with or without a port")
    codings = [value for name, value in framing if name != b"host"]
    if codings:
        _check_codings(version, codings)
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    absolute = _ABSOLUTE.match(target)
    if not absolute:
        raise _bad("the request's target is neither a path nor an http URL")
    if absolute[1]:
        # RFC 9110, 7.4: who asks for https must not be answered without TLS.
        detail = "an https URL came over a connection without TLS; send the path alone, as a proxy before us does"
        raise Problem("misdirected", detail)
    url = httptools.parse_url(target)
    return (url.path or b"/") + (b"?" + url.query if url.query else b"")


@functools.lru_cache
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def _check_codings(version: str, codings: Sequence[bytes]) -> None:
    if version == "1.0":
        raise _bad("Transfer-Encoding came with HTTP/1.0, which has none; send Content-Length")
    if [coding.strip().lower() for coding in codings] != [b"chunked"]:
        raise _bad("a transfer coding other than chunked is not taken; send Content-Encoding instead")


def _bad(detail: str) -> Problem:
    return Problem("bad_request", detail)


def without_upgrade(method: bytes, version: str, target: bytes, headers: Iterable[Header]) -> bytes:
    """Return the head of a request as it is where nobody takes its upgrade."""
    lines = [b"%s: %s\r\n" % field for field in headers if field[0] != b"upgrade"]
    return b"%s %s HTTP/%s\r\n%s\r\n" % (method, target, version.encode(), b"".join(lines))
