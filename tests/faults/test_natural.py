"""`dedup=natural` while workers are killed or hang: of a series and instant one reading is stored, the first."""

import signal
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from services.platform.runtime.failpoints import Place
from services.platform.settings import RedisSettings, Settings
from tests.conftest import whole
from tests.support import TestDatabase, eventually
from tests.support.faults import LEAVES_ALONE, Failpoints, Make, chance, drained, worker
from tests.support.late import connected
from tests.support.readings import Row, rows_in, sql

pytestmark = pytest.mark.long

BASE = datetime(2026, 1, 5, tzinfo=UTC)
MICROS = round(BASE.timestamp()) * 1_000_000
SENSORS = 12
STORE = """
insert into sensor_data (timestamp, sensor_id, value)
select timestamptz '2026-01-05 00:00Z' + 2 * second * interval '1 second', 's' || sensor, 0
from generate_series(0, 9) as second, generate_series(0, 11) as sensor
"""
COMPRESS = "select compress_chunk(chunk) from show_chunks('sensor_data') as chunk"


def rows_of(instants: range, value: float) -> list[Row]:
    """Return a reading of each sensor and second, whose value tells who sent it."""
    return [(f"s{sensor}", MICROS + second * 1_000_000, value) for sensor in range(SENSORS) for second in instants]


async def send(url: str, rows: list[Row]) -> None:
    body = [
        {"sensor_id": sensor, "timestamp": (BASE + timedelta(microseconds=at - MICROS)).isoformat(), "value": value}
        for sensor, at, value in rows
    ]
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        answer = await client.post("/ingest?dedup=natural", json=body)
    assert answer.status_code == 200, answer.text


async def ledger_rows(settings: Settings) -> int:
    [found] = await sql(settings.database, "select coalesce(sum(rows), 0)::bigint as rows from ingest_ledger")
    return int(found["rows"])


async def waiting(database: TestDatabase) -> bool:
    """Tell whether a worker waits for the locks of sensors that another one has."""
    # A lock by two numbers, which no other of ours is.
    query = (
        "select exists (select from pg_locks where locktype = 'advisory' and objsubid = 2 and not granted "
        "and database = (select oid from pg_database where datname = current_database()))"
    )
    async with connected(database, "superuser") as superuser:
        return bool(await superuser.fetchval(query))


@pytest.mark.parametrize("stored_in", ["row_store", "columnstore"])
@pytest.mark.parametrize(
    ("place", "ending"),
    [
        ("worker.before_copy", "dies"),
        ("worker.before_commit", "dies"),
        ("worker.before_commit", "commits"),
        ("worker.before_copy", "hangs"),
    ],
)
async def test_row_53_of_natural_readings_that_two_workers_have_at_once_the_first_stored_is_kept(
    settings: Settings, database: TestDatabase, service: Make, failpoints: Failpoints, place: Place, ending: str,
    stored_in: str,
) -> None:  # fmt: skip
    # Who hangs is given up by the database behind the limit; the others are held for as long as a busy machine needs.
    limit = 2.0 if ending == "hangs" else 50.0
    await sql(settings.database, STORE)
    if stored_in == "columnstore":
        if database.mode != "timescaledb":
            pytest.skip("plain PostgreSQL has no columnstore")
        await sql(settings.database, COMPRESS)
    there = [row for row in rows_of(range(20), 0.0) if (row[1] - MICROS) % 2_000_000 == 0]
    holder = failpoints.given_to(service("worker", worker(settings, "holder", transaction_timeout=limit)))
    async with service("ingest", settings) as ingest, holder:
        failpoints.arm(place, "stop")
        await send(ingest.url, rows_of(range(20), 1.0))
        await failpoints.fired(place)
        # What the holder has read is left to it.
        second = worker(settings, "second", transaction_timeout=limit, reclaim_idle=LEAVES_ALONE)
        async with service("worker", second):
            await send(ingest.url, rows_of(range(30), 2.0))
            if ending == "hangs":
                await eventually(lambda: _has(settings, 30 * SENSORS), 60.0)
            else:
                await eventually(lambda: waiting(database), 40.0)
            if ending == "dies":
                holder.kill()
                holder.start()
            else:
                assert holder.process
                holder.process.send_signal(signal.SIGCONT)
            await drained(settings)
    first = 1.0 if ending == "commits" else 2.0
    odd = [row for row in rows_of(range(20), first) if (row[1] - MICROS) % 2_000_000]
    assert await rows_in(settings.database) == sorted([*there, *odd, *rows_of(range(20, 30), 2.0)])
    assert await ledger_rows(settings) == 30 * SENSORS - len(there)


async def _has(settings: Settings, rows: int) -> bool:
    return len(await rows_in(settings.database)) >= rows


async def test_row_54_natural_readings_that_pile_up_while_the_database_is_away_are_stored_once_an_instant(
    postgres: TestDatabase, redis_settings: RedisSettings, service: Make
) -> None:
    dice = chance()
    settings = whole(postgres, redis_settings)
    server = postgres.server
    async with (
        service("ingest", settings) as ingest,
        service("worker", worker(settings, "worker-1")),
        service("worker", worker(settings, "worker-2")),
    ):
        await send(ingest.url, rows_of(range(5), 0.0))
        await drained(settings)
        assert server.process
        server.process.kill()
        await server.ended()
        for value in range(1, 40):
            start = dice.randrange(20)
            await send(ingest.url, rows_of(range(start, start + 10), float(value)))
        await send(ingest.url, rows_of(range(30), 40.0))
        await server.start()
        await drained(settings)
    rows = await rows_in(settings.database)
    assert [row[:2] for row in rows] == sorted(row[:2] for row in rows_of(range(30), 0.0))
    assert {row[2] for row in rows if row[1] < MICROS + 5_000_000} == {0.0}
    assert await ledger_rows(settings) == 30 * SENSORS
