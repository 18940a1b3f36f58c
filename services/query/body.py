"""The body of a question: no larger than allowed, and there in time."""

import asyncio

from fastapi import Request
from starlette.requests import ClientDisconnect

from services.platform.http.errors import Problem
from services.platform.settings import QuerySettings

__all__ = ["received"]


async def received(request: Request, settings: QuerySettings) -> bytes:
    """Return the body as it was sent.

    Raises:
        Problem: body_too_large, body_timeout.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_timeout):
            async for part in request.stream():
                body += part
                if len(body) > settings.max_body_bytes:
                    detail = (
                        f"the body is larger than the {settings.max_body_bytes} bytes of MILLRACE_QUERY_MAX_BODY_BYTES"
                    )
                    raise Problem("body_too_large", f"{detail}; ask for fewer sensors", {"Connection": "close"})
    except TimeoutError:
        detail = f"the body did not arrive within the {settings.body_timeout:g} s of MILLRACE_QUERY_BODY_TIMEOUT"
        raise Problem("body_timeout", detail, {"Connection": "close"}) from None
    except ClientDisconnect:
        # Nobody is there to be answered.
        raise Problem("body_timeout", "the client went away", {"Connection": "close"}) from None
    return bytes(body)
