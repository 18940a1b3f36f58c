"""The door of an HTTP port: who has no key with the scope stays outside."""

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from services.platform.errors import Problem, problem_responses
from services.platform.settings import AuthSettings

from .keys import EVERYBODY, Caller, Keyring, Scope

__all__ = ["caller_of", "guard"]

_OPEN = {"/healthz", "/readyz", "/metrics", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"}
_CALLER = "millrace.caller"


def guard(app: FastAPI, settings: AuthSettings, scope: Scope) -> None:
    """Ask each request to `app` for a key with `scope`, but for health, metrics and docs; nobody where no file is set.

    Raises:
        KeyFileError: the file of keys cannot be used.
    """
    if settings.keys_file is None:
        return
    app.add_middleware(_Guard, keyring=Keyring(settings.keys_file), needed=scope)
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


def caller_of(connection: Connection) -> Caller:
    """Return who sent a request."""
    caller: Caller = connection.get(_CALLER, EVERYBODY)
    return caller


class _Guard:
    def __init__(self, app: ASGIApp, keyring: Keyring, needed: Scope) -> None:
        self._app = app
        self._keyring = keyring
        self._needed = needed

    async def __call__(self, connection: Connection, receive: Receive, send: Send) -> None:
        if connection["type"] == "http" and connection["path"] not in _OPEN:
            try:
                connection[_CALLER] = self._caller(dict(connection["headers"]))
            except Problem as problem:
                await problem.response()(connection, receive, send)
                return
        await self._app(connection, receive, send)

    def _caller(self, headers: dict[bytes, bytes]) -> Caller:
        kind, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        challenge = {"WWW-Authenticate": 'Bearer realm="millrace"'}
        if kind.lower() != "bearer":
            raise Problem("no_key", "send an API key: Authorization: Bearer millrace_...", challenge)
        caller = self._keyring.caller(key.strip())
        if caller is None:
            raise Problem("wrong_key", "the API key is unknown, wrong or expired", challenge)
        if self._needed not in caller.scopes:
            raise Problem("forbidden", f"the API key lacks the scope {self._needed}")
        return caller
