"""An ingest in a test's own event loop, with the direct way in or without it."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from services.contract import StreamNames
from services.ingest.app import create_app
from services.platform.http.middleware import with_cors_and_prefix
from services.platform.http.serving import serving
from services.platform.settings import Settings
from services.platform.stream import Stream, redis_client

from .http import converse
from .ingest import entries
from .patience import eventually, free_port

__all__ = ["LAST", "PLAIN", "Way", "reading", "running", "sized"]

PLAIN = b"POST /ingest HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


def reading(number: int, **changed: object) -> dict[str, object]:
    return {"sensor_id": f"s-{number % 3}", "timestamp": "2025-10-22T21:00:00Z", "value": number, **changed}


def sized(head: bytes, body: bytes) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@dataclass
class Way:
    """An ingest on a port, its stream, and the requests that came to its application."""

    port: int
    stream: Stream
    calls: Counter[str]

    async def readings(self) -> Counter[tuple[str, float]]:
        """Return how often which reading stands in the stream."""
        return Counter(
            (entry.columns.sensor_ids[code], value)
            for entry in await entries(self.stream)
            for code, value in zip(entry.columns.index.tolist(), entry.columns.values.tolist(), strict=True)
        )


@contextlib.asynccontextmanager
async def running(settings: Settings, name: str, *, direct: bool, grace: float = 1.0) -> AsyncIterator[Way]:
    """Run an ingest with a stream of that name."""
    redis = settings.redis.model_copy(update={"stream": f"{settings.redis.stream}_{name}"})
    port = free_port()
    app = create_app(settings.model_copy(update={"redis": redis}))
    whole = with_cors_and_prefix(app, settings.http, settings.ingest.root_path)
    calls: Counter[str] = Counter()

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            calls[scope["path"]] += 1
        await whole(scope, receive, send)

    stream = Stream(redis_client(redis), StreamNames(redis.stream))
    taken_by = app.state.direct if direct else None
    async with (
        contextlib.aclosing(stream.client),
        serving(counting, "127.0.0.1", port, "MILLRACE_INGEST_PORT", grace, direct=taken_by),
    ):

        async def ready() -> bool:
            request = b"GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
            return (await converse(port, request))[0].status == 200

        await eventually(ready)
        calls.clear()
        yield Way(port, stream, calls)
