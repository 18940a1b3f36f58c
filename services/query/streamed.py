"""An answer that is written while it is read, and that never looks whole when it is not.

Nothing goes out before the first part is in hand, so whatever fails until then has its proper status. What fails
later leaves the body without its end, and the server closes the connection: the client sees a truncated body.
"""

from collections.abc import Awaitable, Callable

import structlog
from fastapi import Response
from starlette.types import Receive, Scope, Send

from services.platform.http.errors import Problem

__all__ = ["Streamed", "Write"]

log = structlog.get_logger(__name__)

Write = Callable[[bytes], Awaitable[None]]
"""Takes a part of the body; it returns when the client has room for more."""


class Streamed(Response):
    """A response whose body a function writes."""

    def __init__(self, answer: Callable[[Write], Awaitable[bytes]], media_type: str) -> None:
        """Take the function that writes the parts and returns the last one."""
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the answer.

        Raises:
            Problem: the answer failed before any part of it was there.
        """
        begun = False

        async def write(part: bytes, *, more: bool = True) -> None:
            nonlocal begun
            if not begun:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                begun = True
            await send({"type": "http.response.body", "body": part, "more_body": more})

        try:
            last = await self._answer(write)
        except Problem as problem:
            if not begun:
                raise
            log.warning("an answer broke off", action="answer", path=scope["path"], code=problem.code)
            return
        await write(last, more=False)
