"""`millrace run worker`: the process, its parts and its port, and `GET /backlog` for autoscalers that ask by HTTP."""

import asyncio
from dataclasses import asdict

import structlog
import uvloop
from fastapi import APIRouter
from pydantic import BaseModel

from services.platform.http.errors import Problem
from services.platform.http.serving import health_app, serving, stop_signal, tune_gc
from services.platform.postgres.connections import Connector
from services.platform.postgres.schema import wait_for_schema
from services.platform.runtime.health import Health
from services.platform.runtime.tasks import end, fail_fast, until_stopped
from services.platform.settings import Settings
from services.platform.stream import STREAM_ERRORS, DeadLetters, Stream, names_of, redis_client

from .janitor import keep_house
from .loop import Loop
from .natural import may_look
from .transaction import Store

__all__ = ["backlog_routes", "run"]

log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Work until SIGTERM, then finish the batch in hand.

    Raises:
        StartError: the health port is taken.
    """
    tune_gc()
    uvloop.run(_run(settings))


async def _run(settings: Settings) -> None:
    worker = settings.worker
    structlog.contextvars.bind_contextvars(consumer=worker.name)
    health = Health("contract", "database", "stream")
    stop = stop_signal()
    app = health_app("Millrace worker", health)
    counted = Stream(redis_client(settings.redis), names_of(settings.redis))
    app.include_router(backlog_routes(counted))
    async with serving(app, worker.host, worker.port, "MILLRACE_WORKER_PORT"):
        try:
            await until_stopped(_work(settings, health, stop), stop, worker.drain_timeout)
        finally:
            await counted.client.aclose()


async def _work(settings: Settings, health: Health, stop: asyncio.Event) -> None:
    connector = Connector(settings.database.writer_url, settings.database)
    capability = await until_stopped(wait_for_schema(connector, health, needed=may_look), stop)
    if capability is None:
        return
    health.has("contract")
    log.info("found the database", action="start", database=str(capability))
    names = names_of(settings.redis)
    stream = Stream(redis_client(settings.redis, patience=settings.worker.block), names)
    letters = DeadLetters(stream.client, names)
    store = Store(settings.database, settings.worker, capability)
    house = fail_fast(keep_house(stream, store, letters, settings.worker))
    try:
        await Loop(stream, letters, store, settings=settings.worker, health=health, stop=stop).run()
    finally:
        await end([house])
        store.close()
        await stream.client.aclose()


class Waiting(BaseModel):
    """What stands in the stream, delivered or not; `age` is the oldest entry's, in seconds."""

    entries: int
    rows: int
    bytes: int
    age: float


def backlog_routes(stream: Stream) -> APIRouter:
    """Return `/backlog`."""
    router = APIRouter(tags=["operations"])

    @router.get("/backlog", responses={503: {"description": "The stream's server is away"}})
    async def backlog() -> Waiting:
        """Count what waits in the stream, whoever was given it."""
        try:
            return Waiting.model_validate(asdict(await stream.backlog()))
        except STREAM_ERRORS as error:
            raise Problem("stream_unavailable", f"the stream's server cannot be reached: {error}") from error

    return router
