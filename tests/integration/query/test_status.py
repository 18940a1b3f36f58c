"""How all of Millrace fares, told on the port of questions while its parts are there and while they are away."""

import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from services.contract import CallerUsage
from services.ingest.limits import usage
from services.platform.settings import RedisSettings, Settings
from services.platform.stream import Stream, Usages
from services.query.status.example import EXAMPLE
from services.query.status.routes import Status
from tests.support import TestDatabase, eventually, free_port
from tests.support.admin import both_ports
from tests.support.doors import Doors
from tests.support.ingest import READING, assert_problem
from tests.support.proxy import moved, proxied, server_of
from tests.support.query import asking, insert, owner
from tests.support.readings import add_entry, entry_of

OPERATIONS = Path(__file__).parents[3] / "docs/operations.md"
OF_STREAM = {"stream", "dead_letters", "callers"}
OF_DATABASE = {"database", "late_ranges", "aggregates", "tables", "ledger"}
NEVER = "initial_start => timestamptz '2100-01-01Z'"


@pytest.fixture
async def query(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(settings) as client:
        yield client


async def status(client: httpx.AsyncClient, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """Return an answer, held to its own description."""
    response = await client.get("/status", headers=headers)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    Status.model_validate(body)
    assert list(body) == list(Status.model_fields)
    return body


def lacking(body: dict[str, Any]) -> set[str]:
    """Return the parts that could not be had."""
    return {name for name, part in body.items() if isinstance(part, dict) and "problem" in part}


def problem_of(part: Any) -> str:
    return part.get("problem", "") if isinstance(part, dict) else ""


async def test_what_waits_is_counted_and_what_comes_in_between_two_looks_is_a_rate(
    query: httpx.AsyncClient, stream: Stream
) -> None:
    await stream.ensure_group()
    assert (await status(query))["stream"]["rows_in_per_second"] is None
    for number in range(3):
        await add_entry(stream, entry_of([("a", number, 1.0), ("b", number, 2.0)]))
    await stream.read_new("w1", 1, 0.01)
    await stream.client.xadd(stream.names.dead, {"reason": "refused"})

    async def flowing() -> Any:
        body = await status(query)
        return body if body["stream"]["rows_in_per_second"] else None

    body = await eventually(flowing)
    told = body["stream"]
    assert (told["entries"], told["rows"], told["workers"], told["rows_out_per_second"]) == (3, 6, 1, 0.0)
    assert body["dead_letters"] == {"total": 1}


async def test_the_database_tells_of_its_sizes_and_aggregates_as_far_as_it_has_them(
    settings: Settings, database: TestDatabase, database_mode: str
) -> None:
    async with owner(database) as connection:
        await insert(connection, "late", [(timedelta(minutes=minute), 1.0) for minute in range(600)], late=True)
        await connection.execute(
            "insert into ingest_ledger (batch_id, batches, rows, accepted_at) values ($1, 1, 1, now())", uuid.uuid4()
        )
        if database_mode == "timescaledb":
            await connection.execute(f"select add_retention_policy('sensor_data', interval '400 days', {NEVER})")
            await connection.execute("call refresh_continuous_aggregate('measurement_hourly', null, '2025-11-01Z')")
            await connection.execute("select compress_chunk(show_chunks('sensor_data'))")
    async with asking(settings) as client:
        body = await status(client)
    tables = {table["name"]: table for table in body["tables"]}
    readings = tables["sensor_data"]
    assert readings["bytes"] > 0
    assert (body["late_ranges"]["count"], body["ledger"]["estimated_rows"]) == (10, 1)
    assert body["ledger"]["estimated_oldest"] is not None
    assert body["ledger"]["horizon"] == 3600 * settings.worker.ledger_horizon
    if database_mode != "timescaledb":
        assert (body["database"]["timescaledb"], readings["retention"]) == (None, None)
        assert (readings["chunks"] is None) == (database_mode == "plain")
    if database_mode != "timescaledb":
        assert lacking(body) == set()
        names = {"sensor_rollup_1h", "sensor_rollup_15m"}
        assert tables.keys() == {"sensor_data", "sensors"} | names
        assert {each["name"]: each["watermark"] for each in body["aggregates"]} == dict.fromkeys(names)
        return
    assert lacking(body) == set()
    assert tables.keys() == {"sensor_data", "sensors", "measurement_hourly", "sensor_rollup_15m"}
    assert (readings["chunks"], readings["columnstore_chunks"], readings["retention"]) == (2, 2, 400 * 86_400.0)
    assert readings["bytes_before_compression"] > readings["bytes_after_compression"] > 0
    hours, quarters = body["aggregates"]
    assert (hours["name"], hours["watermark"]) == ("measurement_hourly", "2025-10-23T07:00:00Z")
    assert hours["behind"] > 0
    assert (quarters["watermark"], quarters["behind"]) == (None, None)
    # Its policy may have run in the database that this one is a copy of, before there was any reading.
    assert quarters["last_status"] in {None, "success"}
    assert quarters["schedule_interval"] == 60.0


async def test_of_a_large_ledger_statistics_tell(timescaledb_settings: Settings, timescaledb: TestDatabase) -> None:
    async with owner(timescaledb) as connection:
        await connection.execute(
            "insert into ingest_ledger (batch_id, batches, rows, accepted_at, committed_at) "
            "select gen_random_uuid(), 1, 1, at, at from generate_series(1, 100000) as number, "
            "lateral (select timestamptz '2025-10-22 21:00Z' + number * interval '1 second') as instants (at)"
        )
        await connection.execute("analyze ingest_ledger")
    async with asking(timescaledb_settings) as client:
        ledger = (await status(client))["ledger"]
    assert ledger["bytes"] > 8 * 1024 * 1024
    assert 90_000 < ledger["estimated_rows"] < 110_000
    assert ledger["estimated_oldest"].startswith("2025-10-22T21:")


async def test_a_stream_that_is_away_lacks_and_all_else_is_answered(settings: Settings) -> None:
    away = RedisSettings(url=SecretStr(f"redis://:geheim@127.0.0.1:{free_port()}/0"), stream=settings.redis.stream)
    async with asking(settings.model_copy(update={"redis": away})) as client:
        body = await status(client)
        assert lacking(body) - {"aggregates"} == OF_STREAM
        assert body["stream"]["problem"] == "the stream's server cannot be reached"
        assert (await client.get("/readyz")).status_code == 200
        assert_problem(await client.get("/dead-letters"), 503, "stream_unavailable")


async def test_servers_that_fall_silent_hold_no_answer_up(
    timescaledb_settings: Settings, redis_settings: RedisSettings
) -> None:
    settings = timescaledb_settings
    [(host, port)] = re.findall(r"@?([\d.]+):(\d+)/", redis_settings.url.get_secret_value())
    async with proxied(*server_of(settings, "reader")) as database, proxied(host, int(port)) as redis:
        url = redis_settings.url.get_secret_value().replace(f":{port}/", f":{redis.port}/")
        there = moved(settings, database.port, connect_timeout=0.5)
        there = there.model_copy(update={"redis": redis_settings.model_copy(update={"url": SecretStr(url)})})
        async with asking(there) as client:
            assert lacking(await status(client)) == set()
            database.open.clear()
            redis.open.clear()

            async def silent() -> bool:
                return lacking(await status(client)) == OF_STREAM | {"database", "late_ranges", "aggregates"}

            await eventually(silent)
            body = await status(client)
            assert body["database"]["problem"] == "the database cannot be asked: it did not answer in time"
            assert body["stream"]["problem"] == "the stream's server did not answer within 2 s"
            database.open.set()
            redis.open.set()

            async def back() -> bool:
                return lacking(await status(client)) == set()

            await eventually(back)


async def test_a_database_that_is_away_or_has_no_schema_lacks_and_the_stream_is_told(
    settings: Settings, empty_database: TestDatabase
) -> None:
    without = settings.model_copy(update={"database": empty_database.settings})
    for there, lacks in ((moved(settings, free_port()), OF_DATABASE), (without, {"late_ranges", "ledger"})):
        async with asking(there, ready=False) as client:
            body = await status(client)
            assert lacks <= lacking(body) <= OF_DATABASE
            assert body["stream"]["entries"] == 0
            # In sentences of ours: no name of an exception stands in them.
            assert not [words for words in map(problem_of, body.values()) if re.search("[A-Za-z]Error|Errno", words)]


async def test_no_answer_holds_a_secret(settings: Settings, doors: Doors) -> None:
    key = doors.add("console", "query", "admin")
    guarded = doors.guarding(settings)
    wrong = moved(guarded, server_of(settings, "reader")[1])
    reader = wrong.database.reader_url.get_secret_value()
    login = wrong.database.model_copy(update={"reader_url": SecretStr(re.sub(r":[^:@/]*@", ":falsch-geheim@", reader))})
    away = RedisSettings(url=SecretStr(f"redis://:geheim@127.0.0.1:{free_port()}/0"))
    for there in (guarded, guarded.model_copy(update={"database": login, "redis": away})):
        async with asking(there, ready=False) as client:
            text = json.dumps(await status(client, key))
        urls = (getattr(there.database, f"{role}_url") for role in ("owner", "writer", "reader"))
        words = [*passwords(*urls, there.redis.url), key["Authorization"].split()[1]]
        assert len(words) > 3
        assert [word for word in words if word in text] == []


def passwords(*urls: SecretStr) -> Iterator[str]:
    for url in urls:
        yield from re.findall(r"//[^/@]*:([^:@/]+)@", url.get_secret_value())


async def test_a_key_is_told_whether_it_may_change_dead_letters(settings: Settings, doors: Doors) -> None:
    asks, keeps, sends = doors.add("asks", "query"), doors.add("keeps", "query", "admin"), doors.add("sends", "ingest")
    async with asking(doors.guarding(settings), ready=False) as client:
        assert (await status(client, asks))["admin"] is False
        assert (await status(client, keeps))["admin"] is True
        assert_problem(await client.get("/status", headers=sends), 403, "forbidden")
        assert_problem(await client.get("/status"), 401, "no_key")
    async with asking(settings, ready=False) as client:
        assert (await status(client))["admin"] is True
        assert_problem(await client.get("/status?parts=stream"), 422, "invalid_parameter")


async def test_callers_are_told_with_what_they_use_of_their_limits_in_all_processes(
    settings: Settings, stream: Stream, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "_INTERVAL", 0.1)
    garden, free = doors.add("garden", "ingest", rows_per_second=1000), doors.add("free", "ingest")
    console = doors.add("console", "query")
    guarded = doors.guarding(settings)
    other = Usages(stream.client, stream.names)
    async with both_ports(guarded) as ports, asking(guarded) as client:

        async def told() -> Any:
            for key in (garden, free):
                assert (await ports.public.post("/ingest", json=[READING] * 10, headers=key)).status_code == 200
            return (await status(client, console))["callers"]

        async def sending() -> Any:
            return [caller for caller in await told() if caller["rows_per_second"] > 0]

        [caller] = await eventually(sending)
        assert (caller["name"], caller["processes"], caller["rows_limit"]) == ("garden", 1, 1000.0)
        assert (caller["requests_per_second"], caller["requests_limit"]) == (None, None)
        await other.tell([CallerUsage("garden", rows=900.0, rows_limit=1000.0), CallerUsage("shed", 1.0, 2.0)])
        await stream.client.hset(stream.names.callers, "forged", b"1e9 nonsense")

        async def both() -> Any:
            callers = (await status(client, console))["callers"]
            return callers if len(callers) == 2 else None

        garden_now, shed = await eventually(both)
        assert (garden_now["processes"], garden_now["rows_limit"], garden_now["used"]) == (2, 2000.0, 0.9)
        assert (shed["requests_per_second"], shed["requests_limit"], shed["used"]) == (1.0, 2.0, 0.5)


async def test_a_key_of_another_type_is_named_and_the_other_parts_are_told(
    query: httpx.AsyncClient, stream: Stream
) -> None:
    await stream.client.set(stream.names.callers, "mine")

    async def told() -> Any:
        # A part that takes too long is left out, which happens to each where the machine is busy.
        body = await status(query)
        return body if lacking(body) - {"aggregates"} == {"callers"} else None

    body = await eventually(told)
    assert stream.names.callers in body["callers"]["problem"]


def test_the_documentation_shows_the_example_and_the_example_is_an_answer() -> None:
    [shown] = re.findall(r"```json\n(\{\n  \"as_of\".*?)```", OPERATIONS.read_text(), re.DOTALL)
    assert json.loads(shown) == EXAMPLE
    assert Status.model_validate(EXAMPLE).model_fields_set == set(Status.model_fields)
