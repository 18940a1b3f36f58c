"""The repair loop on real databases: what it refreshes, what it strikes off, and when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from services.database.repair.late_ranges import Repaired, repair_once
from services.database.repair.loop import RepairLoop
from services.platform.postgres.capability import Capability, capability
from services.platform.runtime.health import Health
from services.platform.runtime.tasks import end
from services.platform.settings import DatabaseSettings, RepairSettings
from tests.support import TestDatabase, eventually
from tests.support.late import HOUR, LATE, connected, hourly, insert, insert_late, notes

WATERMARK = """
select _timescaledb_functions.to_timestamp(watermark)
from _timescaledb_catalog.continuous_aggs_watermark
join _timescaledb_catalog.continuous_agg using (mat_hypertable_id)
where user_view_name = $1
"""
REFRESH = "call refresh_continuous_aggregate('{}', {}, {})"


@pytest.fixture
async def quiet(timescaledb: TestDatabase) -> TestDatabase:
    """TimescaleDB without its refresh policy, so that a test alone decides what is materialised."""
    async with connected(timescaledb, "owner") as owner:
        await owner.execute("select remove_continuous_aggregate_policy('measurement_hourly')")
    return timescaledb


async def repair(database: TestDatabase) -> Repaired:
    async with connected(database, "owner") as owner, connected(database, "owner") as guard:
        return await repair_once(owner, guard, await capability(owner), Health("database"))


async def materialise(database: TestDatabase, aggregate: str = "measurement_hourly") -> None:
    """Put the watermark to the present, as the policy does."""
    async with connected(database, "owner") as owner:
        await owner.execute(REFRESH.format(aggregate, "now() - interval '7 days'", "now() - interval '1 minute'"))


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def blocked(database: TestDatabase, hour: datetime = LATE) -> AsyncIterator[None]:
    """Let every refresh that reaches the materialised bucket of `hour` wait inside the block."""
    async with connected(database, "owner") as owner:
        table = await owner.fetchval(
            "select format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)"
            " from timescaledb_information.continuous_aggregates"
        )
        transaction = owner.transaction()
        await transaction.start()
        await owner.execute(f"select from {table} where bucket = $1 for update", hour)
        yield
        await transaction.rollback()


async def refreshing(database: TestDatabase) -> bool:
    """Tell whether a refresh waits for a lock."""
    async with connected(database, "owner") as owner:
        return bool(
            await owner.fetchval(
                "select exists (select from pg_stat_activity where wait_event_type = 'Lock'"
                " and datname = current_database() and query like '%call refresh_continuous%')"
            )
        )


async def test_late_readings_count_at_once_and_after_the_repair(quiet: TestDatabase) -> None:
    async with connected(quiet, "writer") as writer:
        await insert(writer, now() - 3 * HOUR)
        await materialise(quiet)
        await insert_late(writer, LATE, LATE, LATE + HOUR, LATE + 5 * HOUR)
    expected = {LATE: 2, LATE + HOUR: 1, LATE + 5 * HOUR: 1}
    before = await hourly(quiet)
    assert {bucket: before.get(bucket) for bucket in expected} == expected
    assert await repair(quiet) == Repaired(ranges=2, waiting=0)
    assert await notes(quiet) == 0
    assert await hourly(quiet) == before


async def test_a_note_that_comes_during_a_refresh_stays_for_the_next(quiet: TestDatabase) -> None:
    async with connected(quiet, "writer") as writer:
        await insert(writer, now() - 3 * HOUR)
        await materialise(quiet)
        await insert_late(writer, LATE)
        await repair(quiet)
        await insert_late(writer, LATE)
        async with blocked(quiet):
            running = asyncio.create_task(repair(quiet))
            await eventually(lambda: refreshing(quiet))
            await insert_late(writer, LATE)
            assert await notes(quiet) == 2, "nothing is struck off before the refresh has committed"
            assert (await hourly(quiet))[LATE] == 3
        assert await running == Repaired(ranges=1, waiting=0)
    assert await notes(quiet) == 1
    assert (await hourly(quiet))[LATE] == 3
    await repair(quiet)
    assert await notes(quiet) == 0
    assert (await hourly(quiet))[LATE] == 3


async def test_a_refresh_that_dies_leaves_its_note(quiet: TestDatabase) -> None:
    async with connected(quiet, "writer") as writer:
        await insert(writer, now() - 3 * HOUR)
        await insert_late(writer, LATE)
        await repair(quiet)
        await insert_late(writer, LATE)
    async with blocked(quiet), connected(quiet, "owner") as owner:
        running = asyncio.create_task(repair(quiet))
        await eventually(lambda: refreshing(quiet))
        await owner.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and query like '%call refresh_continuous%'"
            " and pid <> pg_backend_pid()"
        )
        with pytest.raises((asyncpg.PostgresError, OSError)):
            await running
        assert await notes(quiet) == 1
        assert (await hourly(quiet))[LATE] == 2
    assert await repair(quiet) == Repaired(ranges=1, waiting=0)
    assert (await hourly(quiet))[LATE] == 2


async def test_a_range_that_another_refresh_works_at_waits_and_others_go_on(quiet: TestDatabase) -> None:
    far = LATE - timedelta(days=100)
    async with connected(quiet, "writer") as writer, connected(quiet, "owner") as other:
        await insert(writer, now() - 3 * HOUR)
        await insert_late(writer, LATE)
        await repair(quiet)
        await insert_late(writer, LATE, far)
        async with blocked(quiet):
            call = REFRESH.format("measurement_hourly", "'2025-10-22'", "'2025-10-23'")
            running = asyncio.create_task(other.execute(call))
            await eventually(lambda: refreshing(quiet))
            assert await repair(quiet) == Repaired(ranges=1, waiting=1)
            assert (await hourly(quiet))[LATE] == 2
        await running
    assert await repair(quiet) == Repaired(ranges=1, waiting=0)
    assert {hour: (await hourly(quiet))[hour] for hour in (LATE, far)} == {LATE: 2, far: 1}


async def test_a_refresh_in_front_of_the_watermark_hides_no_hour_between(quiet: TestDatabase) -> None:
    first, unnoted, late = now() - 48 * HOUR, now() - 8 * HOUR, now() - 3 * HOUR
    async with connected(quiet, "writer") as writer:
        await insert_late(writer, first)
        await repair(quiet)
        await insert(writer, unnoted)
        await insert_late(writer, late)
    before = await hourly(quiet)
    assert sum(before.values()) == 3
    await repair(quiet)
    assert await hourly(quiet) == before


async def test_on_a_fresh_database_everything_closed_is_refreshed(quiet: TestDatabase) -> None:
    async with connected(quiet, "writer") as writer:
        await insert(writer, LATE - 5000 * HOUR, LATE - HOUR, now())
        await insert_late(writer, LATE)
    before = await hourly(quiet)
    await repair(quiet)
    assert await hourly(quiet) == before
    async with connected(quiet, "owner") as owner:
        assert await owner.fetchval(WATERMARK, "measurement_hourly") == LATE + HOUR


async def test_an_open_hour_is_not_materialised(quiet: TestDatabase) -> None:
    async with connected(quiet, "writer") as writer:
        await insert_late(writer, now() - 2 * HOUR, now())
        await repair(quiet)
        await insert(writer, now())
    async with connected(quiet, "owner") as owner:
        assert await owner.fetchval(WATERMARK, "measurement_hourly") <= now()
    assert sum((await hourly(quiet)).values()) == 3


async def test_aggregates_of_aggregates_and_of_other_widths_are_refreshed_too(quiet: TestDatabase) -> None:
    monthly = """
        create materialized view monthly with (timescaledb.continuous, timescaledb.materialized_only = false) as
        select time_bucket(interval '1 month', timestamp, 'Europe/Berlin') as bucket, count(*) as samples
        from sensor_data group by 1 with no data
    """
    daily = """
        create materialized view daily with (timescaledb.continuous, timescaledb.materialized_only = false) as
        select time_bucket(interval '1 day', bucket) as bucket, sum(samples) as samples
        from measurement_hourly group by 1 with no data
    """
    totals = "select (select sum(samples) from {0}), (select max(bucket) from {0} where samples > 0)"
    async with connected(quiet, "owner") as owner, connected(quiet, "writer") as writer:
        await owner.execute(monthly)
        await owner.execute(daily)
        await insert(writer, now() - timedelta(days=70), now() - timedelta(days=3))
        await insert_late(writer, LATE - timedelta(days=400))
        for aggregate in ("measurement_hourly", "daily", "monthly"):
            await owner.execute(REFRESH.format(aggregate, "null", "now()"))
        await insert_late(writer, LATE, LATE + 2 * HOUR, now() - 2 * HOUR)
        assert (await repair(quiet)).waiting == 0
        for aggregate in ("measurement_hourly", "daily", "monthly"):
            total, _ = await owner.fetchrow(totals.format(aggregate))
            assert total == 6, aggregate
            assert await owner.fetchval(WATERMARK, aggregate) <= now(), aggregate


async def test_without_aggregates_notes_are_struck_off_as_they_are(database: TestDatabase) -> None:
    async with connected(database, "writer") as writer:
        await insert_late(writer, LATE, LATE + 7 * HOUR)
    before = await hourly(database)
    assert (await repair(database)).waiting == 0
    assert await notes(database) == 0
    assert await hourly(database) == before


async def test_a_limit_on_idle_transactions_ends_no_refresh(quiet: TestDatabase) -> None:
    await materialise(quiet)
    async with connected(quiet, "superuser") as superuser, connected(quiet, "writer") as writer:
        found = await capability(superuser)

        async def database() -> tuple[DatabaseSettings, Capability]:
            return quiet.settings, found

        async def outlived() -> bool:
            idle = "state = 'idle in transaction' and query like '%unnest(span::%' and now() - state_change > '300ms'"
            return bool(await superuser.fetchval(f"select exists (select from pg_stat_activity where {idle})"))

        async def struck_off() -> bool:
            return await notes(quiet) == 0

        await insert_late(writer, LATE, LATE + HOUR)
        await repair(quiet)
        await insert_late(writer, LATE, LATE + HOUR)
        limit = "set idle_in_transaction_session_timeout = '100ms'"
        async with blocked(quiet):
            await superuser.execute(f"alter role millrace_owner in database {quiet.name} {limit}")
            repairing = asyncio.create_task(RepairLoop(RepairSettings(), Health("database"), database).run())
            await eventually(outlived)
        await eventually(struck_off)
        await end([repairing])
