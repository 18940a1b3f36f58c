"""Fixtures of one service at its edges: the stream, and ingest in this process."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from services.contract import StreamNames
from services.platform.health import Health
from services.platform.settings import Settings, WorkerSettings
from services.platform.stream import Stream, redis_client
from services.worker.loop import Loop
from tests.support.ingest import taking
from tests.support.worker import Start, parts_of


@pytest.fixture
async def stream(settings: Settings) -> AsyncIterator[Stream]:
    found = Stream(redis_client(settings.redis), StreamNames(settings.redis.stream))
    yield found
    await found.client.aclose()


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The app in this process, ready."""
    small = settings.ingest.model_copy(
        update={
            "max_body_bytes": 10_000, "max_decoded_bytes": 20_000, "max_rows": 100, "stored_timeout": 0.3,
            "body_timeout": 0.3,
        }
    )  # fmt: skip
    async with taking(settings.model_copy(update={"ingest": small})) as found:
        yield found


@pytest.fixture
async def start(settings: Settings) -> AsyncIterator[Start]:
    """Start a worker's loop in this process, with quick settings; all are stopped behind the test."""
    stop = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def started(name: str = "w1", **changed: object) -> Health:
        quick = {"name": name, "block": 0.05, "reclaim_idle": 0.3, "reclaim_interval": 0.1, **changed}
        worker = WorkerSettings.model_validate({**settings.worker.model_dump(), **quick})
        health = Health("contract", "database", "stream")
        parts = await parts_of(settings, worker, health)
        health.has("contract")
        loop = Loop(parts.stream, parts.store, worker, health, stop)
        tasks.append(asyncio.create_task(loop.run()))
        return health

    yield started
    stop.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks)
