"""Fixtures of one service at its edges: the stream, ingest in this process, real processes for clients of HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from services.contract import StreamNames
from services.platform.runtime.health import Health
from services.platform.settings import HttpSettings, RedisSettings, Settings, WorkerSettings
from services.platform.stream import Stream, redis_client
from services.worker.loop import Loop
from tests.conftest import ABSENT, whole
from tests.support import Service, TestDatabase
from tests.support.doors import Doors
from tests.support.ingest import taking
from tests.support.query import EPOCH, owner
from tests.support.servers import Servers, installations
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
        loop = Loop(parts.stream, parts.letters, parts.store, settings=worker, health=health, stop=stop)
        tasks.append(asyncio.create_task(loop.run()))
        return health

    yield started
    stop.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks)


@pytest.fixture
def doors(tmp_path: Path) -> Doors:
    """A file of callers for services to ask for keys by."""
    return Doors(tmp_path / "keys.yaml")


@dataclass(frozen=True, slots=True)
class HttpStack:
    """Ingest and query as processes behind the prefixes /in and /ask; the sensor `big` has many rows."""

    settings: Settings
    database: TestDatabase
    ingest: Service
    query: Service


BIG = 400_000
"""Rows of the sensor `big`: more than the buffers between the database and a client hold."""


@pytest.fixture(scope="session")
def http_stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpStack]:
    """The stack; nothing that a client does may alarm whoever reads its logs."""
    if not installations():
        pytest.skip(ABSENT["plain"])
    databases = servers.databases(next(iter(installations())))
    database = databases.create()
    asyncio.run(_fill(database))
    settings = whole(database, RedisSettings(url=SecretStr(servers.valkey().url), stream="http_stack"))
    prefixed = {
        name: getattr(settings, name).model_copy(update={"root_path": root})
        for name, root in (("ingest", "/in"), ("query", "/ask"))
    }
    http = HttpSettings(cors_origins="https://app.example.com, http://localhost:3000")
    settings = settings.model_copy(update={"http": http, **prefixed})
    folder = tmp_path_factory.mktemp("http")
    processes = [Service(name, settings, folder / f"{name}.log") for name in ("ingest", "query")]
    for process in processes:
        process.start()
    try:
        for process in processes:
            asyncio.run(process.ready())
        yield HttpStack(settings, database, *processes)
    finally:
        for process in processes:
            process.terminate()
        databases.drop(database)
    events = [json.loads(line) for process in processes for line in process.log_text().splitlines()]
    alarms = {event["event"] for event in events if event["level"] not in {"debug", "info"}}
    assert alarms <= {
        "the database failed during the question",
        "an answer broke off",
        "ASGI callable returned without completing response.",
    }


async def _fill(database: TestDatabase) -> None:
    async with owner(database) as connected:
        await connected.execute(
            "insert into sensor_data (timestamp, sensor_id, value) "
            f"select '{EPOCH}'::timestamptz + number * interval '1 second', 'big', number / 4.0 "
            f"from generate_series(1, {BIG}) as number"
        )
