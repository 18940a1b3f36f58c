"""What comes behind a move: late readings, deletions, retention, damaged files; and questions while chunks move."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from services.contract import Outcome
from services.database.repair.late_ranges import recompute_changed, repair_once
from services.database.repair.retention import watch_retention
from services.database.schema.scripts import SQL
from services.platform.postgres.capability import capability
from services.platform.runtime.health import Health
from services.platform.settings import Settings
from services.query.tier import source
from tests.integration.worker.test_transaction import outcomes, work_of
from tests.support import TestDatabase, eventually
from tests.support.admin import both_ports
from tests.support.deletions import ask_deletion, carry_out
from tests.support.late import connected
from tests.support.query import asking
from tests.support.readings import entry_of
from tests.support.tier import computed, files_in, moved, tiered
from tests.support.worker import parts_of

DAY = timedelta(days=1)
START = datetime(2025, 10, 2, tzinfo=UTC)
"""Where a chunk begins; the readings fill it and the next one, one every ten minutes for each of two sensors."""

FILL = """
insert into sensor_data (timestamp, sensor_id, value)
select $1::timestamptz + number * interval '10 minutes', sensor, number
from generate_series(0, 2015) number, unnest(array['a', 'b']) sensor
"""
RANGE = {"start": START.isoformat(), "end": (START + 14 * DAY).isoformat()}


@pytest.fixture
def settings(timescaledb_settings: Settings, tmp_path: Path) -> Settings:
    return tiered(timescaledb_settings, tmp_path / "tier")


@pytest.fixture
async def owner(timescaledb: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    async with connected(timescaledb, "owner") as owner:
        await owner.execute(FILL, START)
        await computed(timescaledb)
        yield owner


@pytest.fixture
async def client(settings: Settings, owner: asyncpg.Connection) -> AsyncIterator[httpx.AsyncClient]:
    assert not owner.is_closed()
    async with asking(settings) as asked:
        yield asked


def micros(instant: datetime) -> int:
    return int(instant.timestamp()) * 1_000_000


async def repaired(database: TestDatabase) -> None:
    """Do what the repair loop does in a round."""
    async with connected(database, "owner") as owner, connected(database, "owner") as guard:
        await watch_retention(owner)
        await repair_once(owner, guard, await capability(owner), Health("database"))
        await recompute_changed(owner, guard, Health("database"))


async def stored(settings: Settings, *rows: tuple[str, datetime, float]) -> list[Outcome]:
    """Write readings as a worker does."""
    store = (await parts_of(settings)).store
    written = await store.write(work_of(entry_of([(sensor, micros(at), value) for sensor, at, value in rows])))
    store.close()
    return outcomes(written)


async def counts(client: httpx.AsyncClient, sensor: str, **range_: str) -> dict[str, Any]:
    """Return what each way to count a sensor's readings says, by its name."""
    asked: dict[str, Any] = {"sensor_id": sensor, **(range_ or RANGE)}
    readings = (await client.get("/get_range", params=asked)).json()["data"]
    assert len({row["id"] for row in readings}) == len(readings)
    hours = (await client.get("/hourly", params=asked)).json()
    found: dict[str, Any] = {"get_range": len(readings), "hourly": sum(hour["samples"] for hour in hours)}
    for name, parameters in {
        "days": {"agg": "count", "bucket": "1d"},
        "quarters": {"agg": "count", "bucket": "15m"},
        "rows": {"agg": "count,median", "bucket": "1d"},
    }.items():
        rows = (await client.get("/series", params={**asked, **parameters})).json()["data"]
        found[name] = sum(row["count"] for row in rows)
    return found


def everywhere(count: int) -> dict[str, int]:
    return dict.fromkeys(("get_range", "hourly", "days", "quarters", "rows"), count)


async def sources(client: httpx.AsyncClient, **parameters: Any) -> list[str]:
    answer = await client.get("/series", params={**RANGE, "sensor_id": "a", **parameters})
    return [part["from"] for part in answer.json()["meta"]["source"]]


@pytest.mark.usefixtures("owner")
async def test_an_answer_says_what_came_from_the_tier(settings: Settings, client: httpx.AsyncClient) -> None:
    assert await sources(client) == ["rows"]
    await moved(settings)
    assert await sources(client) == ["tier"]
    assert await sources(client, agg="median", bucket="1d") == ["tier"]
    assert await sources(client, agg="avg", bucket="1d") == ["measurement_hourly"]
    assert await sources(client, start=(START - DAY).isoformat()) == ["rows", "tier"]


