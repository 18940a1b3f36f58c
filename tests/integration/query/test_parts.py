"""A large range read by two connections: the rows of one snapshot, each once, whatever happens meanwhile."""

import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import asyncpg
import pytest

from services.contract.instants import instant_of, micros_of
from services.platform.http.errors import Problem
from services.platform.settings import Settings
from services.query import parts
from services.query.fetch import Batches, Fetcher
from services.query.parts import LARGE as LARGE_RANGE
from services.query.parts import exported, parts_of
from services.query.plan import FIRST, LAST, Plan
from services.query.series.groups import unlabelled
from services.query.series.plan import plan
from services.query.series.question import Limits, Parameters, ask
from tests.support import TestDatabase, eventually
from tests.support.query import (
    EPOCH,
    LARGE,
    LARGE_ROWS,
    STREAMING,
    asking,
    backends,
    fill,
    insert,
    owner,
    query_settings,
    some_sensor,
)  # fmt: skip

LIMITS = Limits(1000, 1_000_000, 1_000_000)
ROWS = 20_000
SPAN = timedelta(days=28)
SENSOR = "a"


def points_of(sensor: str, start: datetime, end: datetime) -> Plan:
    """Return the plan of a sensor's readings, of which points are made."""
    parameters = Parameters([sensor], start.isoformat(), end.isoformat(), points="100")
    question = ask(parameters, micros_of(datetime.now(UTC)), LIMITS)
    found = plan(question, unlabelled(question.sensors, question.by))
    assert isinstance(found, Plan)
    return found


def large_plan() -> Plan:
    return points_of(LARGE, EPOCH, EPOCH + timedelta(seconds=LARGE_ROWS))


@contextlib.asynccontextmanager
async def fetching(settings: Settings, pool_size: int = 8) -> AsyncIterator[Fetcher]:
    sized = settings.database.model_copy(update={"pool_size": pool_size})
    made = Fetcher(settings.model_copy(update={"database": sized}))
    try:
        yield made
    finally:
        made.close()


async def values_of(batches: Batches) -> list[float]:
    return [value async for table in batches for value in table["value"].values.tolist()]


async def taken(batches: Batches, rows: int) -> list[float]:
    """Take batches of so many rows or more."""
    values: list[float] = []
    while len(values) < rows:
        values += (await anext(batches))["value"].values.tolist()
    return values


