"""Kill each part without warning under load; the sender's journal tells what must be there afterwards."""

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.local.valkey import ValkeyServer
from services.platform.settings import RedisSettings, Settings
from tests.conftest import whole
from tests.support import TestDatabase
from tests.support.faults import Make, acknowledged, chance, drained, load, worker
from tests.support.oracle import check

ROWS = 200_000


async def test_row_01_workers_killed_again_and_again_lose_and_double_nothing(
    settings: Settings, service: Make, tmp_path: Path, scale: float
) -> None:
    dice = chance()
    rows = round(ROWS * scale)
    ingest = service("ingest", settings)
    workers = [service("worker", worker(settings, f"worker-{number}")) for number in range(2)]
    for process in (ingest, *workers):
        process.start()
    await ingest.ready()
    kills = 0
    async with load(settings, tmp_path / "journal", rows) as sender:
        while await acknowledged(tmp_path / "journal", sender, dice.randint(50, 250)):
            victim = dice.choice(workers)
            victim.kill()
            victim.start()
            kills += 1
    await drained(settings)
    verdict = await check(tmp_path / "journal", settings.database)
    assert kills >= 2
    assert verdict.clean, verdict
    assert (verdict.promised, verdict.stored) == (rows, rows)


@pytest.mark.long
async def test_row_06_a_killed_stream_server_loses_and_doubles_nothing(
    database: TestDatabase, valkey: ValkeyServer, service: Make, tmp_path: Path, scale: float
) -> None:
    settings = whole(database, RedisSettings(url=SecretStr(valkey.url)))
    rows = round(ROWS * scale)
    async with service("ingest", settings), service("worker", worker(settings, "worker-1")):
        async with load(settings, tmp_path / "journal", rows) as sender:
            for _ in range(round(3 * scale)):
                assert await acknowledged(tmp_path / "journal", sender, 100), "the load ended before the fault"
                assert valkey.process
                valkey.process.kill()
                await valkey.ended()
                await valkey.start()
        await drained(settings)
    verdict = await check(tmp_path / "journal", settings.database)
    assert verdict.clean, verdict
    assert verdict.stored == rows


@pytest.mark.long
async def test_row_14_a_killed_database_loses_and_doubles_nothing(
    postgres: TestDatabase, redis_settings: RedisSettings, service: Make, tmp_path: Path, scale: float
) -> None:
    settings = whole(postgres, redis_settings)
    rows = round(3 * ROWS * scale)
    server = postgres.server
    async with service("ingest", settings), service("worker", worker(settings, "worker-1")):
        async with load(settings, tmp_path / "journal", rows) as sender:
            for _ in range(round(2 * scale)):
                assert await acknowledged(tmp_path / "journal", sender, 100), "the load ended before the fault"
                assert server.process
                server.process.kill()
                await server.ended()
                await server.start()
        await drained(settings)
    verdict = await check(tmp_path / "journal", settings.database)
    assert verdict.clean, verdict
    assert verdict.stored == rows


@pytest.mark.long
async def test_row_31_every_role_restarted_in_turn_under_load_loses_and_doubles_nothing(
    settings: Settings, service: Make, tmp_path: Path, scale: float
) -> None:
    rows = round(ROWS * scale)
    roles = [
        service("ingest", settings),
        service("worker", worker(settings, "worker-1")),
        service("worker", worker(settings, "worker-2")),
        service("query", settings),
    ]
    for process in roles:
        process.start()
    for process in roles:
        await process.ready()
    restarts = 0
    async with load(settings, tmp_path / "journal", rows) as sender:
        while sender.poll() is None:
            process = roles[restarts % len(roles)]
            assert await asyncio.to_thread(process.terminate) == 0
            process.start()
            await process.ready()
            restarts += 1
    await drained(settings)
    verdict = await check(tmp_path / "journal", settings.database)
    assert restarts >= 2
    assert verdict.clean, verdict
    assert (verdict.promised, verdict.stored) == (rows, rows)
