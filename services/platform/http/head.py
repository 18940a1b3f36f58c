"""HEAD wherever there is GET, and `OPTIONS *`: what HTTP asks of a server, and no route should have to say."""

import asyncio

from fastapi import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HeadOfGet"]


class HeadOfGet:
    """ASGI middleware that answers HEAD with the head of the answer to GET, which is given up behind it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            await self._head(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == "*":
            await Response(status_code=204)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        enough = asyncio.Event()

        async def head_alone(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body"})
                enough.set()

        answering = asyncio.ensure_future(self._app({**scope, "method": "GET"}, receive, head_alone))
        waiting = asyncio.ensure_future(enough.wait())
        try:
            await asyncio.wait({answering, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                await answering
        finally:
            answering.cancel()
            waiting.cancel()
            await asyncio.gather(answering, waiting, return_exceptions=True)
