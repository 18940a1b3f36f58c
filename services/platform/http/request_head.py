"""The head of a request: RFC 9112's rules beyond those that the parser knows, and upgrades that are not taken."""

import functools
import re
from collections.abc import Iterable, Sequence

import httptools

from .errors import Problem

__all__ = ["Header", "target_of", "without_upgrade"]

Header = tuple[bytes, bytes]
"""A field's name in small letters, and its value."""

_FRAMING = {b"host", b"transfer-encoding"}
_HOST = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")
_ABSOLUTE = re.compile(rb"http(s?)://", re.IGNORECASE)


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
