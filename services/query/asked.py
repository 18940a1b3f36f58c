"""What surrounds each question: a span, its time, and its end as soon as nobody waits for the answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection

from opentelemetry.trace import SpanKind
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.platform.runtime.metrics import query_seconds
from services.platform.runtime.telemetry import request_span

__all__ = ["Asked"]


class Asked:
    """ASGI middleware around the questions; other paths pass through."""

    def __init__(self, app: ASGIApp, paths: Collection[str]) -> None:
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unless the client goes away before."""
        if scope["type"] != "http" or scope["path"] not in self._paths:
            await self._app(scope, receive, send)
            return
        traceparent = Headers(scope=scope).get("traceparent")
        begun = time.perf_counter()
        with request_span(f"{scope['method']} {scope['path']}", traceparent, SpanKind.SERVER) as span:
            complete = False

            async def observed(message: Message) -> None:
                nonlocal complete
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                complete = message["type"] == "http.response.body" and not message.get("more_body")
                await send(message)

            await _while_awaited(self._app(scope, receive, observed), receive, lambda: complete)
        query_seconds.record(time.perf_counter() - begun, {"route": scope["path"]})


async def _while_awaited(answer: Awaitable[None], receive: Receive, complete: Callable[[], bool]) -> None:
    """Run `answer` to its end, or until the client is gone with the answer not `complete`."""
    answering = asyncio.ensure_future(answer)
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done() or complete():
            await answering
    finally:
        answering.cancel()
        leaving.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
