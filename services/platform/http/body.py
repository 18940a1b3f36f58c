"""A request's body as it was sent: counted while it arrives, no larger than allowed, and there in time."""

import asyncio
import contextlib
from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from .errors import Problem

__all__ = ["HEARD_OUT", "receive_body", "too_large"]

HEARD_OUT = 4
"""Up to so many times its limit a body is read to its end: who sends all of it before listening would not hear why
the connection was closed."""

_IN_TIME = contextlib.nullcontext()


async def receive_body(
    receive: Receive,
    limit: int,
    timeout: float | None,
    *,
    advice: str,
    count: Callable[[int], None] | None = None,
) -> bytes:
    """Return the body; of one that is too large nothing is kept.

    Args:
        receive: where it comes from.
        limit: its most bytes.
        timeout: seconds that it may take, None where all of it is here.
        advice: what to do about a body that is too large or too slow.
        count: hears how many bytes came.

    Raises:
        Problem: body_too_large, body_timeout.
        ClientDisconnect: the client went away.
    """
    try:
        async with _IN_TIME if timeout is None else asyncio.timeout(timeout):
            return await _receive_all(receive, limit, advice, count)
    except TimeoutError:
        detail = f"the body did not arrive within {timeout:g} s; {advice}"
        raise Problem("body_timeout", detail, {"Connection": "close"}) from None


async def _receive_all(receive: Receive, limit: int, advice: str, count: Callable[[int], None] | None) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        complete = not message.get("more_body", False)
        if size > limit * HEARD_OUT or (complete and size > limit):
            raise too_large(limit, "as sent", advice)
        if size > limit:
            chunks.clear()
        else:
            if count:
                count(len(chunk))
            chunks.append(chunk)
        if complete:
            return b"".join(chunks) if len(chunks) > 1 else chunk


def too_large(limit: int, when: str, advice: str) -> Problem:
    """Return the problem of a body of more than `limit` bytes, as sent or later; the connection is closed."""
    detail = f"the body is larger than {limit} bytes {when}; {advice}"
    return Problem("body_too_large", detail, {"Connection": "close"})
