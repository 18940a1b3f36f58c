"""The write on a primary whose commits wait for a standby: what only the primary has is not settled."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.contract import Outcome
from services.platform.postgres.errors import DATABASE_AWAY, UnreplicatedError
from services.platform.settings import Settings
from tests.support import TestDatabase, eventually
from tests.support.readings import entry_of, rows_in, sql
from tests.support.replica import Primary, ReplicaServer

from .test_transaction import outcomes, some, store_for, work_of

WAITING = "select pid from pg_stat_activity where usename = 'millrace_writer' and wait_event = 'SyncRep'"


@pytest.fixture
async def database(primary: Primary) -> AsyncIterator[TestDatabase]:
    """The started primary's database."""
    yield await primary.start()
    # Else the server would wait for the standby at its end.
    await primary.run("alter system reset synchronous_standby_names")
    await primary.run("select pg_reload_conf()")
    await primary.server.stop()


@pytest.fixture
async def standby(primary: Primary, database: TestDatabase) -> AsyncIterator[ReplicaServer]:
    """A standby that each commit waits for."""
    replica = ReplicaServer(primary, database, 0)
    await replica.start()
    await primary.run("alter system set synchronous_standby_names = '*'")
    await primary.run("select pg_reload_conf()")
    await eventually(lambda: primary.run("select sync_state = 'sync' from pg_stat_replication"))
    yield replica
    await replica.stop()


async def test_a_commit_that_is_cancelled_while_it_waits_for_the_standby_is_not_taken_for_one(
    primary: Primary, database: TestDatabase, standby: ReplicaServer
) -> None:
    store = await store_for(Settings(database=database.settings))
    work = work_of(entry_of(some(3)))
    await standby.stop()
    writing = asyncio.create_task(store.write(work))
    waiting = await eventually(lambda: primary.run(WAITING))
    await primary.run(f"select pg_cancel_backend({waiting})")
    with pytest.raises(UnreplicatedError):
        await writing
    # Here it is there for everybody, and to write it again finds it; that waits for the standby, too.
    assert await rows_in(database.settings) == some(3)
    again = asyncio.create_task(store.write(work))
    await eventually(lambda: primary.run(WAITING))
    assert not again.done()
    await standby.start()
    assert outcomes(await again) == [Outcome.DUPLICATE]
    assert await rows_in(database.settings) == some(3)
    assert await standby.run("select sum(rows) from ingest_ledger") == 3
    store.close()


async def test_a_server_that_dies_while_a_commit_waits_has_told_nobody_of_it(
    primary: Primary, database: TestDatabase, standby: ReplicaServer
) -> None:
    store = await store_for(Settings(database=database.settings))
    work = work_of(entry_of(some(3)))
    await standby.stop()
    writing = asyncio.create_task(store.write(work))
    waiting = await eventually(lambda: primary.run(WAITING))
    await primary.run(f"select pg_terminate_backend({waiting})")
    with pytest.raises(DATABASE_AWAY):
        await writing
    await standby.start()
    assert outcomes(await store.write(work)) == [Outcome.DUPLICATE]
    assert [row[0] for row in await sql(database.settings, "select sum(rows)::int from ingest_ledger")] == [3]
    store.close()