async def test_late_readings_of_the_tier_count_at_once_after_repair_and_when_they_moved_too(
    settings: Settings, timescaledb: TestDatabase, owner: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    await moved(settings)
    late = START + timedelta(hours=30, seconds=5)
    assert await stored(settings, ("a", late, 7.5), ("a", late, 7.5), ("new", late, 1.0)) == [Outcome.STORED]
    for _ in range(3):
        assert await counts(client, "a") == everywhere(2018)
        assert await counts(client, "b") == everywhere(2016)
        assert await counts(client, "new") == everywhere(1)
        await repaired(timescaledb)
    assert await owner.fetchval("select count(*) from late_ranges") == 0
    assert await owner.fetchval("select count(*) from sensor_data") == 3
    again = await moved(settings)
    assert ([each.rows for each in again.moved], again.stayed) == ([3], ())
    assert await owner.fetchval("select count(*) from sensor_data") == 0
    for _ in range(2):
        assert await counts(client, "a") == everywhere(2018)
        assert await counts(client, "new") == everywhere(1)
        await repaired(timescaledb)


@pytest.mark.usefixtures("owner")
async def test_a_chunk_that_late_readings_made_waits_for_others_before_it_moves(
    settings: Settings, timescaledb: TestDatabase
) -> None:
    await moved(settings)
    await stored(settings, ("a", START, 1.0))
    await repaired(timescaledb)
    done = await moved(settings, settled=DAY)
    assert (done.moved, done.stayed) == ((), ())


async def test_a_deletion_leaves_the_tier_at_once_and_the_files_with_the_next_pass(
    settings: Settings,
    timescaledb: TestDatabase,
    owner: asyncpg.Connection,
    client: httpx.AsyncClient,
    tmp_path: Path,
) -> None:
    await moved(settings)
    first, last = START + timedelta(hours=5), START + timedelta(hours=47, minutes=30)
    gone = 42 * 6 + 3
    async with both_ports(settings) as ports:
        await ask_deletion(ports.admin, ["a"], micros(first), micros(last))
    late = START + timedelta(hours=6, seconds=1)
    for step in ("asked", "carried out", "rewritten", "late"):
        if step == "carried out":
            assert await carry_out(settings.database) == 0
        if step == "rewritten":
            before = files_in(tmp_path)
            assert (await moved(settings)).deleted == gone
            assert len(before) < len(files_in(tmp_path))
            assert await owner.fetchval("select sum(rows) from tier_files") == 4032 - gone
        if step == "late":
            assert await stored(settings, ("a", late, 1.0)) == [Outcome.STORED]
        expected = 2016 - gone + (step == "late")
        assert await counts(client, "a") == everywhere(expected), step
        assert await counts(client, "b") == everywhere(2016), step
        await repaired(timescaledb)
        assert await counts(client, "a") == everywhere(expected), step
    assert (await moved(settings)).deleted == 0


async def test_a_file_that_was_replaced_stays_for_the_grace_and_goes_behind_it(
    settings: Settings, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    await moved(settings)
    async with both_ports(settings) as ports:
        await ask_deletion(ports.admin, ["a", "b"], micros(START), micros(START + DAY))
    await carry_out(settings.database)
    await moved(settings)
    old = [row[0] for row in await owner.fetch("select path from tier_garbage")]
    assert old
    assert all((tmp_path / "tier" / path).is_file() for path in old)
    await owner.execute("update tier_garbage set since = since - interval '2 hours'")
    assert (await moved(settings)).removed == len(old)
    listed = {row[0] for row in await owner.fetch("select path from tier_files")}
    there = files_in(tmp_path / "tier")
    assert there == listed


async def test_retention_takes_the_files_too_and_leaves_the_hours(
    settings: Settings, timescaledb: TestDatabase, owner: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    await moved(settings)
    age = datetime.now(UTC) - (START + 8 * DAY)
    await owner.execute("select add_retention_policy('sensor_data', $1::interval)", age)
    await moved(settings)
    assert await owner.fetchval("select count(*) from tier_chunks") == 1
    await repaired(timescaledb)
    found = await counts(client, "a")
    assert (found["get_range"], found["rows"]) == (1008, 1008)
    assert (found["hourly"], found["days"]) == (2016, 2016)
    assert await stored(settings, ("a", START + timedelta(days=9), 1.0)) == [Outcome.STORED]


@pytest.mark.usefixtures("owner")
async def test_a_chunk_stays_while_something_has_to_be_done_with_its_rows(
    settings: Settings, timescaledb: TestDatabase
) -> None:
    await stored(settings, ("a", START, 1.0))
    done = await moved(settings)
    assert len(done.moved) == 1
    assert "late readings wait for a refresh" in done.stayed[0]
    async with both_ports(settings) as ports:
        await ask_deletion(ports.admin, ["a"], micros(START), micros(START + DAY))
    await repaired(timescaledb)
    assert "a deletion is under way" in (await moved(settings)).stayed[0]
    await carry_out(settings.database)
    await repaired(timescaledb)
    assert (await moved(settings)).stayed == ()


async def test_a_young_chunk_and_one_in_a_refresh_window_stay(settings: Settings, owner: asyncpg.Connection) -> None:
    await owner.execute(
        "select alter_job(job_id, config => jsonb_set(config, '{start_offset}', '\"10 years\"')) "
        "from timescaledb_information.jobs where hypertable_name = 'sensor_rollup_15m'"
    )
    done = await moved(settings)
    assert done.moved == ()
    assert "in the refresh window of public.sensor_rollup_15m" in done.stayed[0]
    assert await moved(settings, "3000 days") == type(done)()


async def test_the_newest_reading_of_the_tier_is_known_whatever_is_deleted_comes_late_or_expires(
    settings: Settings, timescaledb: TestDatabase, owner: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    end = START + 14 * DAY

    async def newest(**at: str) -> list[tuple[str, float]]:
        answer = await client.get("/latest", params={"sensor_id": ["a", "b", "none"], **at})
        return [(row["timestamp"], row["value"]) for row in answer.json()["data"]]

    def expected(instant: datetime, value: float) -> tuple[str, float]:
        return instant.isoformat().replace("+00:00", "Z"), value

    step = timedelta(minutes=10)
    last = expected(end - step, 2015)
    await moved(settings)
    assert await newest() == [last, last]
    async with both_ports(settings) as ports:
        await ask_deletion(ports.admin, ["a"], micros(end - 2 * DAY), micros(end))
    before = expected(end - 2 * DAY - step, 2015 - 288)
    assert await newest() == [before, last]
    await carry_out(settings.database)
    await moved(settings)
    assert await newest() == [before, last]
    late = end - timedelta(hours=1)
    await stored(settings, ("a", late, 0.5), ("a", late, 0.25))
    assert await newest() == [expected(late, 0.25), last]
    await repaired(timescaledb)
    await moved(settings)
    assert await owner.fetchval("select count(*) from sensor_data") == 0
    assert await newest() == [expected(late, 0.25), last]
    assert await newest(at=(end - DAY).isoformat()) == [before, expected(end - DAY, 2016 - 144)]
    assert await newest(at=(START - DAY).isoformat()) == []
    async with both_ports(settings) as ports:
        await ask_deletion(ports.admin, ["a"], micros(START), micros(end))
    assert await newest() == [last]
    await carry_out(settings.database)
    await moved(settings)
    assert await newest() == [last]
    assert [row[0] for row in await owner.fetch("select sensor_id from tier_sensors")] == ["b"]
    await owner.execute("select add_retention_policy('sensor_data', interval '60 days')")
    await moved(settings)
    assert await newest() == []
    assert await owner.fetchval("select count(*) from tier_sensors") == 0


async def test_a_truncate_empties_the_table_and_leaves_the_tier(
    settings: Settings, timescaledb: TestDatabase, owner: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    await moved(settings)
    await owner.execute("truncate sensor_data")
    for _ in range(2):
        assert await counts(client, "a") == everywhere(2016)
        await repaired(timescaledb)


async def test_a_refresh_window_that_reaches_into_the_tier_has_the_files_answer(
    settings: Settings, owner: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    await moved(settings)
    await owner.execute(
        "select alter_job(job_id, config => jsonb_set(config, '{start_offset}', '\"10 years\"')) "
        "from timescaledb_information.jobs where hypertable_name in ('measurement_hourly', 'sensor_rollup_15m')"
    )
    await moved(settings)
    assert await counts(client, "a") == everywhere(2016)
    for name in ("measurement_hourly", "sensor_rollup_15m"):
        await owner.execute(
            f"call refresh_continuous_aggregate('{name}', null, now() - interval '1 day', force => true)"
        )
    assert await owner.fetchval("select count(*) from measurement_hourly") == 0
    assert await counts(client, "a") == everywhere(2016)


async def test_an_aggregate_that_is_made_later_leaves_the_tier_to_the_files(
    settings: Settings, timescaledb: TestDatabase, owner: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    await moved(settings)
    await owner.execute("drop materialized view measurement_hourly")
    async with connected(timescaledb, "superuser") as superuser:
        await superuser.execute("set role millrace_owner")
        await superuser.execute((SQL / "hypertable.sql").read_text())
        await superuser.execute((SQL / "grants.sql").read_text())
    await stored(settings, ("a", datetime.now(UTC) - timedelta(hours=2), 1.0))
    await computed(timescaledb)
    await repaired(timescaledb)
    assert await counts(client, "a") == everywhere(2016)


@pytest.mark.usefixtures("owner")
async def test_files_that_cannot_be_read_are_a_problem_and_never_a_shorter_answer(
    settings: Settings, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await moved(settings)
    one, other, *_ = sorted(tmp_path / path for path in files_in(tmp_path))
    one.rename(one.with_suffix(".away"))
    other.write_bytes(b"PAR1" + other.read_bytes()[4:-40])
    for day in (START, START + DAY):
        asked = {"sensor_id": "a", "start": day.isoformat(), "end": (day + DAY).isoformat()}
        answer = await client.get("/get_range", params=asked)
        assert (answer.status_code, answer.json()["code"]) == (503, "tier_unavailable")
    assert (await client.get("/hourly", params={"sensor_id": "a", **RANGE})).status_code == 200


@pytest.mark.usefixtures("owner")
async def test_more_of_the_tier_than_may_be_held_is_refused_by_name(settings: Settings) -> None:
    await moved(settings)
    few = settings.model_copy(update={"query": settings.query.model_copy(update={"max_tier_rows": 1000})})
    async with asking(few) as client:
        answer = await client.get("/series", params={"sensor_id": "a", "agg": "median", **RANGE})
        assert answer.status_code == 422
        assert "MILLRACE_QUERY_MAX_TIER_ROWS" in answer.text


@pytest.mark.usefixtures("owner")
async def test_a_service_without_the_location_is_not_ready_and_says_why(settings: Settings) -> None:
    await moved(settings)
    bare = settings.model_copy(update={"tier": settings.tier.model_copy(update={"location": ""})})
    async with asking(bare, ready=False) as client:

        async def told() -> bool:
            return "MILLRACE_TIER_LOCATION" in (await client.get("/readyz")).text

        await eventually(told)


@pytest.mark.parametrize("chunks", [256, 0], ids=["chunks are locked", "the gate is locked"])
async def test_a_question_while_a_chunk_moves_has_each_reading_once(
    settings: Settings, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, chunks: int
) -> None:
    monkeypatch.setattr(source, "_MOST_CHUNKS", chunks)
    asked = 0
    ways: list[tuple[str, dict[str, Any]]] = [
        ("/get_range", {"sensor_id": "a"}),
        ("/series", {"sensor_id": "a", "agg": "count,median"}),
        ("/series", {"sensor_id": "a", "points": 20_000}),
    ]

    async def ask(path: str, parameters: dict[str, Any]) -> None:
        nonlocal asked
        while not moving.done() or asked < 9:
            answer = await client.get(path, params={**RANGE, **parameters})
            assert answer.status_code == 200, answer.text
            data = answer.json()["data"]
            assert (data[0]["count"] if "agg" in parameters else len(data)) == 2016
            asked += 1

    async with asking(settings) as client:
        moving = asyncio.create_task(moved(settings))
        await asyncio.gather(*(ask(*way) for way in ways))
    done = await moving
    begun = time.monotonic()
    # A question that was at a chunk has it stay; another pass takes it then.
    while done.stayed and time.monotonic() - begun < 30:
        assert all("a question or a writer is at it" in reason for reason in done.stayed)
        done = await moved(settings)
    assert await owner.fetchval("select count(*) from sensor_data") == 0
