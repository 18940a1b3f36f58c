"""Deletions that are broken off: by the death of who carries them out, of a worker, of the database."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
import pytest

from services.platform.runtime.failpoints import Place
from services.platform.settings import RedisSettings, Settings
from tests.conftest import whole
from tests.support import TestDatabase, eventually
from tests.support.deletions import ask_deletion
from tests.support.faults import Failpoints, Make, drained, ended
from tests.support.late import connected
from tests.support.readings import rows_in, sql

HOUR = 3_600_000_000
BASE = round(datetime(2026, 1, 5, tzinfo=UTC).timestamp()) * 1_000_000
MAKE = """
insert into sensor_data (timestamp, sensor_id, value)
select '2026-01-05 00:00Z'::timestamptz + second * interval '1 second', sensor, second
from generate_series(0, 99999) as second, unnest(array['a', 'b']) as sensor
"""


def quick(settings: Settings) -> Settings:
    return settings.model_copy(update={"repair": settings.repair.model_copy(update={"interval": 0.1})})


def admin(settings: Settings) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.ingest.admin_port}", timeout=30)


async def finished(client: httpx.AsyncClient, deletion_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] = (await client.get(f"/deletions/{deletion_id}")).json()
    return found if found["finished_at"] else None


async def test_row_38_a_deletion_whose_process_is_killed_in_the_middle_goes_on_where_it_was(
    settings: Settings, database: TestDatabase, service: Make, failpoints: Failpoints
) -> None:
    settings = quick(settings)
    await sql(settings.database, MAKE)
    if database.mode == "timescaledb":
        await sql(settings.database, "select compress_chunk(chunk) from show_chunks('sensor_data') as chunk")
    place: Place = "deletion.before_commit"
    async with service("ingest", settings), admin(settings) as client:
        asked = await ask_deletion(client, ["a"], BASE, BASE + 24 * HOUR)
        for _ in range(2):
            victim = service("repair", settings)
            failpoints.given_to(victim)
            failpoints.arm(place, "kill")
            victim.start()
            await eventually(partial(ended, victim), 60.0)
        async with service("repair", settings):
            found = await eventually(lambda: finished(client, asked["deletion_id"]), 60.0)
    assert found
    assert (found["rows"], found["hours"], found["problem"]) == (86_400, 24, None)
    async with connected(database, "reader") as reader:
        left = await reader.fetch("select sensor_id, count(*) from sensor_data group by 1 order by 1")
    assert [tuple(row) for row in left] == [("a", 13_600), ("b", 100_000)]


@pytest.mark.long
async def test_row_38_workers_killed_around_a_deletion_store_nothing_that_it_covers_and_all_else_once(
    settings: Settings, service: Make, failpoints: Failpoints
) -> None:
    settings = quick(settings)
    ingest, victim = service("ingest", settings), service("worker", settings)
    failpoints.given_to(victim)
    at = datetime.fromtimestamp(BASE / 1e6, UTC).isoformat()

    async def send(sensor: str, value: float) -> None:
        body = [{"sensor_id": sensor, "timestamp": at, "value": value}]
        answer = await public.post("/ingest", json=body)
        assert answer.status_code == 200

    async with ingest, admin(settings) as client, httpx.AsyncClient(base_url=ingest.url, timeout=30) as public:
        failpoints.arm("worker.before_commit", "kill")
        victim.start()
        await victim.ready()
        await send("a", 1.0)
        await send("b", 1.0)
        await eventually(lambda: ended(victim), 60.0)
        asked = await ask_deletion(client, ["a"], BASE, BASE + HOUR)
        await send("a", 2.0)
        # The heir has the name, and so what its forebear held.
        failpoints.arm("worker.after_commit", "kill")
        victim.start()
        await eventually(lambda: ended(victim), 60.0)
        async with service("worker", settings), service("repair", settings):
            await drained(settings, 60.0)
            assert await eventually(lambda: finished(client, asked["deletion_id"]), 60.0)
    assert await rows_in(settings.database) == [("a", BASE, 2.0), ("b", BASE, 1.0)]


@pytest.mark.long
async def test_row_38_while_the_database_is_away_a_deletion_is_answered_503_and_afterwards_taken_once(
    postgres: TestDatabase, redis_settings: RedisSettings, service: Make
) -> None:
    settings = quick(whole(postgres, redis_settings))
    async with service("ingest", settings), service("repair", settings), admin(settings) as client:
        await postgres.server.stop()
        body = {"sensor_ids": ["a"], "start": "2026-01-05T00:00:00Z", "end": "2026-01-06T00:00:00Z", "reason": "wrong"}
        for parameters in ({}, {"dry_run": "true"}):
            answer = await client.post("/deletions", json=body, headers={"Idempotency-Key": "k"}, params=parameters)
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert answer.headers["retry-after"]
        await postgres.server.start()
        for _ in range(2):
            answer = await client.post("/deletions", json=body, headers={"Idempotency-Key": "k"})
            assert answer.status_code == 202
        assert await eventually(lambda: finished(client, answer.json()["deletion_id"]), 60.0)
        assert len((await client.get("/deletions")).json()["deletions"]) == 1
