"""Rollups on a Citus cluster: whatever dies between two nodes, no hour is told as right that a node shows otherwise."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest

from services.database.repair import rollups, settling
from services.database.repair.deletions import delete_once
from services.local.citus import Cluster
from services.local.postgres import PostgresServer
from services.platform.postgres.capability import capability
from services.platform.postgres.errors import DATABASE_FAILURES
from services.platform.settings import Settings
from tests.citus.test_nodes import fetch, killed_and_started
from tests.support import TestDatabase, eventually
from tests.support.faults import Failpoints, Make, chance
from tests.support.late import HOUR, connected, notes
from tests.support.rollups import (
    AGREE,
    CLOSE,
    DIFFERENT,
    SENSORS,
    agree,
    complete,
    copied,
    keep_until,
    keeper,
    kept,
    written,
)

BEGIN = datetime(2025, 10, 22, tzinfo=UTC)
DELETION = """
insert into deletions (
  deletion_id, sensor_ids, range_start, range_end, deleted_until, last_id, requested_at, requested_by, reason
) values (gen_random_uuid(), $1, $2, $3, $2, 9223372036854775807, now(), '', '')
"""
PREPARED = "select gid from pg_prepared_xacts where database = 'sensors'"


@pytest.fixture
def own(standing: tuple[Cluster, TestDatabase]) -> TestDatabase:
    """The database of a cluster of the test's own."""
    return standing[1]


@asynccontextmanager
async def unrecovered(cluster: Cluster) -> AsyncIterator[None]:
    """Have Citus leave alone in the block what is prepared: it recovers once at a time, and this time does not end."""
    connection = await asyncpg.connect(cluster.coordinator.url("postgres", cluster.password))
    try:
        async with connection.transaction():
            await connection.execute("select recover_prepared_transactions()")
            yield
    finally:
        await connection.close()


@asynccontextmanager
async def paused(cluster: Cluster, node: PostgresServer, role: str) -> AsyncIterator[None]:
    """Have a node not answer the transactions of a role that are under way."""
    writing = f"select pid from pg_stat_activity where usename = '{role}' and state like 'idle in%'"
    held = [row["pid"] for row in await fetch(node, cluster.password, writing)]
    assert held
    for pid in held:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in held:
            os.kill(pid, signal.SIGCONT)


async def prepared(cluster: Cluster, node: PostgresServer) -> bool:
    return bool(await fetch(node, cluster.password, PREPARED))


async def shown(own: TestDatabase) -> tuple[int, int]:
    """Return how many readings the rows have, and how many all hours together."""
    async with connected(own, "reader") as reader:
        found = await reader.fetchrow(AGREE)
        return found["stored"], found["hours"]


async def none_prepared(cluster: Cluster) -> bool:
    return not any([await prepared(cluster, node) for node in cluster.nodes])


async def decided(cluster: Cluster, role: str, commit: Any) -> None:
    """Await a commit of a role, in which the first node dies when it has prepared its part, the second one has not."""
    first, second = cluster.nodes
    async with paused(cluster, second, role):
        committing = asyncio.ensure_future(commit)
        await eventually(lambda: prepared(cluster, first), 20)
        await killed_and_started(first)
        assert await prepared(cluster, first)
    await committing


@asynccontextmanager
async def shown_late(cluster: Cluster, writer: Any, *times: datetime) -> AsyncIterator[None]:
    """Have readings be committed when the block begins, and the first node not show its part before the block ends."""
    async with unrecovered(cluster):
        transaction = writer.transaction()
        await transaction.start()
        await copied(writer, *times)
        await decided(cluster, "millrace_writer", transaction.commit())
        yield
    await eventually(lambda: none_prepared(cluster), 30)


async def test_a_part_that_a_node_shows_late_is_in_the_buckets_in_the_end(
    cluster: Cluster, own: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "SETTLING", 1.0)
    async with connected(own, "writer") as writer, connected(own, "owner") as owner, keeper(own) as one:
        await written(writer, BEGIN)
        await kept(own)
        async with shown_late(cluster, writer, BEGIN):
            assert await notes(own) == 1
            stored, hours = await shown(own)
            assert len(SENSORS) < stored == hours < 2 * len(SENSORS)
            for _ in range(2):
                assert (await one.round()).waiting == 1
            assert await notes(own) == 1
        assert await shown(own) == (2 * len(SENSORS),) * 2
        await kept(own)
        await agree(owner)
        assert await owner.fetchval("select sum(samples) from sensor_rollup_1h") == 2 * len(SENSORS)


