"""Dead letters on the port of questions: whoever may ask sees them, and who has `admin` replays and deletes them."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request

from services.dead_letters.replay import Replay
from services.dead_letters.routes import Body, changing_one, seeing
from services.platform.admission import Asked
from services.platform.http.errors import Problem
from services.platform.settings import Settings
from services.platform.stream import DeadLetters, Stream

from .body import received

__all__ = ["dead_letters"]


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

    body = Body(as_it_stands, {}, ("malformed_body", "body_too_large", "body_timeout"))
    return seeing(letters), changing_one(letters, replay, body)
