"""What stands between a server and an app: HEAD and `OPTIONS *`, pages of other origins, a proxy's path prefix."""

import asyncio

from fastapi import Response
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..settings import HttpSettings
from .errors import Problem

__all__ = ["HeadFromGet", "with_cors_and_prefix"]

_METHODS = ("GET", "HEAD", "POST")
_ALLOWED_HEADERS = ("Authorization", "Content-Encoding", "Content-Type", "Idempotency-Key", "traceparent", "tracestate")
_EXPOSED_HEADERS = ("Idempotent-Replayed", "Link", "Retry-After", "WWW-Authenticate")


class HeadFromGet:
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


def with_cors_and_prefix(app: ASGIApp, http: HttpSettings, root_path: str) -> ASGIApp:
    """Return `app` as browsers and proxies need it; where neither is set, itself: a request then costs nothing more."""
    if root_path:
        app = _PathPrefix(app, root_path)
    if http.cors_origins:
        origins = http.cors_origins.split(",")
        app = _Cors(
            app,
            origins,
            allow_methods=_METHODS,
            allow_headers=_ALLOWED_HEADERS,
            expose_headers=_EXPOSED_HEADERS,
        )
    return app


class _PathPrefix:
    """Takes the prefix from a path where the proxy has left it there."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._prefix = f"{root_path}/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(self._prefix):
            scope = {**scope, "path": scope["path"][len(self._prefix) - 1 :]}
        await self._app(scope, receive, send)


class _Cors(CORSMiddleware):
    """Starlette's middleware; what it refuses is a problem."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        kept = {name: value for name, value in response.headers.items() if name == "vary" or name.startswith("access-")}
        return Problem("cors_refused", bytes(response.body).decode(), kept).response()
