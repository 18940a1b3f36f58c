"""Retention takes rows and leaves their hours, whatever comes late, is refreshed or is made anew afterwards."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from structlog.testing import capture_logs

from services.contract import Outcome
from services.database.repair.late_ranges import recompute_changed, repair_once
from services.database.repair.retention import watch_retention
from services.platform.postgres.capability import capability
from services.platform.runtime.health import Health
from services.platform.settings import Settings
from tests.integration.database.test_repair import blocked, refreshing
from tests.integration.worker.test_transaction import outcomes, work_of
from tests.support import TestDatabase, eventually
from tests.support.faults import Make
from tests.support.late import HOUR, connected, filled, hourly, insert, insert_late, notes
from tests.support.readings import entry_of
from tests.support.worker import parts_of

DAY = timedelta(days=1)
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
OLD, KEPT = NOW - 100 * DAY, NOW - 40 * DAY
DROP = "select drop_chunks('sensor_data', older_than => interval '90 days')"
REFRESH = "call refresh_continuous_aggregate('measurement_hourly', $1::timestamptz, $2::timestamptz)"


@pytest.fixture
async def owner(timescaledb: TestDatabase) -> AsyncIterator[Any]:
    """A database whose hours of 100 and 40 days ago are materialised, and whose rows of 100 days ago are dropped."""
    async with connected(timescaledb, "owner") as owner, connected(timescaledb, "writer") as writer:
        await insert(writer, OLD, OLD + 5 * HOUR, KEPT, NOW)
        await filled(timescaledb, "measurement_hourly")
        await watch_retention(owner)
        await owner.execute(DROP)
        yield owner


async def repaired(database: TestDatabase) -> None:
    """Do what the repair loop does in a round."""
    async with connected(database, "owner") as owner, connected(database, "owner") as guard:
        await watch_retention(owner)
        await repair_once(owner, guard, await capability(owner), Health("database"))
        await recompute_changed(owner, guard, Health("database"))


def micros(instant: datetime) -> int:
    return int(instant.timestamp()) * 1_000_000


async def test_a_late_reading_behind_a_truncate_is_stored(
    timescaledb: TestDatabase, timescaledb_settings: Settings, owner: Any
) -> None:
    await watch_retention(owner)
    await owner.execute("truncate sensor_data")
    assert await hourly(timescaledb) == {}
    store = (await parts_of(timescaledb_settings)).store
    work = work_of(entry_of([("a", micros(OLD), 1.0), ("a", micros(KEPT), 1.0)]))
    written = await store.write(work)
    store.close()
    assert outcomes(written) == [Outcome.STORED]
    for _ in range(2):
        assert await hourly(timescaledb) == {OLD: 1, KEPT: 1}
        await repaired(timescaledb)


@pytest.mark.parametrize("watched", [True, False], ids=["drop was noted", "drop was a moment ago"])
async def test_a_late_reading_behind_retention_is_a_dead_letter_and_every_hour_stays(
    timescaledb: TestDatabase, timescaledb_settings: Settings, owner: Any, watched: bool
) -> None:
    before = await hourly(timescaledb)
    assert {OLD, OLD + 5 * HOUR, KEPT} <= set(before)
    if watched:
        await watch_retention(owner)
    store = (await parts_of(timescaledb_settings)).store
    now = time.time_ns() // 1000
    work = work_of(
        entry_of([("late", micros(OLD), 1.0)], [("late", micros(KEPT), 1.0)]),
        entry_of([("late", now, 1.0), ("late", micros(OLD + 2 * HOUR), 1.0)]),
    )
    written = await store.write(work, 2)
    store.close()
    assert outcomes(written) == [Outcome.DEAD, Outcome.STORED, Outcome.DEAD]
    assert {verdict.code for verdict in written.verdicts.values()} == {"behind_retention", ""}
    await repaired(timescaledb)
    assert await hourly(timescaledb) == before
    assert await owner.fetchval("select samples from measurement_hourly where sensor_id = 'late'") == 1


async def test_history_from_before_all_that_is_kept_is_stored(
    timescaledb: TestDatabase, timescaledb_settings: Settings, owner: asyncpg.Connection
) -> None:
    await watch_retention(owner)
    store = (await parts_of(timescaledb_settings)).store
    work = work_of(entry_of([("a", micros(OLD - 60 * DAY), 1.0)]))
    written = await store.write(work)
    store.close()
    assert outcomes(written) == [Outcome.STORED]
    await repaired(timescaledb)
    assert {OLD - 60 * DAY, OLD, OLD + 5 * HOUR, KEPT} <= set(await hourly(timescaledb))


async def test_ingest_refuses_what_a_retention_policy_would_drop_and_says_so(
    timescaledb_settings: Settings, service: Make, owner: Any
) -> None:
    job = await owner.fetchval("select add_retention_policy('sensor_data', interval '3 months')")
    body = [{"sensor_id": "a", "timestamp": (NOW - 95 * DAY).isoformat(), "value": 1}]
    async with service("ingest", timescaledb_settings) as ingest, httpx.AsyncClient(base_url=ingest.url) as client:

        async def refused() -> bool:
            return (await client.post("/ingest", json=body)).status_code == 422

        await eventually(refused)
        answer = (await client.post("/ingest", json=body)).json()
        assert answer["errors"][0]["code"] == "behind_retention"
        assert "retention drops readings after 9" in answer["errors"][0]["message"]
        assert (await client.post("/ingest", json=[body[0] | {"timestamp": KEPT.isoformat()}])).status_code == 200
    await owner.execute("select delete_job($1)", job)


@pytest.mark.parametrize("sql", ["insert", "note", "both"])
async def test_sql_behind_retention_changes_no_hour(timescaledb: TestDatabase, owner: Any, sql: str) -> None:
    before = await hourly(timescaledb)
    await watch_retention(owner)
    async with connected(timescaledb, "writer") as writer:
        if sql == "insert":
            await insert(writer, OLD, sensor="late")
        elif sql == "note":
            await writer.execute("insert into late_ranges (range_start, range_end) values ($1, $2)", OLD, OLD + HOUR)
        else:
            await insert_late(writer, OLD, OLD + HOUR)
    assert await hourly(timescaledb) == before
    await repaired(timescaledb)
    await repaired(timescaledb)
    assert await notes(timescaledb) == 0
    assert await hourly(timescaledb) == before


async def test_filling_after_a_drop_inside_the_history_keeps_the_hours_of_the_gap(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner, connected(timescaledb, "writer") as writer:
        await insert(writer, OLD, KEPT, NOW)
        await filled(timescaledb, "measurement_hourly")
        await watch_retention(owner)
        await owner.execute("select drop_chunks('sensor_data', newer_than => $1::timestamptz,"
                            " older_than => $2::timestamptz)", KEPT - 8 * DAY, KEPT + 8 * DAY)  # fmt: skip
        before = await hourly(timescaledb)
        assert KEPT in before
        await filled(timescaledb, "measurement_hourly")
        assert await hourly(timescaledb) == before


async def test_a_day_made_of_dropped_hours_stays(timescaledb: TestDatabase, owner: Any) -> None:
    await owner.execute(
        "create materialized view daily with (timescaledb.continuous) as"
        " select time_bucket(interval '1 day', bucket) as day, sum(samples) as samples"
        " from measurement_hourly group by 1 with no data"
    )
    await owner.execute("call refresh_continuous_aggregate('daily', null, now())")
    days = await owner.fetch("select day, samples from daily order by 1")
    await repaired(timescaledb)
    await owner.execute("select drop_chunks('measurement_hourly', older_than => now() + interval '1 year')")
    async with connected(timescaledb, "writer") as writer:
        await insert_late(writer, KEPT + HOUR)
    await repaired(timescaledb)
    await repaired(timescaledb)
    assert await owner.fetch("select day, samples from daily order by 1") == days


async def test_who_drops_a_chunk_waits_for_the_refresh_that_reads_it(timescaledb: TestDatabase) -> None:
    """Else the refresh would find the chunk gone and delete its hours."""
    async with connected(timescaledb, "owner") as owner, connected(timescaledb, "writer") as writer:
        await owner.execute("select remove_continuous_aggregate_policy('measurement_hourly')")
        await insert(writer, OLD, OLD + HOUR)
        await filled(timescaledb, "measurement_hourly")
        await insert_late(writer, OLD)
        async with blocked(timescaledb, OLD):
            running = asyncio.create_task(repaired(timescaledb))
            await eventually(lambda: refreshing(timescaledb))
            await owner.execute("set lock_timeout = '200ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await owner.execute(DROP)
        await running
        await owner.execute(DROP)
    assert (await hourly(timescaledb))[OLD] == 2


async def test_retention_by_sql_inside_a_refresh_window_is_stopped_and_told(owner: Any) -> None:
    job = await owner.fetchval("select add_retention_policy('sensor_data', interval '3 days')")
    with capture_logs() as logs:
        await watch_retention(owner)
    assert not await owner.fetchval("select scheduled from timescaledb_information.jobs where job_id = $1", job)
    assert [entry["job_id"] for entry in logs if entry["log_level"] == "error"] == [job]
    await owner.execute("select remove_retention_policy('sensor_data')")
    await owner.execute("select add_retention_policy('sensor_data', interval '90 days')")
    with capture_logs() as logs:
        await watch_retention(owner)
    assert not [entry for entry in logs if entry["log_level"] == "error"]


async def test_hours_that_a_refresh_by_hand_emptied_are_told(owner: Any) -> None:
    await watch_retention(owner)
    await owner.execute(REFRESH, OLD - DAY, OLD + DAY)
    with capture_logs() as logs:
        await watch_retention(owner)
    assert [entry["action"] for entry in logs if entry["log_level"] == "warning"] == ["retention"]
    # What has no hours is not protected any more.
    assert await owner.fetchval("select count(*) from dropped_ranges") == 0


async def test_retention_that_goes_on_tells_of_no_loss(timescaledb: TestDatabase) -> None:
    hours = [NOW - 100 * DAY + number * HOUR for number in range(24 * 24)]
    async with connected(timescaledb, "owner") as owner, connected(timescaledb, "writer") as writer:
        await insert(writer, *hours, NOW)
        await filled(timescaledb, "measurement_hourly")
        await watch_retention(owner)
        with capture_logs() as logs:
            for age in (85, 77, 69):
                await owner.execute("select drop_chunks('sensor_data', older_than => $1::timestamptz)", NOW - age * DAY)
                await watch_retention(owner)
        assert {entry["log_level"] for entry in logs} == {"info"}
        assert await owner.fetchval("select count(*) from dropped_ranges") == 1
    assert set(hours) <= set(await hourly(timescaledb))
