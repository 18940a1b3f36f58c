"""`/hourly` is right at once and always: against a model in pure Python, at every moment of a late row's life."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import asyncpg
import httpx
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from services.contract.codec import MAX_VALUE
from tests.support import TestDatabase
from tests.support.patience import eventually
from tests.support.query import EPOCH, asking, insert, owner, query_settings, some_sensor

Rows = Sequence[tuple[timedelta, float]]

HOUR = timedelta(hours=1)

# Quarters: sums of them are exact, so an average has one right answer, whatever the order of summing.
VALUES = st.integers(-4000, 4000).map(lambda quarters: quarters / 4)
ROWS = st.lists(
    st.tuples(st.integers(0, 8 * 60 - 1).map(lambda minute: timedelta(minutes=minute)), VALUES), max_size=12
)
BOUNDS = st.none() | st.integers(-30, 9 * 60).map(lambda minute: EPOCH + timedelta(minutes=minute))


def model(rows: Rows, start: datetime | None = None, end: datetime | None = None) -> list[dict[str, Any]]:
    """Return what `/hourly` must say."""
    hours: dict[datetime, list[float]] = defaultdict(list)
    for offset, value in rows:
        hours[(EPOCH + offset).replace(minute=0, second=0, microsecond=0)].append(value)
    return [
        {
            "timestamp": hour.isoformat().replace("+00:00", "Z"),
            "avg": sum(values) / len(values),
            "min": min(values),
            "max": max(values),
            "samples": len(values),
        }
        for hour, values in sorted(hours.items())
        if (start is None or start <= hour) and (end is None or hour < end)
    ]


async def hourly(
    client: httpx.AsyncClient, sensor: str, start: datetime | None = None, end: datetime | None = None
) -> Any:
    bounds = {"start": start, "end": end}
    parameters = {name: at.isoformat() for name, at in bounds.items() if at is not None}
    response = await client.get("/hourly", params={"sensor_id": sensor, **parameters})
    assert response.status_code == 200, response.text
    return response.json()


async def refresh(database: TestDatabase, connection: asyncpg.Connection, start: datetime, end: datetime) -> None:
    """Materialise a range; an ordinary view has nothing to refresh."""
    if database.mode == "timescaledb":
        await connection.execute(
            f"call refresh_continuous_aggregate('measurement_hourly', '{start}', '{end}', force => true)"
        )


async def test_rows_late_by_a_year_are_in_the_answer_at_every_moment(
    database: TestDatabase, connection: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    recent = datetime.now(UTC) - EPOCH - timedelta(hours=3)
    await insert(connection, "sensor-1", [(recent, 1.0)])
    await refresh(database, connection, EPOCH + recent - HOUR, EPOCH + recent + HOUR)
    early: Rows = [(timedelta(minutes=1), 26.75), (timedelta(minutes=70), 12.0)]
    await insert(connection, "sensor-1", early, late=True)
    expected = model([*early, (recent, 1.0)])
    assert await hourly(client, "sensor-1") == expected, "noted"
    await insert(connection, "sensor-1", [(timedelta(minutes=2), 0.25)], late=True)
    expected = model([*early, (timedelta(minutes=2), 0.25), (recent, 1.0)])
    assert await hourly(client, "sensor-1") == expected, "noted twice"
    await refresh(database, connection, EPOCH, EPOCH + 2 * HOUR)
    assert await hourly(client, "sensor-1") == expected, "refreshed, and the notes still there"
    await connection.execute("delete from late_ranges")
    assert await hourly(client, "sensor-1") == expected, "struck off"
    await insert(connection, "sensor-1", [(timedelta(minutes=3), 5.5)], late=True)
    expected = model([*early, (timedelta(minutes=2), 0.25), (timedelta(minutes=3), 5.5), (recent, 1.0)])
    assert await hourly(client, "sensor-1") == expected, "late once more"


async def test_the_aggregate_alone_would_have_missed_them(timescaledb: TestDatabase) -> None:
    """The test above would be worth nothing if the watermark did not stand before the late rows."""
    recent = datetime.now(UTC) - EPOCH - timedelta(hours=3)
    async with owner(timescaledb) as connected:
        await insert(connected, "sensor-1", [(recent, 1.0)])
        await refresh(timescaledb, connected, EPOCH + recent - HOUR, EPOCH + recent + HOUR)
        await insert(connected, "sensor-1", [(timedelta(0), 2.0)])
        assert await connected.fetchval("select sum(samples) from measurement_hourly") == 1


@examples(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(
    before=ROWS,
    refreshed=st.lists(st.tuples(st.integers(0, 8), st.integers(1, 8)), max_size=2),
    late=ROWS,
    mended=st.booleans(),
    later=ROWS,
    start=BOUNDS,
    end=BOUNDS,
)
async def test_any_history_gives_what_the_rows_say(
    database: TestDatabase,
    connection: asyncpg.Connection,
    client: httpx.AsyncClient,
    before: Rows,
    refreshed: list[tuple[int, int]],
    late: Rows,
    mended: bool,
    later: Rows,
    start: datetime | None,
    end: datetime | None,
) -> None:
    if start is not None and end is not None and start >= end:
        start = None
    sensor = some_sensor()
    # Rows are late where a refresh may have passed: examples before this one have left their watermark.
    await insert(connection, sensor, before, late=True)
    for first, hours in refreshed:
        await refresh(database, connection, EPOCH + first * HOUR, EPOCH + (first + hours) * HOUR)
        assert await hourly(client, sensor) == model(before)
    await insert(connection, sensor, late, late=True)
    assert await hourly(client, sensor) == model([*before, *late])
    if mended:
        notes = await connection.fetch("select id, range_start, range_end from late_ranges")
        for note in notes:
            await refresh(database, connection, note["range_start"], note["range_end"])
        await connection.execute("delete from late_ranges where id = any($1)", [note["id"] for note in notes])
    await insert(connection, sensor, later, late=True)
    rows = [*before, *late, *later]
    assert await hourly(client, sensor) == model(rows)
    assert await hourly(client, sensor, start, end) == model(rows, start, end)


@examples(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(
    values=st.lists(st.floats(-MAX_VALUE, MAX_VALUE) | st.sampled_from([0.1, 1.0, MAX_VALUE, -MAX_VALUE]), min_size=1),
    times=st.sampled_from([1, 3, 1000]),
    refreshed=st.booleans(),
)
@example(values=[0.1], times=1000, refreshed=False)
@example(values=[0.1], times=1000, refreshed=True)
@example(values=[0.3], times=3, refreshed=True)
@example(values=[1e100, 1.0, -1e100], times=1, refreshed=False)
@example(values=[MAX_VALUE], times=10_000, refreshed=True)
@example(values=[MAX_VALUE, -MAX_VALUE], times=10_000, refreshed=True)
async def test_an_average_lies_between_its_extremes_and_as_near_to_the_true_one_as_sums_of_floats_can(
    database: TestDatabase,
    connection: asyncpg.Connection,
    client: httpx.AsyncClient,
    values: list[float],
    times: int,
    refreshed: bool,
) -> None:
    sensor = some_sensor()
    await connection.execute(
        "insert into sensor_data (timestamp, sensor_id, value) "
        "select $1, $2, value from unnest($3::float8[]) as value, generate_series(1, $4)",
        *(EPOCH, sensor, values, times),
    )
    await connection.execute("insert into late_ranges (range_start, range_end) values ($1, $2)", EPOCH, EPOCH + HOUR)
    if refreshed:
        await refresh(database, connection, EPOCH, EPOCH + HOUR)
        await connection.execute("delete from late_ranges")
    [hour] = await hourly(client, sensor)
    assert (hour["min"], hour["max"], hour["samples"]) == (min(values), max(values), len(values) * times)
    assert hour["min"] <= hour["avg"] <= hour["max"]
    mean = sum(map(Fraction, values)) / len(values)
    magnitude = sum(abs(Fraction(value)) for value in values) / len(values)
    assert abs(Fraction(hour["avg"]) - mean) <= hour["samples"] * Fraction(2) ** -53 * magnitude * Fraction(1 + 2**-20)


async def test_no_answer_falls_between_a_note_and_its_refresh(
    timescaledb: TestDatabase,
) -> None:
    """Rows come late and are mended as fast as can be, while somebody asks without a pause."""
    rounds = 40
    written = 0
    async with (
        owner(timescaledb) as writing,
        owner(timescaledb) as mending,
        asking(query_settings(timescaledb)) as asked,
    ):

        async def write() -> None:
            nonlocal written
            for number in range(rounds):
                await insert(writing, "sensor-1", [(number % 3 * HOUR, 1.0)], late=True)
                written = number + 1

        async def mend(done: asyncio.Event) -> None:
            while not done.is_set() or await mending.fetchval("select exists (select from late_ranges)"):
                notes = await mending.fetch("select id, range_start, range_end from late_ranges")
                for note in notes:
                    await refresh(timescaledb, mending, note["range_start"], note["range_end"])
                struck = [note["id"] for note in notes]
                await mending.execute("delete from late_ranges where id = any($1)", struck)

        async def ask(done: asyncio.Event) -> None:
            while not done.is_set():
                least = written
                found = sum(hour["samples"] for hour in await hourly(asked, "sensor-1"))
                assert least <= found <= rounds

        done = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(mend(done))
            group.create_task(ask(done))
            await write()
            done.set()
        assert sum(hour["samples"] for hour in await hourly(asked, "sensor-1")) == rounds


async def test_hours_mended_while_an_answer_was_being_planned_are_in_it(timescaledb: TestDatabase) -> None:
    """A statement is planned before it has its snapshot, and its plan knows no chunk that the aggregate got since."""
    recent = datetime.now(UTC) - EPOCH - timedelta(hours=3)
    async with (
        owner(timescaledb) as watching,
        owner(timescaledb) as mending,
        asking(query_settings(timescaledb)) as asked,
    ):
        await insert(watching, "sensor-1", [(recent, 1.0)])
        await refresh(timescaledb, watching, EPOCH + recent - HOUR, EPOCH + recent + HOUR)
        await insert(watching, "sensor-1", [(timedelta(0), 2.0)], late=True)
        newest = await watching.fetchval(
            "select tableoid::regclass::text from sensor_data order by timestamp desc limit 1"
        )
        async with watching.transaction():
            await watching.execute(f"lock table {newest} in access exclusive mode")
            answer = asyncio.create_task(hourly(asked, "sensor-1"))
            waiting = "select pid from pg_locks where not granted and relation = $1::text::regclass"
            await eventually(lambda: mending.fetchval(waiting, newest))
            await refresh(timescaledb, mending, EPOCH, EPOCH + HOUR)
            await mending.execute("delete from late_ranges")
        assert await answer == model([(timedelta(0), 2.0), (recent, 1.0)])
