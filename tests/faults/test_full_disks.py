"""Disks that run full: what was acknowledged is there once when there is room again. Needs root, for a small disk."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from services.local.valkey import ValkeyServer
from services.platform.postgres.errors import DATABASE_AWAY
from services.platform.settings import RedisSettings, Settings
from tests.conftest import whole
from tests.support import TestDatabase, eventually, free_port
from tests.support.disks import SmallDisk, mounted
from tests.support.faults import Make, drained, load, worker
from tests.support.late import connected
from tests.support.moments import told
from tests.support.oracle import check
from tests.support.readings import rows_in
from tests.support.servers import installations, standalone

pytestmark = pytest.mark.long

MIB = 1024 * 1024
ROWS = 50_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with mounted(tmp_path / "small", 16) as made:
        yield made


@pytest.fixture
async def crowded(disk_of_database: SmallDisk, database_mode: str, what: str) -> AsyncIterator[TestDatabase]:
    """A database whose data, or whose write-ahead log alone, are on a disk that can be filled."""
    small = disk_of_database.folder
    folder = small if what == "data" else small.parent
    async with standalone(folder, database_mode, installations()[database_mode]) as made:
        if what == "log":
            await made.server.stop()
            written_ahead = made.server.folder / "pg_wal"
            shutil.copytree(written_ahead, small / "pg_wal", copy_function=shutil.copy2)
            shutil.rmtree(written_ahead)
            owner = made.server.folder.stat()
            for path in (small / "pg_wal", *(small / "pg_wal").rglob("*")):
                os.chown(path, owner.st_uid, owner.st_gid)
            written_ahead.symlink_to(small / "pg_wal")
            await made.server.start()
        yield made


@pytest.fixture
def disk_of_database() -> Iterator[SmallDisk]:
    folder = Path(tempfile.mkdtemp(prefix="millrace-tests-"))
    folder.chmod(0o711)
    with mounted(folder / "small", 512) as made:
        yield made
    shutil.rmtree(folder)


@pytest.mark.parametrize("what", ["data", "log"])
async def test_row_16_a_database_whose_disk_is_full_is_waited_for_and_nothing_is_lost_or_doubled(
    crowded: TestDatabase, disk_of_database: SmallDisk, redis_settings: RedisSettings, service: Make, what: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    settings = whole(crowded, redis_settings)
    async with service("ingest", settings), service("worker", worker(settings, "w")) as process:
        disk_of_database.fill(left=0)
        if what == "log":
            await written_full(crowded)
        async with load(settings, tmp_path / "journal", ROWS):
            await eventually(lambda: told(process, "database"), 60)
        assert await told(process, "database")
        disk_of_database.empty()
        if what == "log":
            # Without room for its log the database ends itself, or hangs where its recovery found none either, and
            # whoever looks after it starts it again.
            await crowded.server.stop()
            await crowded.server.start()
        await drained(settings)
        await process.ready()
    verdict = await check(tmp_path / "journal", settings.database)
    assert verdict.clean, verdict
    assert (verdict.promised, verdict.stored) == (ROWS, ROWS)


async def written_full(database: TestDatabase) -> None:
    """Use up the segments of the write-ahead log that lie ready, until the database can write none."""
    with contextlib.suppress(*DATABASE_AWAY, asyncpg.PostgresError):
        async with connected(database, "superuser") as superuser:
            for number in range(100):
                await superuser.execute(f"create table filling_{number} (); select pg_switch_wal()")
            pytest.fail("the log is not full")


async def test_row_11_a_stream_server_whose_disk_is_full_ends_and_nothing_acknowledged_is_lost(
    database: TestDatabase, disk: SmallDisk, service: Make
) -> None:
    # With `appendfsync always` Valkey cannot go on behind a write that failed, for it has promised every one before.
    valkey = ValkeyServer(disk.folder / "valkey", free_port(), "secret", 256 * MIB)
    await valkey.start()
    settings = whole(database, RedisSettings(url=SecretStr(valkey.url)))
    acknowledged: list[float] = []
    number = 0

    async def status(client: httpx.AsyncClient, settings: Settings) -> int:
        nonlocal number
        number += 1
        readings = [
            {"sensor_id": f"{number}-{row}-{'x' * 90}", "timestamp": "2026-10-22T21:00:00Z", "value": number}
            for row in range(500)
        ]
        answer = await client.post(f"http://127.0.0.1:{settings.ingest.port}/ingest", json=readings)
        if answer.status_code == 200:
            acknowledged.append(float(number))
        return answer.status_code

    async with service("ingest", settings), httpx.AsyncClient(timeout=30) as client:
        assert await status(client, settings) == 200
        disk.fill(left=300_000)
        seen = {await status(client, settings) for _ in range(20)}
        assert seen == {200, 503}
        await valkey.ended()
        disk.empty()
        await valkey.start()

        async def taken() -> bool:
            return await status(client, settings) == 200

        await eventually(taken)
        async with service("worker", worker(settings, "w")):
            await drained(settings)
    await valkey.stop()
    stored = [value for _, _, value in await rows_in(settings.database)]
    assert {value: stored.count(value) for value in acknowledged} == dict.fromkeys(acknowledged, 500)
    assert all(stored.count(value) == 500 for value in set(stored))
