"""Query on read replicas that stream from a primary: which server is asked, and that the answers stay right."""

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest

from services.platform.settings import QuerySettings, Settings
from tests.conftest import ABSENT
from tests.support import TestDatabase, eventually, free_port
from tests.support.query import EPOCH, asking, insert, owner, some_sensor
from tests.support.replica import Primary, ReplicaServer, reading_url
from tests.support.tier import computed, moved, tiered

ASKED = """
select count(*) from pg_stat_activity
where usename = 'millrace_reader' and (query like '%sensor_data%' or query like '%COPY%')
"""


@pytest.fixture
async def database(primary: Primary) -> AsyncIterator[TestDatabase]:
    """The started primary's database."""
    yield await primary.start()
    await primary.server.stop()


@pytest.fixture
async def replicas(primary: Primary, database: TestDatabase) -> AsyncIterator[list[ReplicaServer]]:
    """Two replicas of it."""
    both = [ReplicaServer(primary, database, ordinal) for ordinal in range(2)]
    for replica in both:
        await replica.start()
    yield both
    for replica in both:
        await replica.stop()


@pytest.fixture
def settings(database: TestDatabase, replicas: list[ReplicaServer]) -> Settings:
    """A query service that knows them, and takes a second of lag."""
    with_replicas = database.settings.model_copy(update={"replica_url": reading_url(replicas)})
    query = QuerySettings(host="127.0.0.1", port=free_port(), max_replica_lag=1.0)
    return Settings(database=with_replicas, query=query)


async def store(database: TestDatabase, sensor: str) -> None:
    """Write a reading of 2.5 to the primary."""
    async with owner(database) as connection:
        await insert(connection, sensor, [(timedelta(), 2.5)])


async def lowest(client: httpx.AsyncClient, sensor: str) -> float | None:
    """Ask for a sensor's least value; the question must be answered."""
    until = EPOCH + timedelta(days=1)
    span = {"sensor_id": sensor, "start": EPOCH.isoformat(), "end": until.isoformat()}
    answer = await client.get("/min", params=span)
    assert answer.status_code == 200, answer.text
    assert (await client.get("/hourly", params={"sensor_id": sensor})).status_code == 200
    # The last one has no transaction of its own, so that a server's activity goes on showing what it was asked.
    ranged = await client.get("/get_range", params=span)
    assert ranged.status_code == 200, ranged.text
    found: float | None = answer.json()["min_value"]
    return found


async def asked(replica: ReplicaServer, client: httpx.AsyncClient) -> bool:
    """Ask, and tell whether a replica has been asked since its start."""
    await lowest(client, "whoever")
    return bool(await replica.run(ASKED))


async def test_both_replicas_are_asked_and_the_primary_is_not(
    primary: Primary, database: TestDatabase, replicas: list[ReplicaServer], settings: Settings
) -> None:
    sensor = some_sensor()
    await store(database, sensor)
    async with asking(settings) as client:
        for replica in replicas:
            await eventually(partial(asked, replica, client), 30)
        await primary.run(f"select pg_terminate_backend(pid) from ({ASKED.replace('count(*)', 'pid')}) as reading")
        for _ in range(10):
            assert await lowest(client, sensor) == 2.5
        assert await primary.run(ASKED) == 0


async def test_a_replica_that_is_behind_is_not_asked_until_it_has_caught_up(
    database: TestDatabase, replicas: list[ReplicaServer], settings: Settings
) -> None:
    sensor = some_sensor()
    async with asking(settings) as client:
        await eventually(lambda: asked(replicas[0], client), 30)
        for replica in replicas:
            await replica.run("select pg_wal_replay_pause()")
        await store(database, sensor)
        # Within its allowance a replica may still answer with less; from then on nobody does.
        await eventually(lambda: _is(client, sensor, 2.5), 30)
        for _ in range(10):
            assert await lowest(client, sensor) == 2.5
        for replica in replicas:
            await replica.run(f"select pg_terminate_backend(pid) from ({ASKED.replace('count(*)', 'pid')}) as reading")
            await replica.run("select pg_wal_replay_resume()")
        await eventually(lambda: asked(replicas[1], client), 30)
        assert await lowest(client, sensor) == 2.5


