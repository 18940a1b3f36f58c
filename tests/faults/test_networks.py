"""Packets that vanish: no reset, no farewell, and the other side keeps its half of each connection."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from services.local.valkey import ValkeyServer
from services.platform.settings import RedisSettings, Settings
from services.platform.stream import redis_client
from tests.conftest import whole
from tests.support import Service, TestDatabase, eventually
from tests.support.faults import Failpoints, Make, chance, drained, load, worker
from tests.support.late import connected
from tests.support.moments import counted, send, stored_once, told
from tests.support.network import RANGE, Network, lacking, network
from tests.support.oracle import check
from tests.support.proxy import proxied
from tests.support.readings import rows_in
from tests.support.servers import installations, standalone

pytestmark = pytest.mark.long

ROWS = 20_000


@pytest.fixture(scope="module")
def possible() -> None:
    """Skip where root may not do what is needed."""
    if why := lacking():
        pytest.skip(why)


@pytest.fixture
def cut_off(possible: None) -> Iterator[Network]:  # noqa: ARG001 -- a condition
    with network() as made:
        yield made


@pytest.fixture
async def reached(cut_off: Network, open_folder: Path, database_mode: str) -> AsyncIterator[TestDatabase]:
    """A database of the test's own that can be reached from the namespace."""
    installation = installations()[database_mode]
    async with standalone(
        open_folder, database_mode, installation, listen_addresses=f"127.0.0.1,{cut_off.near}"
    ) as made:
        with (made.server.folder / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {RANGE} scram-sha-256\n")
        made.server.signal(signal.SIGHUP)
        yield made


@pytest.fixture
def settings(reached: TestDatabase, valkey: ValkeyServer) -> Settings:
    return whole(reached, RedisSettings(url=SecretStr(valkey.url)))


def inside(settings: Settings, cut_off: Network, role: str) -> Settings:
    """Return the settings of a role that runs in the namespace: it listens there, and finds both servers from there."""

    def seen(url: SecretStr) -> SecretStr:
        return SecretStr(url.get_secret_value().replace("@127.0.0.1:", f"@{cut_off.near}:"))

    database, section = settings.database, getattr(settings, role)
    urls = {"writer_url": seen(database.writer_url), "reader_url": seen(database.reader_url)}
    return settings.model_copy(
        update={
            "database": database.model_copy(update=urls),
            "redis": settings.redis.model_copy(update={"url": seen(settings.redis.url), "timeout": 2.0}),
            role: section.model_copy(update={"host": cut_off.far}),
        }
    )


def hurried(settings: Settings) -> Settings:
    quick = settings.worker.model_copy(update={"transaction_timeout": 2.0})
    return settings.model_copy(update={"worker": quick})


async def open_to(cut_off: Network, valkey: ValkeyServer, settings: Settings) -> int:
    """Let the stream's server listen to the namespace, and return its port."""
    port = int(valkey.url.rpartition(":")[2].partition("/")[0])
    async with redis_client(settings.redis) as client:
        await client.config_set("bind", f"127.0.0.1 {cut_off.near}")
    return port


async def sessions(database: TestDatabase, cut_off: Network) -> int:
    """Count the workers' sessions that the database believes to have with the namespace."""
    query = "select count(*) from pg_stat_activity where usename = 'millrace_writer' and client_addr = $1"
    async with connected(database, "superuser") as superuser:
        return int(await superuser.fetchval(query, IPv4Address(cut_off.far)))


def resume(process: Service) -> None:
    assert process.process
    process.process.send_signal(signal.SIGCONT)


@contextlib.asynccontextmanager
async def before_commit(
    settings: Settings, valkey: ValkeyServer, cut_off: Network, service: Make, failpoints: Failpoints, name: str
) -> AsyncIterator[Service]:
    """Yield a worker in the namespace that has stopped before its COMMIT, with readings sent."""
    await open_to(cut_off, valkey, settings)
    far = service("worker", inside(worker(hurried(settings), name), cut_off, "worker"))
    async with service("ingest", settings), cut_off.given_to(failpoints.given_to(far)):
        failpoints.arm("worker.before_commit", "stop")
        await send(settings)
        await failpoints.fired("worker.before_commit")
        yield far


async def test_row_19_a_worker_whose_packets_to_the_stream_vanish_leaves_its_entries_to_another(
    settings: Settings, valkey: ValkeyServer, cut_off: Network, service: Make, failpoints: Failpoints
) -> None:
    port = await open_to(cut_off, valkey, settings)
    far = service("worker", inside(worker(settings, "cut off"), cut_off, "worker"))
    async with service("ingest", settings), cut_off.given_to(failpoints.given_to(far)):
        failpoints.arm("worker.after_commit", "stop")
        await send(settings)
        await failpoints.fired("worker.after_commit")
        cut_off.drop(port)
        resume(far)
        async with service("worker", worker(settings, "heir")) as heir:
            await stored_once(settings)
            assert await counted(heir, "millrace_batches_duplicate_total") == 1
            await eventually(lambda: told(far, "stream"), 60)
            cut_off.heal()
            await far.ready(60)
        await send(settings)
        await drained(settings)
    assert len(await rows_in(settings.database)) == 20


async def test_row_20_sessions_of_a_worker_whose_packets_vanish_are_ended_by_the_database_and_others_go_on(
    settings: Settings, reached: TestDatabase, valkey: ValkeyServer, cut_off: Network, service: Make,
    failpoints: Failpoints,
) -> None:  # fmt: skip
    async with before_commit(settings, valkey, cut_off, service, failpoints, "cut off") as far:
        assert await sessions(reached, cut_off)
        cut_off.drop(reached.server.port)
        async with service("worker", worker(settings, "heir")):
            await stored_once(settings)
        resume(far)

        async def gone() -> bool:
            return not await sessions(reached, cut_off)

        # Neither side hears of the other: the server's limits and keepalives end what the worker left behind.
        await eventually(gone, 60)
        await eventually(lambda: told(far, "database"), 60)
        await send(settings)
        cut_off.heal()
        await drained(settings)
        await far.ready(60)
    assert len(await rows_in(settings.database)) == 20


async def test_row_18_a_commit_whose_reply_vanishes_is_resolved_by_the_ledger(
    settings: Settings, reached: TestDatabase, valkey: ValkeyServer, cut_off: Network, service: Make,
    failpoints: Failpoints,
) -> None:  # fmt: skip
    async with before_commit(settings, valkey, cut_off, service, failpoints, "w") as far:
        cut_off.drop(reached.server.port, answers_only=True)
        resume(far)
        await eventually(lambda: rows_in(settings.database))
        await eventually(lambda: told(far, "database"), 60)
        cut_off.heal()
        await stored_once(settings)
        assert await counted(far, "millrace_batches_duplicate_total") == 1


@pytest.mark.parametrize("answers_only", [False, True], ids=["both_ways", "answers_only"])
async def test_row_21_an_ingest_whose_packets_to_the_stream_vanish_answers_503_in_time_and_a_repeat_is_stored_once(
    settings: Settings, valkey: ValkeyServer, cut_off: Network, service: Make, *, answers_only: bool
) -> None:
    port = await open_to(cut_off, valkey, settings)
    far = inside(settings, cut_off, "ingest")
    async with service("worker", worker(settings, "w")), cut_off.given_to(service("ingest", far)) as process:
        cut_off.drop(port, answers_only=answers_only)
        assert (await send(far, "order-1")).status_code == 503
        await eventually(lambda: told(process, "stream"))
        cut_off.heal()

        async def taken() -> bool:
            return (await send(far, "order-1")).status_code == 200

        await eventually(taken, 30)
        await stored_once(settings)


async def test_row_22_a_slow_and_lossy_network_loses_and_doubles_nothing(
    database: TestDatabase, redis_settings: RedisSettings, cut_off: Network, service: Make, tmp_path: Path, scale: float
) -> None:
    dice = chance()
    rows = round(ROWS * scale)
    settings = whole(database, redis_settings)
    stream, store = (httpx.URL(url.get_secret_value()) for url in (redis_settings.url, settings.database.writer_url))
    async with (
        proxied("127.0.0.1", stream.port or 0, cut_off.near) as slow_stream,
        proxied("127.0.0.1", store.port or 0, cut_off.near) as slow_store,
    ):
        slow_stream.latency = slow_store.latency = lambda: dice.uniform(0.05, 0.15)

        def far(settings: Settings, role: str) -> Service:
            moved = inside(settings, cut_off, role)
            redis = str(stream.copy_with(host=cut_off.near, port=slow_stream.port))
            urls = {
                name: SecretStr(
                    getattr(moved.database, name).get_secret_value().replace(f":{store.port}/", f":{slow_store.port}/")
                )
                for name in ("writer_url", "reader_url")
            }
            update = {
                "redis": settings.redis.model_copy(update={"url": SecretStr(redis)}),
                "database": moved.database.model_copy(update=urls),
            }
            return cut_off.given_to(service(role, moved.model_copy(update=update)))

        ingest = far(settings, "ingest")
        async with ingest, far(worker(settings, "worker-1"), "worker"), far(worker(settings, "worker-2"), "worker"):
            cut_off.lose(5)
            async with load(ingest.settings, tmp_path / "journal", rows) as sender:
                await asyncio.to_thread(sender.wait)
            await drained(settings)
            cut_off.heal()
    verdict = await check(tmp_path / "journal", settings.database)
    assert verdict.clean, verdict
    assert (verdict.promised, verdict.stored) == (rows, rows)
