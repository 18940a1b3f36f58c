"""Paths, parameters and headers of requests, read strictly: what is unclear is refused by name, never guessed.

The usual decoders put U+FFFD in the place of bytes that are no UTF-8, and leave a percent sign alone that begins no
escape: a question about one sensor would be answered with another's readings.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import Request
from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.types import ASGIApp, Receive, Scope, Send

from services.contract.instants import InstantError, parse_instant

from .errors import Problem

__all__ = ["Instant", "StrictUrls", "by_name", "only", "parameters", "wrong"]


def _instant(text: object) -> datetime:
    try:
        return parse_instant(text if isinstance(text, str) else "")
    except InstantError as error:
        raise PydanticCustomError(error.code, str(error)) from None


Instant = Annotated[datetime, PlainValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]
"""RFC 3339 with an offset, cut to the microsecond, as the readings' timestamps are."""

_ONCE = (b"authorization", b"content-encoding", b"content-type", b"idempotency-key")
_NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def wrong(**messages: str) -> Problem:
    """Return the problem of wrong parameters: a message for each."""
    faults = [{"parameter": name, "message": message} for name, message in messages.items()]
    detail = "; ".join(f"{name}: {message}" for name, message in messages.items())
    return Problem("invalid_parameter", detail, parameters=faults)


def parameters(query: bytes) -> list[tuple[str, str]]:
    """Return names and values of a query string in their order.

    Raises:
        Problem: `invalid_parameter`: one is no UTF-8 in percent-encoding.
    """
    pairs = [piece.partition(b"=") for piece in query.split(b"&") if piece]
    return [(_text(name, name), _text(value, name)) for name, _, value in pairs]


def _text(raw: bytes, name: bytes) -> str:
    """Return a part of a URL as text; `name` is the parameter whose part it is, as the URL spells it."""
    if not raw.isascii():
        raise _illegible(name, "holds bytes beyond ASCII; percent-encode its UTF-8")
    raw = raw.replace(b"+", b" ")
    if b"%" not in raw:
        return raw.decode()
    if _NO_ESCAPE.search(raw):
        raise _illegible(name, "has a % that begins no escape; a % itself is written %25")
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise _illegible(name, "is not UTF-8 once its percent-encoding is undone") from None


def _illegible(name: bytes, message: str) -> Problem:
    return wrong(**{unquote_to_bytes(name.replace(b"+", b" ")).decode(errors="backslashreplace")[:40]: message})


def only(*names: str, repeatable: Collection[str] = ()) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency that refuses parameters of other names, and those that come twice and are not repeatable."""

    async def refuse(request: Request) -> None:
        given = [name for name, _ in request.query_params.multi_items()]
        faults = {name: "is not known here" for name in given if name not in names}
        once = [name for name in given if name not in repeatable]
        faults |= {name: "is given more than once" for name in once if once.count(name) > 1}
        if faults:
            raise wrong(**faults)

    return refuse


def by_name(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by their names, which are in small letters.

    Raises:
        Problem: `invalid_parameter`: one that says who asks, or how the body is read, stands twice.
    """
    found = dict(headers)
    if len(found) < len(headers):
        names = [name for name, _ in headers]
        faults = {name.decode().title(): "is given more than once" for name in _ONCE if names.count(name) > 1}
        if faults:
            raise wrong(**faults)
    return found


class StrictUrls:
    """ASGI middleware: a path or parameter that is no UTF-8 in percent-encoding is refused."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "http":
            try:
                _text(scope["raw_path"], b"path")
                parameters(scope["query_string"])
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)
