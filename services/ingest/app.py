"""The ingest service, put together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from services.platform.http.app import bare_app
from services.platform.http.auth import Scope, guard
from services.platform.runtime.health import Health, health_routes
from services.platform.runtime.tasks import end, fail_fast
from services.platform.settings import Settings
from services.platform.stream import DeadLetters, Durability, Listener, Stream, names_of, redis_client

from .admin import admin_app
from .commit.group_commit import StreamWriter
from .deletions import deletions
from .doors.json.accept import Acceptance
from .doors.json.entrance import EntranceApp
from .doors.json.routes import batches, include_ingest
from .limits.admission import Admission
from .limits.in_flight import Load
from .limits.rates import Rates
from .limits.window import Window
from .replay import Replay
from .store import Deletions, Receipts

__all__ = ["create_app"]

_DISK_LANES = 8
"""Writers beside each other where each write must be asked for by WAITAOF, up to a second long."""


def create_app(settings: Settings) -> FastAPI:
    """Return the app; it connects when it starts, and answers 503 until the stream's server is there.

    `app.state.admin` is the app of the administrative port, which lives inside this one's life.
    """
    names = names_of(settings.redis)
    stream = Stream(redis_client(settings.redis), names)
    ear = redis_client(settings.redis, patience=60.0)
    listener = Listener(ear, names)
    health = Health("stream")
    letters = DeadLetters(stream.client, names)
    admission = Admission(stream, letters, settings.redis, settings.ingest, health)
    receipts = Receipts(settings.database)
    window = Window(settings.ingest, settings.database)
    writer = StreamWriter(listener, lambda: admission.proof, window, settings.ingest, settings.redis.timeout)
    load = Load(settings.ingest)
    tasks: list[asyncio.Task[None]] = []

    async def lane() -> None:
        # Nothing connects before the first entry: where the server is away just now, that entry is refused.
        async with contextlib.aclosing(redis_client(settings.redis, single=True, fit=admission.knows)) as client:
            await writer.run(Stream(client, names, settings.redis.durable_replicas))

    async def lanes() -> None:
        """Start the writers that the server's durability calls for, as soon as it is known."""
        count = _DISK_LANES if await admission.first_proof() is Durability.WAITAOF else 1
        tasks.extend(fail_fast(lane()) for _ in range(count))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks.extend(fail_fast(work()) for work in (admission.run, listener.run, window.run, lanes))
        try:
            yield
        finally:
            await end(tasks)
            receipts.close()
            await stream.client.aclose()
            await ear.aclose()

    app = bare_app(
        EntranceApp,
        "Millrace ingest",
        "Takes readings over HTTP and keeps them safe until they are in the database exactly once.",
        root_path=settings.ingest.root_path,
        lifespan=lifespan,
    )
    app.state.acceptance = Acceptance(settings.ingest, admission, Rates(), load, writer, receipts, window)
    replay = Replay(stream, letters, admission, settings.worker.ledger_horizon)
    app.state.admin = admin_app(letters, replay, load, window, settings.ingest)
    app.state.admin.include_router(deletions(Deletions(settings.database), load, settings.ingest))
    app.state.check = guard(app, settings.auth, Scope.INGEST)
    guard(app.state.admin, settings.auth, Scope.ADMIN)
    include_ingest(app)
    app.include_router(batches(stream, receipts))
    app.include_router(health_routes(health))
    return app
