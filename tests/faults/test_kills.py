"""Kill each part without warning under load; the sender's journal tells what must be there afterwards."""

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.contract import StreamNames
from services.local.credentials import credentials
from services.local.postgres import PostgresServer
from services.local.valkey import ValkeyServer
from services.operator.schema import apply, bootstrap
from services.platform.settings import DatabaseSettings, RedisSettings, Settings
from services.platform.stream import STREAM_ERRORS, Stream, redis_client
from tests.conftest import whole
from tests.support import Service, TestDatabase, eventually, free_port
from tests.support.oracle import check
from tests.support.servers import OPTIONS, installations

ROWS = 200_000
Make = Callable[[str, Settings], Service]


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[ValkeyServer]:
    """A Valkey of the test's own, to be killed."""
    server = ValkeyServer(tmp_path / "own" / "valkey", free_port(), "secret", 256 * 1024 * 1024)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def postgres(tmp_path_factory: pytest.TempPathFactory, database_mode: str) -> AsyncIterator[TestDatabase]:
    """A PostgreSQL of the test's own, to be killed."""
    folder = tmp_path_factory.mktemp("postgres")
    for above in (folder, folder.parent, folder.parent.parent):
        above.chmod(0o711)
    words = credentials(folder / "credentials.json")
    server = PostgresServer(folder / "data", free_port(), installations()[database_mode], words.superuser, OPTIONS)
    await server.start()
    settings = DatabaseSettings(
        owner_url=SecretStr(server.url("millrace_owner", words.owner)),
        writer_url=SecretStr(server.url("millrace_writer", words.writer)),
        reader_url=SecretStr(server.url("millrace_reader", words.reader)),
    )
    await bootstrap(server.superuser_url, settings)
    await apply(settings)
    yield TestDatabase(database_mode, "sensors", settings, server.superuser_url, server)
    await server.stop()


def worker(settings: Settings, name: str) -> Settings:
    """Return the settings of one more worker, quick to take over."""
    changed = {"name": name, "port": free_port(), "reclaim_idle": 2.0, "reclaim_interval": 0.5, "batch_rows": 5000}
    return settings.model_copy(update={"worker": settings.worker.model_copy(update=changed)})


@asynccontextmanager
async def load(settings: Settings, journal: Path, rows: int = ROWS) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Send readings in the background; behind the block all of them have been answered."""
    command = [sys.executable, "-m", "services.cli", "send", "--rows", str(rows), "--batch", "200", "--patience", "120"]
    command += ["--journal", str(journal), "--url", f"http://127.0.0.1:{settings.ingest.port}", "--connections", "4"]
    sender = subprocess.Popen(  # noqa: ASYNC220 -- it only forks
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        yield sender
        _, errors = await asyncio.to_thread(sender.communicate, None, 150)
        assert sender.returncode == 0, errors.decode()
    finally:
        sender.kill()


async def drained(settings: Settings) -> None:
    async with redis_client(settings.redis) as client:
        stream = Stream(client, StreamNames(settings.redis.stream))

        async def empty() -> bool:
            try:
                return (await stream.backlog()).entries == 0
            except STREAM_ERRORS:
                return False

        await eventually(empty, 60.0)


async def test_workers_killed_again_and_again_lose_and_double_nothing(
    settings: Settings, service: Make, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    ingest = service("ingest", settings)
    workers = [service("worker", worker(settings, f"worker-{number}")) for number in range(2)]
    for process in (ingest, *workers):
        process.start()
    await ingest.ready()
    kills = 0
    async with load(settings, tmp_path / "journal") as sender:
        while sender.poll() is None:
            await asyncio.sleep(chance.uniform(0.5, 2.0))
            victim = chance.choice(workers)
            victim.kill()
            victim.start()
            kills += 1
    await drained(settings)
    verdict = await check(tmp_path / "journal", settings.database)
    assert kills >= 2
    assert verdict.clean, verdict
    assert (verdict.promised, verdict.stored) == (ROWS, ROWS)


async def test_a_killed_stream_server_loses_and_doubles_nothing(
    database: TestDatabase, valkey: ValkeyServer, service: Make, tmp_path: Path
) -> None:
    settings = whole(database, RedisSettings(url=SecretStr(valkey.url)))
    async with service("ingest", settings), service("worker", worker(settings, "worker-1")):
        async with load(settings, tmp_path / "journal") as sender:
            for _ in range(3):
                await asyncio.sleep(1.0)
                assert sender.poll() is None, "the load ended before the fault"
                assert valkey.process
                valkey.process.kill()
                await valkey.ended()
                await valkey.start()
        await drained(settings)
    verdict = await check(tmp_path / "journal", settings.database)
    assert verdict.clean, verdict
    assert verdict.stored == ROWS


async def test_a_killed_database_loses_and_doubles_nothing(
    postgres: TestDatabase, redis_settings: RedisSettings, service: Make, tmp_path: Path
) -> None:
    settings = whole(postgres, redis_settings)
    server = postgres.server
    async with service("ingest", settings), service("worker", worker(settings, "worker-1")):
        async with load(settings, tmp_path / "journal", 3 * ROWS) as sender:
            for _ in range(2):
                await asyncio.sleep(0.7)
                assert sender.poll() is None, "the load ended before the fault"
                assert server.process
                server.process.kill()
                await server.ended()
                await server.start()
        await drained(settings)
    verdict = await check(tmp_path / "journal", settings.database)
    assert verdict.clean, verdict
    assert verdict.stored == 3 * ROWS
