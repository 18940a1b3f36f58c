"""More than can be taken: the answer is a refusal that says when to come back, memory stays flat, others are served."""

import asyncio
import gzip
import random
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import psutil
import pytest
import zstandard
from pydantic import SecretStr

from services.contract import StreamNames
from services.local.valkey import ValkeyServer
from services.platform.settings import RedisSettings, Settings
from services.platform.stream import Stream, redis_client
from tests.conftest import whole
from tests.support import Service, TestDatabase, eventually
from tests.support.faults import Make, chance, drained, load, worker
from tests.support.ingest import JSON, READING
from tests.support.oracle import check
from tests.support.readings import rows_in

pytestmark = pytest.mark.long

MIB = 1024 * 1024
IDLE = 10_000


def memory(process: Service) -> int:
    """Return the resident bytes of a running process."""
    assert process.process
    return int(psutil.Process(process.process.pid).memory_info().rss)


@pytest.fixture
async def small(database: TestDatabase, valkey: ValkeyServer) -> AsyncIterator[tuple[Settings, Stream]]:
    """A stream on a server with 20 MB."""
    settings = whole(database, RedisSettings(url=SecretStr(valkey.url)))
    async with redis_client(settings.redis) as client:
        await client.config_set("maxmemory", 20_000_000)
        yield settings, Stream(client, StreamNames(settings.redis.stream))


def body(dice: random.Random) -> bytes:
    """Return readings that the contract cannot make small."""
    return gzip.compress(
        b"[%s]" % b",".join(
            b'{"sensor_id":"%032x","timestamp":"2026-10-22T21:00:00Z","value":1.5}' % dice.getrandbits(128)
            for _ in range(2_000)
        ),
        1,
    )  # fmt: skip


async def test_row_10_a_server_that_runs_full_is_answered_429_and_drains_alone(
    small: tuple[Settings, Stream], service: Make
) -> None:
    settings, stream = small
    dice = chance()
    bodies = [body(dice) for _ in range(10)]
    statuses: Counter[int] = Counter()
    taken = 0

    async def flood(client: httpx.AsyncClient) -> None:
        nonlocal taken
        # The server may run full between two looks at it; the next look then sees it.
        while statuses[429] < 50:
            answer = await client.post(
                "/ingest", content=dice.choice(bodies), headers={**JSON, "Content-Encoding": "gzip"}
            )
            statuses[answer.status_code] += 1
            taken += answer.json()["accepted"] if answer.status_code == 200 else 0
            assert answer.status_code == 200 or int(answer.headers["retry-after"]) >= 1

    url = f"http://127.0.0.1:{settings.ingest.port}"
    async with service("ingest", settings), httpx.AsyncClient(base_url=url, timeout=20) as client:
        await asyncio.gather(*(flood(client) for _ in range(8)))
        assert statuses.keys() <= {200, 429, 503}, statuses
        assert statuses[429], statuses
        used, limit = await stream.memory()
        # The server takes one entry that leads past its limit, and none behind it.
        assert limit == 20_000_000
        assert used < limit + 2_000_000
        async with service("worker", worker(settings, "w")):
            await drained(settings)

            async def open_again() -> bool:
                return (await client.post("/ingest", json=[READING])).status_code == 200

            await eventually(open_again)
            await drained(settings)
    assert len(await rows_in(settings.database)) == taken + 1


async def test_row_27_a_backlog_stays_within_its_limit_under_ten_times_what_is_drained(
    settings: Settings, stream_of: Stream, service: Make, tmp_path_factory: pytest.TempPathFactory, scale: float
) -> None:
    limit = 20
    rows = round(40_000 * scale)
    tight = settings.ingest.model_copy(update={"backlog_entries": limit, "entry_rows": 200})
    settings = settings.model_copy(update={"ingest": tight})
    slow = worker(settings, "slow", batch_rows=200, batch_entries=1)
    journal = tmp_path_factory.mktemp("journal") / "journal"
    most = 0
    async with service("ingest", settings), service("worker", slow):
        async with load(settings, journal, rows) as sender:

            async def sent() -> bool:
                nonlocal most
                most = max(most, (await stream_of.backlog()).entries)
                return sender.poll() is not None

            await eventually(sent, 150 + rows / 2_000)
        await drained(settings)
    verdict = await check(journal, settings.database)
    assert verdict.clean, verdict
    assert verdict.stored == rows
    # It is looked at twice a second; what comes meanwhile is let in.
    assert most < 100 * limit, most


@pytest.fixture
async def stream_of(settings: Settings) -> AsyncIterator[Stream]:
    async with redis_client(settings.redis) as client:
        yield Stream(client, StreamNames(settings.redis.stream))


async def test_row_35_ten_thousand_silent_connections_and_bombs_leave_room_for_others(
    settings: Settings, service: Make
) -> None:
    async with service("ingest", settings) as process:
        before = memory(process)
        crowd = asyncio.gather(*(silent(settings.ingest.port) for _ in range(IDLE)))
        bombs = [
            ("gzip", gzip.compress(b"[" + b" " * (200 * MIB), 9)),
            ("zstd", zstandard.compress(b"[" + b" " * (500 * MIB))),
        ]
        url = f"http://127.0.0.1:{settings.ingest.port}"
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            peak = before
            for _ in range(5):
                for encoding, bomb in bombs:
                    headers = {**JSON, "Content-Encoding": encoding}
                    assert (await client.post("/ingest", content=bomb, headers=headers)).status_code == 413
                    assert (await client.post("/ingest", json=[READING])).status_code == 200
                    peak = max(peak, memory(process))
        assert sum(await crowd) == IDLE, "each of them is closed by the server in the end"
        assert peak - before < 400 * MIB, f"{peak / MIB:.0f} MiB"
        await eventually(lambda: memory(process) - before < 250 * MIB)


async def silent(port: int) -> bool:
    """Connect, send half a request line, and tell whether the server ended it."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /ing")
        async with asyncio.timeout(90):
            await reader.read()
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    writer.close()
    return True