async def _is(client: httpx.AsyncClient, sensor: str, value: float) -> bool:
    return await lowest(client, sensor) == value


async def test_the_loss_of_both_replicas_fails_no_question_and_they_are_asked_again_when_they_return(
    database: TestDatabase, replicas: list[ReplicaServer], settings: Settings
) -> None:
    sensor = some_sensor()
    await store(database, sensor)
    async with asking(settings) as client:
        await eventually(lambda: asked(replicas[0], client), 30)
        for replica in replicas:
            replica.kill()
            for _ in range(20):
                assert await lowest(client, sensor) == 2.5
        for replica in replicas:
            await replica.start()
            assert "following" in replica.log.read_text()
            await eventually(partial(asked, replica, client), 30)


async def test_while_the_primary_is_away_replicas_go_on_answering(
    primary: Primary, database: TestDatabase, replicas: list[ReplicaServer], settings: Settings
) -> None:
    sensor = some_sensor()
    await store(database, sensor)
    async with asking(settings) as client:
        await eventually(lambda: asked(replicas[0], client), 30)
        await eventually(lambda: _is(client, sensor, 2.5), 30)
        await primary.server.stop()
        for _ in range(20):
            assert await lowest(client, sensor) == 2.5
        assert (await client.get("/readyz")).status_code == 200
        await primary.server.start()


async def test_a_replica_whose_log_the_primary_kept_no_more_copies_anew(
    primary: Primary, replicas: list[ReplicaServer]
) -> None:
    lost = replicas[0]
    lost.kill()
    state = "select wal_status from pg_replication_slots where slot_name = 'replica_0'"

    async def is_lost() -> bool:
        await primary.run("select pg_logical_emit_message(false, 'x', repeat('x', 33554432))")
        await primary.run("select pg_switch_wal()")
        await primary.run("checkpoint")
        return await primary.run(state) == "lost"

    await eventually(is_lost, 60)
    await primary.run("create role after_the_loss")
    await lost.start()
    assert "cannot follow" in lost.log.read_text()
    assert await lost.run("select count(*) from pg_roles where rolname = 'after_the_loss'") == 1
    assert await primary.run(state) == "reserved"


async def test_a_copy_that_was_cut_short_begins_anew(replicas: list[ReplicaServer]) -> None:
    cut = replicas[0]
    cut.kill()
    (cut.folder / "data").rename(cut.folder / "data.new")
    await cut.start()
    assert "copying" in cut.log.read_text()
    assert await cut.run("select pg_is_in_recovery()") is True


async def test_replicas_answer_from_the_tier_where_the_primary_is_gone(
    primary: Primary, database: TestDatabase, replicas: list[ReplicaServer], settings: Settings, tmp_path: Path
) -> None:
    if database.mode != "timescaledb":
        pytest.skip(ABSENT["timescaledb"])
    sensor, settings = some_sensor(), tiered(settings, tmp_path)
    await store(database, sensor)
    await computed(database)
    async with asking(settings) as client:
        assert sum(chunk.rows for chunk in (await moved(settings)).moved) == 1
        for replica in replicas:
            await eventually(partial(_in_tier, replica), 30)
            await eventually(partial(_committed, replica, client), 30)
        await primary.server.stop()
        await eventually(lambda: _is(client, sensor, 2.5), 30)
        for _ in range(4):
            assert await lowest(client, sensor) == 2.5
        await primary.server.start()


async def _committed(replica: ReplicaServer, client: httpx.AsyncClient) -> bool:
    """Ask, and tell whether a replica has been asked in a transaction, as questions about the tier are."""
    await lowest(client, "whoever")
    asked = "select count(*) from pg_stat_activity where usename = 'millrace_reader' and query ilike 'commit%'"
    return bool(await replica.run(asked))


async def _in_tier(replica: ReplicaServer) -> bool:
    return bool(await replica.run("select count(*) from tier_files"))
