"""The body of a question: no larger than allowed, and there in time."""

from fastapi import Request
from starlette.requests import ClientDisconnect

from services.platform.http.body import receive_body
from services.platform.http.errors import Problem
from services.platform.settings import QuerySettings

__all__ = ["received"]

_ADVICE = "ask for fewer sensors, or allow more by MILLRACE_QUERY_MAX_BODY_BYTES and MILLRACE_QUERY_BODY_TIMEOUT"


async def received(request: Request, settings: QuerySettings) -> bytes:
    """Return the body as it was sent.

    Raises:
        Problem: body_too_large, body_timeout.
    """
    try:
        return await receive_body(request.receive, settings.max_body_bytes, settings.body_timeout, advice=_ADVICE)
    except ClientDisconnect:
        # Nobody is there to be answered.
        raise Problem("body_timeout", "the client went away", {"Connection": "close"}) from None
