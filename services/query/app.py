"""The query service, put together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.routing import APIRoute

from services.platform.application import application
from services.platform.auth import Scope, guard
from services.platform.connections import Connector
from services.platform.errors import Problem
from services.platform.health import Health, health_routes
from services.platform.postgres import wait_for_schema
from services.platform.settings import Settings
from services.platform.tasks import end, vital

from .asked import Asked
from .routes import questions
from .store import Store

__all__ = ["create_app"]

_LOOK_INTERVAL = 10.0
"""Seconds between looks at the database, so that readiness follows it."""


def create_app(settings: Settings) -> FastAPI:
    """Return the app; it connects when it starts, and answers 503 until the database has our schema."""
    health = Health("database")
    store = Store(settings)
    seen = asyncio.Event()

    async def look() -> None:
        connector = Connector(settings.database.reader_url, settings.database, default_transaction_read_only="on")
        await wait_for_schema(connector, health)
        seen.set()
        while True:
            await asyncio.sleep(_LOOK_INTERVAL)
            if store.replicas.fresh():
                health.has("database")
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_INTERVAL):
                    await wait_for_schema(connector, health)

    async def ready() -> None:
        # Once it was there, a question finds out by itself: the pool may still work while a look fails.
        reasons = health.reasons()
        if reasons and not seen.is_set():
            reason = "; ".join(f"{part}: {why}" for part, why in reasons.items())
            raise Problem("database_unavailable", f"not ready yet: {reason}", {"Retry-After": "5"})

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [vital(look()), vital(store.replicas.run())]
        try:
            yield
        finally:
            await end(tasks)
            store.close()

    app = application(
        FastAPI,
        "Millrace query",
        "Answers questions about readings: ranges, the least value, hour buckets. "
        "Ranges are half-open, `start <= timestamp < end`; timestamps are RFC 3339 with an offset from UTC.",
        root_path=settings.query.root_path,
        lifespan=lifespan,
    )
    asked = questions(store, settings.query.max_limit, ready)
    app.add_middleware(Asked, paths={route.path for route in asked.routes if isinstance(route, APIRoute)})
    guard(app, settings.auth, Scope.QUERY)
    app.include_router(asked)
    app.include_router(health_routes(health))
    return app
