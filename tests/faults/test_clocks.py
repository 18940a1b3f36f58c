"""One clock goes wrong by an hour, while everything runs."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from services.local.valkey import ValkeyServer
from services.platform.settings import RedisSettings, Settings
from services.platform.stream import redis_client
from tests.conftest import whole
from tests.support import Service, TestDatabase, eventually, free_port
from tests.support.clocks import Clock
from tests.support.faults import Failpoints, Make, drained, worker
from tests.support.ingest import READING
from tests.support.moments import counted, send
from tests.support.readings import rows_in

pytestmark = pytest.mark.long


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
async def stream_server(tmp_path: Path, clock: Clock, role: str) -> AsyncIterator[ValkeyServer]:
    """A Valkey of the test's own, which goes by the clock where the row is about it."""
    server = ValkeyServer(tmp_path / "own" / "valkey", free_port(), "secret", 256 * 1024 * 1024)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in clock.variables.items() if role == "stream" else ():
            patch.setenv(name, value)
        await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize("hours", [-1, 1], ids=["back", "ahead"])
@pytest.mark.parametrize("role", ["ingest", "worker", "stream"])
async def test_row_30_a_clock_that_steps_by_an_hour_loses_and_doubles_nothing(
    database: TestDatabase, stream_server: ValkeyServer, clock: Clock, service: Make, failpoints: Failpoints,
    role: str, hours: int,
) -> None:  # fmt: skip
    settings = whole(database, RedisSettings(url=SecretStr(stream_server.url)))

    def part(command: str, settings: Settings) -> Service:
        made = service(command, settings)
        return clock.given_to(made) if role == command else made

    victim, heir = (part("worker", worker(settings, name)) for name in ("victim", "heir"))
    async with part("ingest", settings), failpoints.given_to(victim):
        assert (await send(settings, "before")).status_code == 200
        await drained(settings)
        # One batch is on its way while the clock steps: committed, not acknowledged, and its worker is gone.
        failpoints.arm("worker.after_commit", "stop")
        assert (await send(settings, "on its way")).status_code == 200
        await failpoints.fired("worker.after_commit")
        clock.step(hours)
        if role == "stream":
            await eventually(lambda: _stepped(settings, hours))
        victim.kill()
        async with heir:
            for key in ("before", "on its way", "after"):
                assert (await send(settings, key)).status_code == 200
            assert await _taken_at(settings, hours if role == "ingest" else 0)
            if (role, hours) == ("stream", -1):
                # The server reckons idle time by its clock: what was held then waits until it has caught up.
                await eventually(lambda: _stored(settings, 31))
                clock.step(0)
            await drained(settings)
            await eventually(lambda: _counted(heir))
    assert len(await rows_in(settings.database)) == 31


async def _stepped(settings: Settings, hours: int) -> bool:
    async with redis_client(settings.redis) as client:
        seconds, _ = await client.time()
    return abs(int(seconds) - time.time() - 3600 * hours) < 60


async def _stored(settings: Settings, rows: int) -> bool:
    return len(await rows_in(settings.database)) == rows


async def _counted(heir: Service) -> bool:
    """Tell whether what was on its way was found in the ledger; of repeats ingest found that itself."""
    return await counted(heir, "millrace_batches_duplicate_total") == 1


async def _taken_at(settings: Settings, hours: int) -> bool:
    """Tell whether ingest takes what lies five minutes ahead of its own clock, and not what lies fifteen ahead."""
    now = datetime.now(UTC) + timedelta(hours=hours)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.ingest.port}") as client:
        statuses = [
            (await client.post("/ingest", json=[{**READING, "timestamp": (now + ahead).isoformat()}])).status_code
            for ahead in (timedelta(minutes=5), timedelta(minutes=15))
        ]
    return statuses == [200, 422]