async def test_what_was_written_before_the_first_hour_was_closed_and_is_shown_late_is_in_the_history(
    cluster: Cluster, own: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no note."""
    monkeypatch.setattr(settling, "SETTLING", 1.0)
    async with connected(own, "writer") as writer, connected(own, "owner") as owner, keeper(own) as one:
        async with shown_late(cluster, writer, BEGIN, datetime.now(UTC) - 3 * HOUR):
            assert await notes(own) == 0
            for _ in range(3):
                await one.round()
            assert await owner.fetchval("select count(*) from sensor_rollup_1h") == 0
            assert not await owner.fetchval("select computed_from < computed_until from rollup_state")
        await kept(own)
        await agree(owner)
        assert await owner.fetchval("select sum(samples) from sensor_rollup_1h") == 2 * len(SENSORS)


async def test_a_deletion_waits_for_what_a_node_does_not_show_yet(
    cluster: Cluster, own: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "SETTLING", 1.0)
    async with connected(own, "writer") as writer, connected(own, "owner") as owner:
        able = await capability(owner)
        async with shown_late(cluster, writer, BEGIN):
            await owner.execute(DELETION, SENSORS, BEGIN, BEGIN + HOUR)
            assert await delete_once(owner, able) == 1
            assert "prepared transactions are not over yet" in await owner.fetchval("select problem from deletions")
        assert await owner.fetchval("select count(*) from sensor_data") == len(SENSORS)
        assert await delete_once(owner, able) == 0
        assert await owner.fetchval("select count(*) from sensor_data") == 0


async def test_a_note_stays_while_a_node_shows_the_bucket_of_before(
    cluster: Cluster, own: TestDatabase, settings: Settings, service: Make, failpoints: Failpoints
) -> None:
    async with connected(own, "writer") as writer, connected(own, "owner") as owner:
        await written(writer, BEGIN)
        await kept(own)
        await written(writer, BEGIN, value=2.0)
        async with unrecovered(cluster):
            failpoints.arm("rollups.before_commit", "stop")
            quick = settings.model_copy(update={"repair": settings.repair.model_copy(update={"interval": 0.1})})
            process = failpoints.given_to(service("repair", quick))
            process.start()
            await failpoints.fired("rollups.before_commit")

            async def commit() -> None:
                assert process.process
                process.process.send_signal(signal.SIGCONT)

            await decided(cluster, "millrace_owner", commit())
            # Its buckets are committed, and the first node shows those of before.
            await eventually(lambda: _some_new(owner), 30)
            samples = await owner.fetch("select distinct samples from sensor_rollup_1h order by 1")
            assert [row[0] for row in samples] == [1, 2]
            for _ in range(20):
                assert await notes(own) == 1
                await agree(owner)
                await asyncio.sleep(0.1)
        await eventually(partial(complete, owner), 60)
        await agree(owner)
        assert await owner.fetchval(DIFFERENT) == 0
        assert process.terminate() == 0


async def _some_new(owner: Any) -> bool:
    with suppress(asyncpg.PostgresError):
        return bool(await owner.fetchval("select max(samples) = 2 from sensor_rollup_1h"))
    return False


async def test_a_range_stays_while_a_node_is_down_and_is_right_when_it_is_back(
    cluster: Cluster, own: TestDatabase
) -> None:
    async with connected(own, "writer") as writer, connected(own, "owner") as owner, keeper(own) as one:
        await written(writer, BEGIN)
        await kept(own)
        await written(writer, BEGIN, BEGIN + 30 * HOUR, value=2.0)
        node = cluster.nodes[0]
        assert node.process
        node.process.kill()
        await node.ended()
        for _ in range(2):
            assert (await one.round()).waiting == 2
        await node.start()
        assert await notes(own) == 2
        await kept(own)
        await agree(owner)
        assert await owner.fetchval(DIFFERENT) == 0
        assert await owner.fetchval("select sum(samples) from sensor_rollup_1h") == 3 * len(SENSORS)


async def test_hours_are_right_in_the_end_whichever_nodes_are_killed_while_they_are_written_and_computed(
    cluster: Cluster, own: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "CLOSE", CLOSE)
    dice, done = chance(), asyncio.Event()
    seeds = [dice.getrandbits(32) for _ in range(5)]
    working = [asyncio.create_task(_writing(own, random.Random(seed), done)) for seed in seeds[:3]]
    working += [asyncio.create_task(keep_until(done, own)) for _ in range(2)]
    for number in range(5):
        await asyncio.sleep(dice.uniform(0.5, 2.5))
        await killed_and_started(cluster.servers[number % 3])
    await asyncio.sleep(2)
    done.set()
    await asyncio.gather(*working)
    await eventually(lambda: none_prepared(cluster), 60)
    await kept(own)
    async with connected(own, "owner") as owner:
        await agree(owner)
        assert await owner.fetchval(DIFFERENT) == 0
        assert await owner.fetchval("select sum(samples) from sensor_rollup_1h") > 20 * len(SENSORS)


async def _writing(own: TestDatabase, choice: random.Random, done: asyncio.Event) -> None:
    """Write hours, some of them again; what becomes of a commit that is cut short is not asked."""
    while not done.is_set():
        with suppress(*DATABASE_FAILURES):
            async with connected(own, "writer") as writer:
                while not done.is_set():
                    await written(writer, BEGIN + timedelta(hours=choice.uniform(0, 330)), value=choice.randrange(100))
                    await asyncio.sleep(choice.uniform(0, 0.02))
        await asyncio.sleep(0.1)


async def test_a_deletion_of_one_sensor_is_committed_in_two_phases_with_its_notes(own: TestDatabase) -> None:
    said: list[str] = []
    async with connected(own, "writer") as writer, connected(own, "owner") as owner:
        await written(writer, BEGIN)
        await kept(own)
        await owner.execute(DELETION, SENSORS[:1], BEGIN, BEGIN + HOUR)
        owner.add_log_listener(lambda _, message: said.append(str(message)))
        await owner.execute("set client_min_messages = notice; set citus.log_remote_commands = on")
        assert await delete_once(owner, await capability(owner)) == 0
        assert any("PREPARE TRANSACTION" in line for line in said)
        await owner.execute("set citus.log_remote_commands = off")
        assert await notes(own) == 1
        await agree(owner)
        await kept(own)
        assert await owner.fetchval("select count(*) from sensor_rollup_1h") == len(SENSORS) - 1
