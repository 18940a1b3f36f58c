"""What stands before an app: pages of other origins, and a proxy that shows it behind a path prefix.

Where neither is set the app itself is returned, and a request costs nothing more.
"""

from fastapi import Response
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ..settings import HttpSettings
from .errors import Problem

__all__ = ["edge"]

_METHODS = ("GET", "HEAD", "POST")
_ASKED_HEADERS = ("Authorization", "Content-Encoding", "Content-Type", "Idempotency-Key", "traceparent", "tracestate")
_SHOWN_HEADERS = ("Idempotent-Replayed", "Link", "Retry-After", "WWW-Authenticate")


def edge(app: ASGIApp, http: HttpSettings, root_path: str) -> ASGIApp:
    """Return `app` as browsers and proxies need it."""
    if root_path:
        app = _Prefixed(app, root_path)
    if http.cors_origins:
        origins = http.cors_origins.split(",")
        app = _CrossOrigin(
            app, origins, allow_methods=_METHODS, allow_headers=_ASKED_HEADERS, expose_headers=_SHOWN_HEADERS
        )
    return app


class _Prefixed:
    """Takes the prefix from a path where the proxy has left it there."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._prefix = f"{root_path}/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(self._prefix):
            scope = {**scope, "path": scope["path"][len(self._prefix) - 1 :]}
        await self._app(scope, receive, send)


class _CrossOrigin(CORSMiddleware):
    """Starlette's middleware; what it refuses is a problem."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        kept = {name: value for name, value in response.headers.items() if name == "vary" or name.startswith("access-")}
        return Problem("cors_refused", bytes(response.body).decode(), kept).response()