def m4(rows: Sequence[tuple[int, float]], start: int, end: int, points: int) -> list[tuple[int, float]]:
    """Return the first, last, first least and first greatest of each cell, by plain Python."""
    width = max(-(-(end - start) // (points // 4)), 1)
    kept: list[tuple[int, float]] = []
    for _, cell in groupby(range(len(rows)), lambda place: (rows[place][0] - start) // width):
        there = list(cell)
        least = min(there, key=lambda place: rows[place][1])
        greatest = max(there, key=lambda place: rows[place][1])
        kept += [rows[place] for place in sorted({there[0], there[-1], least, greatest})]
    return kept


async def chunks_of(connection: asyncpg.Connection) -> list[str]:
    """Return the names of the readings' chunks in the order of time."""
    found = await connection.fetch(
        "select format('%I.%I', chunk_schema, chunk_name) as name from timescaledb_information.chunks "
        "where hypertable_name = 'sensor_data' order by range_start"
    )
    return [row["name"] for row in found]


@pytest.fixture
async def written(timescaledb: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> TestDatabase:
    """Readings in the columnstore and in the row store, late ones and several of one instant; some were deleted."""
    monkeypatch.setattr(parts, "LARGE", 1_000)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)

    def some(count: int) -> list[tuple[timedelta, float]]:
        offsets = [SPAN * chance.random() for _ in range(count)]
        return [(each, round(chance.gauss(20, 3), 1)) for each in offsets + offsets[:50]]

    async with owner(timescaledb) as connection:
        await insert(connection, SENSOR, some(ROWS))
        for chunk in (await chunks_of(connection))[:-1]:
            await connection.execute(f"call convert_to_columnstore('{chunk}')")
        await insert(connection, SENSOR, some(ROWS // 20), late=True)
        low = EPOCH + SPAN * chance.random()
        await connection.execute(
            "delete from sensor_data where timestamp >= $1 and timestamp < $2", low, low + timedelta(hours=5)
        )
        await connection.execute("analyze sensor_data")
    return timescaledb


async def test_points_are_those_of_plain_python(written: TestDatabase) -> None:
    async with owner(written) as connection:
        found = await connection.fetch(
            "select timestamp, value from sensor_data where sensor_id = $1 order by timestamp, id", SENSOR
        )
    rows = [(micros_of(row["timestamp"]), row["value"]) for row in found]
    chance = random.Random(len(rows))
    async with asking(query_settings(written)) as client:
        for points in (4, 52, 400, 4000, 200_000):
            start = micros_of(EPOCH + SPAN * chance.random() * 0.4)
            end = start + int((micros_of(EPOCH + SPAN) - start) * chance.uniform(0.7, 1.2))
            span = {"start": instant_of(start).isoformat(), "end": instant_of(end).isoformat()}
            asked: dict[str, Any] = {"sensor_id": SENSOR, "points": points, "epoch": "us", "layout": "columns"}
            answer = (await client.get("/series", params=asked | span)).json()["data"]
            kept = list(zip(answer["timestamp"], answer["value"], strict=True))
            assert kept == m4([row for row in rows if start <= row[0] < end], start, end, points)


async def test_all_parts_are_of_one_snapshot(database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    # So the second connection comes behind the first batch, and so behind what happens then.
    monkeypatch.setattr(parts, "LARGE", 2_000)
    rows, half = 100_000, EPOCH + timedelta(seconds=50_000)
    for pool_size in (1, 8):
        sensor = some_sensor()
        await fill(database, sensor, range(rows), 7)
        async with fetching(query_settings(database), pool_size) as fetcher, owner(database) as connection:
            await warmed(fetcher, min(pool_size, 2))
            async with fetcher.fetch(points_of(sensor, EPOCH, EPOCH + timedelta(seconds=rows))) as batches:
                values = await taken(batches, 1)
                await connection.execute(
                    "delete from sensor_data where sensor_id = $1 and timestamp >= $2", sensor, half
                )
                await insert(connection, sensor, [(timedelta(seconds=rows - 1), -1.0)])
                values += await values_of(batches)
        assert sorted(values) == [number / 7 for number in range(rows)]


async def warmed(fetcher: Fetcher, connections: int) -> None:
    """Have a fetcher's connections made."""
    async with contextlib.AsyncExitStack() as held:
        for _ in range(connections):
            await held.enter_async_context(fetcher._connection(None))


async def test_no_chunk_is_truncated_before_it_is_read(written: TestDatabase) -> None:
    async with owner(written) as connection:
        *_, last = await chunks_of(connection)
        before = await connection.fetchval("select count(*) from sensor_data where sensor_id = $1", SENSOR)
        async with (
            fetching(query_settings(written), pool_size=1) as fetcher,
            fetcher.fetch(points_of(SENSOR, EPOCH, EPOCH + SPAN)) as batches,
        ):
            rows = len(await taken(batches, 1))
            await connection.execute("set lock_timeout = '100ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await connection.execute(f"call convert_to_columnstore('{last}')")
            rows += len(await values_of(batches))
        assert rows == before


async def test_two_connections_read_and_whoever_leaves_leaves_both_usable(
    large: TestDatabase, watching: asyncpg.Connection
) -> None:
    async with fetching(query_settings(large)) as fetcher:
        async with fetcher.fetch(large_plan()) as batches:
            await taken(batches, LARGE_RANGE + 1)
            reading = await eventually(lambda: two(watching))
        assert sorted(await backends(watching, "state = 'idle'")) == sorted(reading)
        async with fetcher.fetch(large_plan()) as batches:
            assert sorted(await values_of(batches)) == [number / 7 for number in range(LARGE_ROWS)]
        assert sorted(await backends(watching, "state = 'idle'")) == sorted(reading), "they were the same connections"


async def two(watching: asyncpg.Connection) -> list[int]:
    """Return the backends that send rows, if they are two."""
    found = await backends(watching, STREAMING)
    return found if len(found) > 1 else []


async def test_the_loss_of_either_connection_is_a_failure_and_no_shorter_answer(
    large: TestDatabase, watching: asyncpg.Connection
) -> None:
    async def losing(which: int) -> None:
        async with fetcher.fetch(large_plan()) as batches:
            await taken(batches, LARGE_RANGE + 1)
            reading = sorted(await eventually(lambda: two(watching)))
            await watching.execute("select pg_terminate_backend($1)", reading[which])
            await values_of(batches)

    async with fetching(query_settings(large)) as fetcher:
        for which in range(2):
            with pytest.raises(Problem, match="failed during"):
                await losing(which)
            await eventually(lambda: none(watching))


async def none(watching: asyncpg.Connection) -> bool:
    return not await backends(watching, STREAMING)


@pytest.mark.parametrize(("share", "held"), [(0.1, 0), (1.0, 3)], ids=["its share", "half of all"])
async def test_no_second_connection_is_taken_from_others(
    large: TestDatabase, watching: asyncpg.Connection, share: float, held: int
) -> None:
    async with fetching(query_settings(large, caller_share=share)) as fetcher, contextlib.AsyncExitStack() as holding:
        for _ in range(held):
            await holding.enter_async_context(fetcher._connection(None))
        async with fetcher.fetch(large_plan(), "one caller") as batches:
            assert len(await values_of(batches)) == LARGE_ROWS
        assert len(await backends(watching, "true")) == held + 1


async def test_where_a_lock_is_not_to_be_had_a_range_is_read_alone(database: TestDatabase) -> None:
    async with fetching(query_settings(database)) as fetcher, owner(database) as locking:
        async with locking.transaction():
            await locking.execute("lock table sensor_data in access exclusive mode")
            async with fetcher._connection(None) as connection, exported(connection) as name:
                assert name is None
                assert not connection.is_in_transaction()
        async with fetcher._connection(None) as connection, exported(connection) as name:
            assert name


async def test_where_there_are_many_chunks_a_range_is_read_alone(
    written: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fetching(query_settings(written)) as fetcher, fetcher._connection(None) as connection:
        for most, shared in ((len(await chunks_of(connection)), True), (1, False)):
            monkeypatch.setattr(parts, "_MOST_CHUNKS", most)
            async with exported(connection) as name:
                assert (name is not None) == connection.is_in_transaction() == shared


@pytest.mark.parametrize(
    ("start", "end"),
    [(FIRST, LAST), (EPOCH, EPOCH + timedelta(microseconds=1)), (EPOCH, EPOCH + timedelta(days=1, microseconds=5))],
)
def test_parts_follow_each_other_without_a_gap(start: datetime, end: datetime) -> None:
    ranges = [part.arguments[1:] for part in parts_of(points_of("a", start, end))]
    assert [low for low, _ in ranges] == [start, *(high for _, high in ranges[:-1])]
    assert ranges[-1][1] == end
    assert all(low <= high for low, high in ranges)  # type: ignore[operator]
