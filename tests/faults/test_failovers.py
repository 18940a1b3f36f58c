"""The stream moves to another server, behind Sentinels or in a cluster; services follow, and judge it anew."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from redis.exceptions import RedisError

from services.contract import StreamNames
from services.platform.settings import RedisSettings, Settings
from services.platform.stream import redis_client, server_of
from tests.conftest import whole
from tests.support import TestDatabase, eventually
from tests.support.discovery import PASSWORD, Node, Sentinel, clustered, guarded, owner
from tests.support.faults import Make, drained, load, worker
from tests.support.ingest import READING
from tests.support.oracle import check

pytestmark = pytest.mark.long

ROWS = 100_000
Guarded = tuple[list[Node], list[Sentinel], str]


@pytest.fixture
async def behind_sentinels(tmp_path: Path) -> AsyncIterator[Guarded]:
    async with guarded(tmp_path) as found:
        yield found


def on(database: TestDatabase, url: str, replicas: int = 0) -> Settings:
    """Return settings with the stream at an address, durable on so many replicas too."""
    return whole(database, RedisSettings(url=SecretStr(url), durable_replicas=replicas))


async def moved(settings: Settings, node: Node) -> bool:
    """Tell whether the stream is at a node now, and takes writes there."""
    async with contextlib.aclosing(redis_client(settings.redis)) as client:
        try:
            await client.set(StreamNames().probe, "", ex=60)
        except (RedisError, OSError):
            return False
        return server_of(client) == ("127.0.0.1", node.port)


async def written(nodes: list[Node]) -> None:
    """Wait until the load has reached the stream."""

    async def some() -> bool:
        return int((await nodes[0].ask("HGET", StreamNames().totals, "accepted")) or 0) > ROWS // 20

    await eventually(some, 60)


async def test_row_12_a_coordinated_failover_under_load_loses_and_doubles_nothing(
    database: TestDatabase, behind_sentinels: Guarded, service: Make, tmp_path: Path
) -> None:
    """The primary takes no writes until its replica has all of them, so nothing acknowledged is left behind."""
    [primary, replica], sentinels, url = behind_sentinels
    settings = on(database, url)
    async with service("ingest", settings), service("worker", worker(settings, "worker-1")):
        async with load(settings, tmp_path / "journal", ROWS) as sender:
            await written([primary])
            await sentinels[0].ask("SENTINEL", "FAILOVER", "mymaster", "COORDINATED")
            await eventually(lambda: moved(settings, replica), 60)
            assert sender.poll() is None, "the load ended before the failover"
        await drained(settings)
    verdict = await check(tmp_path / "journal", settings.database)
    assert verdict.clean, verdict
    assert verdict.stored == ROWS


async def test_row_12_a_killed_primary_whose_replica_had_fsynced_what_was_durable_loses_and_doubles_nothing(
    database: TestDatabase, behind_sentinels: Guarded, service: Make, tmp_path: Path
) -> None:
    [primary, replica], _, url = behind_sentinels
    settings = on(database, url, replicas=1)
    async with service("ingest", settings), service("worker", worker(settings, "worker-1")):
        async with load(settings, tmp_path / "journal", ROWS) as sender:
            await written([primary])
            await primary.kill()
            assert sender.poll() is None, "the load ended before the fault"
            await eventually(lambda: moved(settings, replica), 60)
            # It comes back as a replica; until then nothing more is durable.
            await primary.start()
        await drained(settings)
    verdict = await check(tmp_path / "journal", settings.database)
    assert verdict.clean, verdict
    assert verdict.stored == ROWS


async def test_row_12_a_new_primary_that_keeps_its_word_less_well_is_refused_until_it_does(
    database: TestDatabase, service: Make, tmp_path: Path
) -> None:
    async with guarded(tmp_path, "appendonly no") as ([_, replica], sentinels, url):
        settings = on(database, url)
        async with service("ingest", settings) as ingest, httpx.AsyncClient(base_url=ingest.url) as client:
            answers: list[int] = []

            async def send() -> bool:
                answers.append((await client.post("/ingest", json=[READING])).status_code)
                return answers[-1] == 200

            async def refused() -> bool:
                await send()
                return "neither fsync" in str((await client.get("/readyz")).json())

            assert await send()
            await sentinels[0].ask("SENTINEL", "FAILOVER", "mymaster")
            await eventually(refused, 60)
            assert set(answers) == {200, 503}
            assert answers == sorted(answers), "it was written to before it had been judged"
            await replica.ask("CONFIG", "SET", "appendonly", "yes")
            await eventually(send, 60)


async def test_row_12_a_slot_that_moves_to_another_node_under_load_loses_and_doubles_nothing(
    database: TestDatabase, service: Make, tmp_path: Path
) -> None:
    async with clustered(tmp_path) as (nodes, url):
        settings = on(database, url)
        async with service("ingest", settings), service("worker", worker(settings, "worker-1")):
            async with load(settings, tmp_path / "journal", ROWS) as sender:
                there = await owner(nodes, StreamNames().stream)
                await written([there])
                goal = next(node for node in nodes if node is not there)
                await migrate(nodes, there, goal)
                assert sender.poll() is None, "the load ended before the slot had moved"
                await eventually(lambda: moved(settings, goal), 60)
            await drained(settings)
        verdict = await check(tmp_path / "journal", settings.database)
    assert verdict.clean, verdict
    assert verdict.stored == ROWS


async def migrate(nodes: list[Node], there: Node, goal: Node) -> None:
    """Move the stream's slot key by key, as redis-cli does."""
    slot = await there.ask("CLUSTER", "KEYSLOT", StreamNames().stream)
    source, target = await there.ask("CLUSTER", "MYID"), await goal.ask("CLUSTER", "MYID")
    await goal.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source)
    await there.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target)
    while keys := await there.ask("CLUSTER", "GETKEYSINSLOT", slot, 10):
        await there.ask("MIGRATE", "127.0.0.1", goal.port, "", 0, 10_000, "AUTH", PASSWORD, "KEYS", *keys)
    for node in (goal, *(node for node in nodes if node is not goal)):
        await node.ask("CLUSTER", "SETSLOT", slot, "NODE", target)


async def test_row_12_a_clusters_failover_under_load_loses_and_doubles_nothing(
    database: TestDatabase, service: Make, tmp_path: Path
) -> None:
    """CLUSTER FAILOVER holds writes until the replica has all of them; the killed node then is away for good."""
    async with clustered(tmp_path, replicated=StreamNames().stream) as (nodes, url):
        settings = on(database, url)
        async with service("ingest", settings), service("worker", worker(settings, "worker-1")):
            async with load(settings, tmp_path / "journal", ROWS) as sender:
                there, replica = await owner(nodes, StreamNames().stream), nodes[-1]
                await written([there])
                await replica.ask("CLUSTER", "FAILOVER")
                await eventually(lambda: moved(settings, replica), 60)
                await there.kill()
                assert sender.poll() is None, "the load ended before the failover"
            await drained(settings)
        verdict = await check(tmp_path / "journal", settings.database)
    assert verdict.clean, verdict
    assert verdict.stored == ROWS
