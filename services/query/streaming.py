"""How an answer goes out: written while it is read, never looking whole when it is not, ended when nobody waits.

Nothing goes out before the first part is in hand, so whatever fails until then has its proper status. What fails
later leaves the body without its end, and the server closes the connection: the client sees a truncated body.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager

import structlog
from fastapi import Response
from opentelemetry.trace import SpanKind
from starlette.datastructures import Headers
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.platform.http.errors import Problem
from services.platform.runtime.metrics import query_seconds
from services.platform.runtime.telemetry import is_sampled, request_span

from .compression import COMPRESSORS, Compressor
from .fetch import Batches
from .negotiation import content_coding

__all__ = ["REFUSALS", "CancelOnDisconnect", "StreamedAnswer"]

log = structlog.get_logger(__name__)

REFUSALS = ("answer_too_large", "rate_limited", "database_unavailable", "query_timeout")
"""What a streamed answer is refused by, as long as no part of it was sent."""

_PART = 65_536
"""Bytes of a part that is worth sending by itself; a small answer goes out whole, its connection already given back."""

_WORTH = 4096
"""Bytes from which an answer is compressed."""


class StreamedAnswer(Response):
    """A response whose body is written while its rows are fetched."""

    def __init__(
        self,
        fetched: AbstractAsyncContextManager[Batches],
        write: Callable[[Batches], AsyncGenerator[bytes, None]],
        media_type: str,
        most: int,
    ) -> None:
        """Take what fetches the batches, in whose block they are sent, and what makes the body's parts of them.

        The body has `most` bytes before it is compressed; a larger one is refused, or breaks off where it has begun.
        """
        super().__init__(media_type=media_type, headers={"Vary": "Accept, Accept-Encoding"})
        del self.headers["content-length"]
        self._media_type = media_type
        self._fetched = fetched
        self._write = write
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the answer; a large one in the coding that the client takes.

        Raises:
            Problem: the answer failed before any part of it was sent.
        """
        coding = content_coding(self._media_type, Headers(scope=scope).getlist("accept-encoding"))
        begun, size = False, 0
        compressor: Compressor | None = None

        async def sent(part: bytes, *, more: bool) -> None:
            nonlocal begun, size, compressor
            size += len(part)
            if size > self._most:
                raise Problem(
                    "answer_too_large",
                    f"the answer is larger than the {self._most} bytes of MILLRACE_QUERY_MAX_ANSWER_BYTES; ask about a "
                    "shorter range or fewer sensors, by buckets or points, or in pages by limit",
                )
            if not begun:
                if coding and len(part) >= _WORTH:
                    compressor = COMPRESSORS[coding]()
                    self.headers["Content-Encoding"] = coding
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                begun = True
            if compressor:
                part = compressor.compress(part) + (b"" if more else compressor.flush())
            await send({"type": "http.response.body", "body": part, "more_body": more})

        held = b""
        try:
            async with self._fetched as batches, contextlib.aclosing(self._write(batches)) as parts:
                async for part in parts:
                    if len(held) < _PART:
                        held += part
                    else:
                        await sent(held, more=True)
                        held = part
            # Behind the block, so that the connection is given back before who reads it takes its time.
            await sent(held, more=False)
        except Problem as problem:
            if not begun:
                raise
            log.warning("an answer broke off", action="answer", path=scope["path"], code=problem.code)


class CancelOnDisconnect:
    """ASGI middleware around the questions, with their span and their time; other paths pass through."""

    def __init__(self, app: ASGIApp, paths: Collection[str]) -> None:
        self._app = app
        self._paths = {path for path in paths if "{" not in path}
        self._templates = [compile_path(path)[:2] for path in paths if "{" in path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unless the client goes away before."""
        route = self._route(scope["path"]) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        traceparent = Headers(scope=scope).get("traceparent")
        begun = time.perf_counter()
        with request_span(
            f"{scope['method']} {route}", traceparent, SpanKind.SERVER, sampled=is_sampled(traceparent)
        ) as span:
            complete = False

            async def observed(message: Message) -> None:
                nonlocal complete
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                complete = message["type"] == "http.response.body" and not message.get("more_body")
                await send(message)

            body = _Body(receive, whole=scope["method"] != "POST")
            await _while_awaited(self._app(scope, body.receive, observed), body.gone, lambda: complete)
        query_seconds.record(time.perf_counter() - begun, {"route": route})

    def _route(self, path: str) -> str | None:
        """Return the route of a question's path, with the names of its parameters; None where it is no question's."""
        if path in self._paths:
            return path
        return next((shown for pattern, shown in self._templates if pattern.match(path)), None)


async def _while_awaited(
    answer: Awaitable[None], gone: Callable[[], Awaitable[None]], complete: Callable[[], bool]
) -> None:
    """Run `answer` to its end, or until the client is gone with the answer not `complete`."""
    answering = asyncio.ensure_future(answer)
    leaving = asyncio.ensure_future(gone())
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done() or complete():
            await answering
    finally:
        answering.cancel()
        leaving.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


class _Body:
    """A request's messages: those of its body are the application's, what comes behind them tells that it is gone."""

    def __init__(self, receive: Receive, *, whole: bool) -> None:
        """Take where messages come from, and whether no body is waited for."""
        self._receive = receive
        self._whole = asyncio.Event()
        if whole:
            self._whole.set()

    async def receive(self) -> Message:
        """Return the next message, for the application."""
        message = await self._receive()
        if not message.get("more_body"):
            self._whole.set()
        return message

    async def gone(self) -> None:
        """Return when the client is gone."""
        await self._whole.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
