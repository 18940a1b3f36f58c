"""Callers: who may do what, told by API keys. Where no file of keys is set, everybody may do everything.

A key is ``millrace_<id>_<secret>``. The file holds its SHA-256 alone: 256 random bits need no slow hash, and a slow
one would let anybody buy our time with wrong keys.
"""

import base64
import binascii
import enum
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import structlog
import yaml
from fastapi import FastAPI, Request
from pydantic import AwareDatetime, BaseModel, Field, PositiveFloat, ValidationError, model_validator
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from services.contract import ANONYMOUS

from ..runtime.starting import StartError
from ..settings import AuthSettings
from .app import DOCS_PATHS
from .errors import Problem, problem_responses
from .parameters import by_name

__all__ = [
    "EVERYBODY",
    "Caller",
    "Check",
    "Key",
    "KeyFile",
    "KeyFileError",
    "Keyring",
    "Scope",
    "caller",
    "demands",
    "guard",
    "load_keys",
    "new_key",
]

log = structlog.get_logger(__name__)

_RELOAD_EVERY = 2.0
_NO_DIGEST = "0" * 64
_NAME = re.compile(r"[a-z0-9_]{1,24}")
_OPEN = {"/healthz", "/readyz", "/metrics", *DOCS_PATHS}
_CALLER = "millrace.caller"


class KeyFileError(StartError):
    """The file of keys cannot be used; the message names file, place and fault, and no secret."""


class Scope(enum.StrEnum):
    """What a caller may do."""

    INGEST = "ingest"
    QUERY = "query"
    ADMIN = "admin"


