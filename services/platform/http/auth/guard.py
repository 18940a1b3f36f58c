"""The door of an HTTP port: who has no key with the scope stays outside."""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from ...settings import AuthSettings
from ..docs_page import DOCS_PATHS
from ..errors import Problem, problem_responses
from ..parameters import by_name
from .keys import EVERYBODY, Caller, Keyring, Scope

__all__ = ["Check", "caller", "guard"]

_OPEN = {"/healthz", "/readyz", "/metrics", *DOCS_PATHS}
_CALLER = "millrace.caller"
Check = Callable[[Mapping[bytes, bytes]], Caller]
"""Names who sent a request by its headers, or raises `Problem`: `no_key`, `wrong_key` or `forbidden`."""


def guard(app: FastAPI, settings: AuthSettings, scope: Scope) -> Check:
    """Ask each request to `app` for a key with `scope`, but for health, metrics and docs; nobody where no file is set.

    Returns:
        The check, for what answers before the app's middleware.

    Raises:
        KeyFileError: the file of keys cannot be used.
    """
    if settings.keys_file is None:
        return lambda _: EVERYBODY
    check = _check(Keyring(settings.keys_file), scope)
    app.add_middleware(_Guard, check=check)
    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        schemes = {"key": {"type": "http", "scheme": "bearer", "description": "An API key, `millrace_...`."}}
        document.setdefault("components", {})["securitySchemes"] = schemes
        refusals = {
            str(status): found for status, found in problem_responses("no_key", "wrong_key", "forbidden").items()
        }
        for path in document["paths"].keys() - _OPEN:
            for operation in document["paths"][path].values():
                operation["security"] = [{"key": []}]
                operation["responses"].update(refusals)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    return check


def caller(request: Request) -> Caller:
    """Return who sent a request that came past the guard; everybody where there is none."""
    found: Caller = request.scope.get(_CALLER, EVERYBODY)
    return found


class _Guard:
    def __init__(self, app: ASGIApp, check: Check) -> None:
        self._app = app
        self._check = check

    async def __call__(self, connection: Connection, receive: Receive, send: Send) -> None:
        if connection["type"] == "http" and connection["path"] not in _OPEN:
            try:
                connection[_CALLER] = self._check(by_name(connection["headers"]))
            except Problem as problem:
                await problem.response()(connection, receive, send)
                return
        await self._app(connection, receive, send)


def _check(keyring: Keyring, needed: Scope) -> Check:
    challenge = {"WWW-Authenticate": 'Bearer realm="millrace"'}

    def check(headers: Mapping[bytes, bytes]) -> Caller:
        kind, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if kind.lower() != "bearer":
            raise Problem("no_key", "send an API key: Authorization: Bearer millrace_...", challenge)
        caller = keyring.caller(key.strip())
        if caller is None:
            raise Problem("wrong_key", "the API key is unknown, wrong or expired", challenge)
        if needed not in caller.scopes:
            raise Problem("forbidden", f"the API key lacks the scope {needed}")
        return caller

    return check
