"""Rebuilding continuous aggregates on a real TimescaleDB: beside the old one, then a swap of names."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from services.operator.planning.steps import Plan
from services.operator.reconcile.apply import reconcile_aggregate
from services.operator.reconcile.rebuild import _building, drop_leftovers, rebuild_aggregate
from services.operator.refusals import Reason, Refusal
from services.operator.specs.resources import ContinuousAggregateSpec
from services.platform.postgres.capability import capability
from services.platform.postgres.errors import DATABASE_AWAY
from tests.integration.operator.test_reconcile_aggregate import DAILY, HOURLY
from tests.support import TestDatabase
from tests.support.late import connected, filled, insert

OLD = datetime.now(UTC) - timedelta(days=40)
NARROWER = ContinuousAggregateSpec.model_validate(HOURLY | {"columns": HOURLY["columns"][:3]})
OLD_BUCKETS = "select count(*) from measurement_hourly where bucket < now() - interval '1 day'"
VIEWS = "select count(*) from timescaledb_information.continuous_aggregates where view_name <> 'sensor_rollup_15m'"


async def rebuild(database: TestDatabase, owner: asyncpg.Connection) -> Refusal | None:
    can = await capability(owner)
    assert await reconcile_aggregate(owner, NARROWER, can, rebuild=True) == Plan(rebuild=True)
    async with connected(database, "owner") as guard:
        return await rebuild_aggregate(owner, guard, NARROWER, can)


async def test_a_rebuild_takes_the_name_the_history_the_policies_and_the_readers(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner, connected(timescaledb, "writer") as writer:
        await insert(writer, OLD, datetime.now(UTC))
        assert await rebuild(timescaledb, owner) is None
        can = await capability(owner)
        assert await reconcile_aggregate(owner, NARROWER, can) == Plan()
        assert await owner.fetchval(VIEWS) == 1
    async with connected(timescaledb, "reader") as reader:
        assert await reader.fetchval("select count(*) from measurement_hourly") == 2


async def test_a_rebuild_that_would_lose_history_is_refused(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner, connected(timescaledb, "writer") as writer:
        await insert(writer, OLD, datetime.now(UTC))
        await filled(timescaledb, "measurement_hourly")
        await owner.execute("select drop_chunks('sensor_data', older_than => interval '30 days')")
        refusal = await rebuild(timescaledb, owner)
        assert refusal
        assert refusal.reason is Reason.REBUILD_LOSES_HISTORY
        assert await owner.fetchval(VIEWS) == 1


async def test_what_reads_the_aggregate_is_named(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner:
        await owner.execute("create view on_top as select avg from measurement_hourly")
        refusal = await rebuild(timescaledb, owner)
        assert refusal
        assert "on_top" in refusal.message


async def test_what_is_left_half_built_is_dropped_when_the_spec_is_put_back(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner:
        half = NARROWER.model_copy(update={"name": _building(NARROWER)})
        await reconcile_aggregate(owner, half, await capability(owner))
        assert await owner.fetchval(VIEWS) == 2
        await drop_leftovers(owner, NARROWER)
        assert await owner.fetchval(VIEWS) == 1


async def test_a_reader_never_misses_a_bucket_nor_the_aggregate(timescaledb: TestDatabase) -> None:
    times = [OLD + timedelta(hours=hour) for hour in range(48)]
    async with connected(timescaledb, "owner") as owner, connected(timescaledb, "writer") as writer:
        await insert(writer, *times)
        await filled(timescaledb, "measurement_hourly")
        task = asyncio.create_task(rebuild(timescaledb, owner))
        seen = set()
        async with connected(timescaledb, "reader") as reader:
            while not task.done():
                seen.add(await reader.fetchval("select count(*) from measurement_hourly"))
            seen.add(await reader.fetchval("select count(*) from measurement_hourly"))
        assert await task is None
        assert seen == {48}


async def test_rows_that_come_late_during_the_build_are_not_lost(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner, connected(timescaledb, "writer") as writer:
        await insert(writer, OLD, datetime.now(UTC))
        half = NARROWER.model_copy(update={"name": _building(NARROWER)})
        await reconcile_aggregate(owner, half, await capability(owner))
        await filled(timescaledb, half.name)
        await insert(writer, OLD - timedelta(hours=5))
        assert await rebuild(timescaledb, owner) is None
        await owner.execute("alter materialized view measurement_hourly set (timescaledb.materialized_only = true)")
        assert await owner.fetchval(OLD_BUCKETS) == 2


async def test_a_rebuild_goes_on_after_its_connection_was_lost(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner, connected(timescaledb, "writer") as writer:
        await insert(writer, OLD)
        await filled(timescaledb, "measurement_hourly")
        async with (
            connected(timescaledb, "owner") as blocker,
            connected(timescaledb, "owner") as broken,
            blocker.transaction(),
        ):
            await blocker.fetch("select * from measurement_hourly")
            task = asyncio.create_task(rebuild(timescaledb, broken))
            waiting = "select pid from pg_locks where not granted and relation = 'measurement_hourly'::regclass"
            while not (pids := await owner.fetch(waiting)):
                assert not task.done()
            await owner.execute("select pg_terminate_backend($1)", pids[0][0])
            with pytest.raises(DATABASE_AWAY):
                await task
        assert await rebuild(timescaledb, owner) is None
        assert await owner.fetchval("select count(*) from measurement_hourly") == 1
        assert await owner.fetchval(VIEWS) == 1


async def test_an_aggregate_on_top_is_named(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner:
        await reconcile_aggregate(owner, ContinuousAggregateSpec.model_validate(DAILY), await capability(owner))
        refusal = await rebuild(timescaledb, owner)
        assert refusal
        assert "daily" in refusal.message