class Key(BaseModel, extra="forbid", frozen=True):
    """One key as the file holds it."""

    id: str = Field(pattern=r"^[0-9a-f]{8}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    expires: AwareDatetime | None = None


class Caller(BaseModel, extra="forbid", frozen=True):
    """Who may do what, by which keys, and how much; two keys, so that one can take the other's place.

    `dedup` is what its requests ask for that say nothing of it.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    scopes: list[Scope] = Field(min_length=1)
    keys: list[Key] = Field(default=[], max_length=2)
    rows_per_second: PositiveFloat | None = None
    requests_per_second: PositiveFloat | None = None
    series_per_hour: PositiveFloat | None = None
    dedup: Literal["natural"] | None = None


EVERYBODY = Caller.model_construct(name=ANONYMOUS, scopes=list(Scope), keys=[])
"""The caller where there are no keys."""


class KeyFile(BaseModel, extra="forbid", frozen=True):
    """All callers."""

    callers: list[Caller]

    @model_validator(mode="after")
    def _unique(self) -> "KeyFile":
        for what, found in (
            ("caller", [caller.name for caller in self.callers]),
            ("key", [key.id for caller in self.callers for key in caller.keys]),
        ):
            if len(set(found)) < len(found):
                raise ValueError(f"a {what} stands twice")
        return self


def load_keys(file: Path) -> KeyFile:
    """Read a file of keys.

    Raises:
        KeyFileError: it cannot be read, or is not what it should be.
    """
    try:
        return KeyFile.model_validate(yaml.safe_load(file.read_text()) or {"callers": []})
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{file}: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", -1) + 1
        raise KeyFileError(f"{file} line {line}: it is no YAML") from None
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        told = "; ".join(f"{'.'.join(map(_named, fault['loc']))}: {fault['msg']}" for fault in faults)
        raise KeyFileError(f"{file}: {told}") from None
    except (ValueError, RecursionError):
        # YAML's own, such as a date that no calendar has.
        raise KeyFileError(f"{file}: it holds a date or number that there is not, or is nested too deep") from None


def _named(place: str | int) -> str:
    """Return a part of a fault's place; what somebody put where a name belongs may be a key."""
    return str(place) if isinstance(place, int) or _NAME.fullmatch(place) else "an unknown name"


def new_key(expires: datetime | None = None) -> tuple[str, Key]:
    """Return a fresh key as its caller sends it, and as the file holds it."""
    key_id = secrets.token_hex(4)
    text = f"millrace_{key_id}_{secrets.token_urlsafe(32)}"
    return text, Key(id=key_id, sha256=_digest(text), expires=expires)


class Keyring:
    """Recognises keys. It follows the file: a key that is added or taken away counts within seconds."""

    def __init__(self, file: Path) -> None:
        """Read the file.

        Raises:
            KeyFileError: it cannot be used.
        """
        self._file = file
        self._known: dict[str, tuple[Key, Caller]] = {}
        self._read_at = 0.0
        self._stamp = self._look()
        self._read()

    def caller(self, text: str) -> Caller | None:
        """Return whose key `text` is; None for a wrong or an expired one. A wrong key takes as long as a right one."""
        self._follow()
        found = self._known.get(text[9:17] if text.startswith("millrace_") else "")
        right = hmac.compare_digest(_digest(text), found[0].sha256 if found else _NO_DIGEST)
        if found is None or not right:
            return None
        key, caller = found
        return None if key.expires is not None and key.expires <= datetime.now(UTC) else caller

    def _follow(self) -> None:
        if time.monotonic() - self._read_at < _RELOAD_EVERY:
            return
        stamp = self._look()
        try:
            if stamp != self._stamp:
                self._read()
                log.info("read the keys again", action="read_keys", keys=len(self._known))
        except KeyFileError as error:
            log.error(
                "the file of keys cannot be used; the keys known before stay", action="read_keys", error=str(error)
            )
        self._stamp, self._read_at = stamp, time.monotonic()

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def _read(self) -> None:
        callers = load_keys(self._file).callers
        self._known = {key.id: (key, caller) for caller in callers for key in caller.keys}
        self._read_at = time.monotonic()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


Check = Callable[[Mapping[bytes, bytes]], Caller]
"""Names who sent a request by its headers, or raises `Problem`: `no_key`, `wrong_key` or `forbidden`."""


def guard(app: FastAPI, settings: AuthSettings, scope: Scope, open_paths: Collection[str] = ()) -> Check:
    """Ask each request to `app` for a key with `scope`, but for health, metrics and docs; nobody where no file is set.

    Args:
        app: whose requests are asked.
        settings: where the file of keys is.
        scope: what every key must have; a route may demand another one beside it, by `demands`.
        open_paths: what needs no key either, to the letter: pages that must be there before somebody has shown a key.

    Returns:
        The check, for what answers before the app's middleware.

    Raises:
        KeyFileError: the file of keys cannot be used.
    """
    if settings.keys_file is None:
        return lambda _: EVERYBODY
    check = _check(Keyring(settings.keys_file), scope)
    needless = _OPEN.union(open_paths)
    app.add_middleware(_Guard, check=check, needless=needless)
    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        schemes = {"key": {"type": "http", "scheme": "bearer", "description": "An API key, `millrace_...`."}}
        document.setdefault("components", {})["securitySchemes"] = schemes
        refusals = {
            str(status): found for status, found in problem_responses("no_key", "wrong_key", "forbidden").items()
        }
        for path in document["paths"].keys() - needless:
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


def demands(scope: Scope) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency of routes that takes only callers who have `scope` too: `forbidden` else."""

    async def check(request: Request) -> None:
        _has(caller(request), scope)

    return check


def _has(caller: Caller, scope: Scope) -> None:
    if scope not in caller.scopes:
        raise Problem("forbidden", f"the API key lacks the scope {scope}")


class _Guard:
    def __init__(self, app: ASGIApp, check: Check, needless: Collection[str]) -> None:
        self._app = app
        self._check = check
        self._needless = needless

    async def __call__(self, connection: Connection, receive: Receive, send: Send) -> None:
        if connection["type"] == "http" and connection["path"] not in self._needless:
            try:
                connection[_CALLER] = self._check(by_name(connection["headers"]))
            except Problem as problem:
                await problem.response()(connection, receive, send)
                return
        await self._app(connection, receive, send)


def _check(keyring: Keyring, needed: Scope) -> Check:
    challenge = {"WWW-Authenticate": 'Bearer realm="millrace"'}

    def check(headers: Mapping[bytes, bytes]) -> Caller:
        key = _shown_key(headers.get(b"authorization", b"").decode("latin-1"))
        if key is None:
            raise Problem("no_key", "send an API key: Authorization: Bearer millrace_...", challenge)
        caller = keyring.caller(key)
        if caller is None:
            raise Problem("wrong_key", "the API key is unknown, wrong or expired", challenge)
        _has(caller, needed)
        return caller

    return check


def _shown_key(authorization: str) -> str | None:
    """Return the key that a header shows, None where it shows none.

    Beside `Bearer` it may be `Token`, as InfluxDB's clients write it, or the password of `Basic`, which is all that
    some agents know.
    """
    kind, _, shown = authorization.partition(" ")
    if kind.lower() in {"bearer", "token"}:
        return shown.strip()
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(shown.strip(), validate=True).decode("latin-1").partition(":")[2]
    except binascii.Error:
        return ""
