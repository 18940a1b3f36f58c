"""Disks that run full: what was acknowledged is there once when there is room again. Needs root, for a small disk."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from services.local.valkey import ValkeyServer
from services.platform.settings import RedisSettings, Settings
from tests.conftest import whole
from tests.support import TestDatabase, eventually, free_port
from tests.support.faults import Make, drained, worker
from tests.support.readings import rows_in

pytestmark = pytest.mark.long

MIB = 1024 * 1024


class SmallDisk:
    """A disk of 16 MiB that can be filled and emptied."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, left: int) -> None:
        free = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - left)

    def empty(self) -> None:
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield SmallDisk(folder)
    subprocess.run(["umount", "-l", folder], check=True)


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
