"""Dead letters on the port of questions: whoever may ask sees them, and who has `admin` replays and deletes them."""

import contextlib
import ipaddress
from collections.abc import AsyncIterator

from fastapi import APIRouter, Depends, Request

from services.dead_letters.replay import Replay
from services.dead_letters.routes import Body, changing_one, seeing
from services.platform.admission import Asked
from services.platform.http.auth import Scope, caller
from services.platform.http.errors import Problem, problem_responses
from services.platform.settings import Settings
from services.platform.stream import DeadLetters, Stream

from .body import received

__all__ = ["administers", "dead_letters"]


def administers(request: Request, settings: Settings) -> bool:
    """Tell whether who asks may change dead letters: by the key; without keys, where this machine alone may ask.

    That is as far as the administrative port of ingest lets anybody by default.
    """
    if settings.auth.keys_file is not None:
        return Scope.ADMIN in caller(request).scopes
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(settings.query.host).is_loopback
    return settings.query.host == "localhost"


def dead_letters(stream: Stream, settings: Settings) -> tuple[APIRouter, ...]:
    """Return the routes; a letter is mended by the administrative port of ingest alone, which knows how to read it."""
    letters = DeadLetters(stream.client, stream.names)
    replay = Replay(
        stream, letters, Asked(stream, settings.redis, settings.ingest).admit, settings.worker.ledger_horizon
    )

    @contextlib.asynccontextmanager
    async def as_it_stands(request: Request) -> AsyncIterator[None]:
        if await received(request, settings.query):
            detail = "a dead letter is replayed here as it stands, without a body; ingest's administrative port mends"
            raise Problem("malformed_body", detail)
        yield

    async def may(request: Request) -> None:
        if settings.auth.keys_file is None and not administers(request, settings):
            detail = (
                "without API keys dead letters are changed on ingest's administrative port; see MILLRACE_AUTH_KEYS_FILE"
            )
            raise Problem("forbidden", detail)

    body = Body(as_it_stands, {}, ("malformed_body", "body_too_large", "body_timeout"))
    changing = APIRouter(dependencies=[Depends(may)], responses=problem_responses("forbidden"))
    changing.include_router(changing_one(letters, replay, body))
    return seeing(letters), changing
