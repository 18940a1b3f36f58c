"""The query service, put together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.routing import APIRoute

from services.contract.instants import EPOCH
from services.platform.http.app import bare_app
from services.platform.http.auth import Scope, guard
from services.platform.http.errors import Problem
from services.platform.postgres.capability import Capability
from services.platform.postgres.connections import Connection, Connector
from services.platform.postgres.schema import look_at_schema, wait_for_schema
from services.platform.runtime.health import Health, health_routes
from services.platform.runtime.tasks import end, fail_fast
from services.platform.settings import Settings
from services.platform.stream import Stream, names_of, redis_client

from .catalogue.latest import latest
from .catalogue.plans import newest, pages
from .catalogue.routes import catalogue
from .catalogue.selection import selection
from .console.routes import CONSOLE_PATHS, console
from .copy_out import inlined
from .dead_letters import dead_letters
from .fetch import Fetcher
from .plan import Question, hours, least, readings
from .remote_read.routes import remote_read
from .rollups import Rollups
from .routes import questions
from .series.routes import series
from .status.routes import StatusBoard
from .streaming import CancelOnDisconnect

__all__ = ["create_app"]

_LOOK_INTERVAL, _SOON = 10.0, 1.0
"""Seconds between looks at the database, so that readiness follows it; sooner while it is not fit."""


def create_app(settings: Settings) -> FastAPI:
    """Return the app; it connects when it starts, and answers 503 until the database has our schema."""
    health = Health("database")
    fetcher = Fetcher(settings)
    rollups = Rollups()
    # Of the stream nobody knows here but the routes that show it: where it is away, questions are answered.
    stream = Stream(redis_client(settings.redis), names_of(settings.redis))
    board = StatusBoard(settings, stream)
    seen = asyncio.Event()
    connector = Connector(settings.database.reader_url, settings.database, default_transaction_read_only="on")

    async def needed(connection: Connection, able: Capability) -> None:
        await _ask_nothing(fetcher, connection, able)
        await rollups.look(connection)

    async def look_once() -> None:
        """See whether some database that questions are put to can answer them."""
        problem = ""
        for way in (*(replica.pool.connector for replica in fetcher.replicas.fresh()), connector):
            found = await look_at_schema(way, needed)
            if not isinstance(found, str):
                health.has("database")
                return
            problem = found
        health.lacks("database", problem)

    async def look() -> None:
        await wait_for_schema(connector, health, needed=needed)
        seen.set()
        while True:
            await asyncio.sleep(_SOON if health.reasons() else _LOOK_INTERVAL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_INTERVAL):
                    await look_once()

    async def ready() -> None:
        # Once it was there, a question finds out by itself: the pool may still work while a look fails.
        reasons = health.reasons()
        if reasons and not seen.is_set():
            reason = "; ".join(f"{part}: {why}" for part, why in reasons.items())
            raise Problem("database_unavailable", f"not ready yet: {reason}", {"Retry-After": "5"})

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [fail_fast(look()), fail_fast(fetcher.replicas.run())]
        try:
            yield
        finally:
            await end(tasks)
            fetcher.close()
            await board.close()
            await stream.client.aclose()

    app = bare_app(
        FastAPI,
        "Millrace query",
        "Answers questions about readings: ranges, the least value, hour buckets, series by any bucket. "
        "Ranges are half-open, `start <= timestamp < end`; timestamps are RFC 3339 with an offset from UTC.",
        root_path=settings.query.root_path,
        lifespan=lifespan,
    )
    routers = [
        series(fetcher, settings.query, ready, rollups),
        *(part(fetcher, settings.query, ready) for part in (questions, latest, catalogue, remote_read)),
    ]
    routes = [route for router in routers for route in router.routes]
    app.add_middleware(CancelOnDisconnect, paths={route.path for route in routes if isinstance(route, APIRoute)})
    guard(app, settings.auth, Scope.QUERY, CONSOLE_PATHS)
    for router in (*routers, board.routes(), *dead_letters(stream, settings)):
        app.include_router(router)
    app.include_router(console(settings.query))
    app.include_router(health_routes(health))
    return app


async def _ask_nothing(fetcher: Fetcher, connection: Connection, able: Capability) -> None:
    """Tell the fetcher what the database is, and ask each question about a sensor that nobody has and an empty range.

    Finding nothing costs next to nothing.

    Raises:
        asyncpg.PostgresError: one cannot be answered, as a table, a function or a right to them lacks.
        UnfitError: one could not be, as the tier's location lacks.
    """
    fetcher.spread, fetcher.rollups = able.spread, able.rollups
    await fetcher.tier.look(connection)
    nothing = Question("", EPOCH, EPOCH)
    of_catalogue = (pages(selection(()), "", 1), newest((), None, None, spread=able.spread))
    for plan in (readings(nothing), least(nothing), hours(nothing, rollups=able.rollups), *of_catalogue):
        statement, arguments = plan.limited(plan.limit), plan.arguments
        if able.spread:
            # Citus makes no plan over several nodes for unknown arguments.
            statement, arguments = inlined(statement, arguments), ()
        await connection.fetch(statement, *arguments)
