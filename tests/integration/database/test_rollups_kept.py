"""Rollups kept in tables of ours: at every moment, whoever changes rows and whatever dies, questions and rows agree."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from services.contract.instants import micros_of
from services.database.repair import rollups, settling
from services.database.repair.rollups import RollupKeeper
from services.database.schema.apply import apply
from services.database.schema.scripts import SQL
from services.platform.runtime.failpoints import Place
from services.platform.settings import Settings
from tests.conftest import made_in
from tests.integration.database.test_repair_at_all_times import BY_HAND
from tests.integration.database.test_sql_changes import CHANGES, HISTORY, OLD, RECENT, agrees
from tests.integration.worker.test_transaction import work_of
from tests.support import Service, TestDatabase, eventually
from tests.support.admin import both_ports
from tests.support.deletions import ask_deletion, carry_out
from tests.support.faults import Failpoints, ended
from tests.support.late import HOUR, connected, insert, notes
from tests.support.query import asking, query_settings
from tests.support.readings import entry_of
from tests.support.rollups import CLOSE, COLUMNS, DIFFERENT, NOTE, OWN, agree, changing, complete, keeper, kept
from tests.support.servers import MODES, Servers
from tests.support.worker import parts_of

BEGIN = datetime(2025, 10, 22, tzinfo=UTC)

PLAIN = pytest.mark.parametrize("database_mode", ["plain"], indirect=True)


@pytest.fixture(params=[mode for mode in MODES if mode != "timescaledb"])
def database_mode(request: pytest.FixtureRequest) -> str:
    """Of those in which the repair loop keeps rollups; what this machine lacks, `database` skips."""
    mode: str = request.param
    return mode


@pytest.fixture
def empty_plain(servers: Servers) -> Iterator[TestDatabase]:
    """A database without TimescaleDB that only sql/bootstrap.sql has seen."""
    with made_in(servers, "plain", empty=True) as made:
        yield made


@pytest.fixture
async def owner(database: TestDatabase) -> AsyncIterator[Any]:
    async with connected(database, "owner") as connection:
        yield connection


async def by_hand(owner: Any, database: TestDatabase, *statement: Any) -> None:
    async with changing(owner, database):
        await owner.execute(*statement)


@PLAIN
async def test_hours_and_rows_agree_at_every_moment(
    database: TestDatabase, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    monkeypatch.setattr(rollups, "CLOSE", CLOSE)
    urls = [getattr(database.settings, f"{role}_url").get_secret_value() for role in ("owner", "reader", "writer")]
    connections = [await asyncpg.connect(url) for url in (*urls, urls[2], urls[2], urls[2])]
    by_hand, reader, *writers = connections
    done = asyncio.Event()
    try:
        async with keeper(database) as one, keeper(database) as two, both_ports(settings) as ports:
            background = [
                asyncio.create_task(task)
                for task in (
                    _repair(one, done),
                    _repair(two, done),
                    _change(by_hand, random.Random(seed - 1), done),
                    _delete(ports, settings, random.Random(seed - 2), done),
                    _compare(reader, done),
                )
            ]
            writing = [_write(writer, random.Random(seed + n)) for n, writer in enumerate(writers)]
            await asyncio.gather(*writing)
            done.set()
            await asyncio.gather(*background)
            await agree(reader)
            assert await reader.fetchval(DIFFERENT) == 0
            assert await reader.fetchval("select count(*) from sensor_rollup_1h") > 0
    finally:
        for connection in connections:
            connection.terminate()


async def _write(writer: Any, choice: random.Random) -> None:
    """Write as a worker does: the rows, then their notes, one transaction."""
    await writer.execute(OWN)
    for _ in range(200):
        time = BEGIN + timedelta(hours=choice.uniform(0, 330))
        async with writer.transaction():
            records = [(time, f"sensor-{choice.randrange(5)}", float(choice.randrange(100)))]
            await writer.copy_records_to_table("sensor_data", records=records, columns=COLUMNS)
            await asyncio.sleep(choice.choice((0, 0, choice.uniform(0, 0.05))))
            await writer.execute(NOTE, time)
            await asyncio.sleep(choice.choice((0, 0, choice.uniform(0, 0.05))))


async def _repair(kept_by: RollupKeeper, done: asyncio.Event) -> None:
    while True:
        finishing = done.is_set()
        kept_by.step = timedelta(hours=7)
        await kept_by.round()
        if finishing and await complete(kept_by.connection):
            return


async def _change(owner: Any, choice: random.Random, done: asyncio.Event) -> None:
    """Change rows as a person with psql does; now and then in a transaction that takes its time."""
    while not done.is_set():
        statement = choice.choice(BY_HAND) if choice.random() > 0.08 else "truncate sensor_data"
        arguments = () if "truncate" in statement else (choice.uniform(0, 300),)
        isolation = choice.choice(("read_committed", "repeatable_read"))
        try:
            async with owner.transaction(isolation=isolation):
                await owner.fetchval("select count(*) from late_ranges")
                await asyncio.sleep(choice.uniform(0, 0.1))
                await owner.execute(statement, *arguments)
                await asyncio.sleep(choice.uniform(0, 0.1))
        except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
            pass
        await asyncio.sleep(choice.uniform(0, 0.2))


async def _delete(ports: Any, settings: Settings, choice: random.Random, done: asyncio.Event) -> None:
    while not done.is_set():
        start = micros_of(BEGIN + timedelta(hours=choice.uniform(0, 300)))
        await ask_deletion(ports.admin, [f"sensor-{choice.randrange(5)}"], start, start + 20 * 3_600_000_000)
        await carry_out(settings.database)
        await asyncio.sleep(choice.uniform(0, 0.3))


async def _compare(reader: Any, done: asyncio.Event) -> None:
    while not done.is_set():
        # As queries ask: several statements may share a snapshot.
        async with reader.transaction(isolation="repeatable_read"):
            # A TRUNCATE is seen by snapshots of before it: whoever asks has the table locked.
            await reader.execute("lock table sensor_data in access share mode")
            await agree(reader)


async def test_an_hour_waits_for_transactions_that_wrote_before_it_was_closed(
    database: TestDatabase, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "SETTLING", 0.3)
    now = await owner.fetchval("select now()")
    async with connected(database, "writer") as slow, connected(database, "writer") as writer, keeper(database) as one:
        for each in (slow, writer):
            await each.execute(OWN)
        async with slow.transaction():
            await insert(slow, now - 3 * HOUR)
            await slow.execute(NOTE, now - 3 * HOUR)
            await one.round()
            assert await owner.fetchval(
                "select computed_until = '-infinity' and closed_until < now() from rollup_state"
            )
            # Who comes later knows.
            async with writer.transaction():
                await insert(writer, now - 5 * HOUR)
                await writer.execute(NOTE, now - 5 * HOUR)
            assert await notes(database) == 1
            await one.round()
            assert not await owner.fetchval("select computed_until > '-infinity' from rollup_state")
        await kept(database)
    assert await owner.fetchval("select sum(samples) from sensor_rollup_1h") == 2
    await agree(owner)


async def test_a_workers_readings_of_an_open_hour_need_no_note_and_late_ones_have_theirs(
    database: TestDatabase, settings: Settings, owner: Any
) -> None:
    store = (await parts_of(settings)).store
    now = micros_of(await owner.fetchval("select date_trunc('hour', now()) + interval '1 second'"))
    early = now - 400 * 3_600_000_000
    await store.write(work_of(entry_of([("a", now, 1.0), ("a", early, 1.0)])))
    assert await notes(database) == 0, "nothing is computed yet"
    await kept(database)
    assert await owner.fetchval("select count(*) from sensor_rollup_1h") == 1
    await store.write(work_of(entry_of([("a", now, 2.0)])))
    assert await notes(database) == 0
    await store.write(work_of(entry_of([("a", early, 2.0)])))
    assert await notes(database) == 1
    await agree(owner)
    await kept(database)
    assert await owner.fetchval("select samples from sensor_rollup_1h") == 2


@pytest.mark.parametrize("at", [OLD, RECENT], ids=["old", "recent"])
@pytest.mark.parametrize(
    "change", [change for change in CHANGES if "aggregate" not in change and "chunk" not in change]
)
async def test_hours_follow_what_sql_changed_at_once_and_after_the_repair(
    database: TestDatabase, owner: Any, change: str, at: datetime
) -> None:
    if database.mode == "citus" and change == "update of times":
        pytest.skip("Citus takes no UPDATE by a function that depends on the time zone")
    for start in (OLD, RECENT):
        await by_hand(owner, database, HISTORY, start)
    await kept(database)
    async with asking(query_settings(database)) as client:
        await agrees(client, owner, "sensor-1")
        for statement in CHANGES[change].format(at=f"timestamptz '{at}'").split(";"):
            await by_hand(owner, database, statement)
            await agree(owner)
        for _ in range(2):
            await agrees(client, owner, "sensor-1")
            await agrees(client, owner, "sensor-2")
            await kept(database)
            assert await owner.fetchval(DIFFERENT) == 0


async def test_hours_come_from_the_rollup_where_it_is_computed_and_nowhere_else(
    database: TestDatabase, owner: Any
) -> None:
    await by_hand(owner, database, HISTORY, OLD)
    await kept(database)
    async with asking(query_settings(database)) as client:
        # What is in the table is what is shown, and not what the rows would say.
        await owner.execute(
            "update sensor_rollup_1h set samples = samples + 1000; update sensor_rollup_15m set count = 9000"
        )
        assert {hour["samples"] for hour in await asked(client, "/hourly")} == {1001, 1003}
        assert await owner.fetchval("select min(samples) from measurement_hourly") == 1001
        assert await owner.fetchval("select min(samples) from grafana_hourly('{sensor-1}', $1, now())", OLD) == 1001
        quarters = await asked(client, "/series", agg="count", bucket="15m", start=OLD.isoformat())
        assert {row["count"] for row in quarters["data"]} == {9000}
        assert {part["from"] for part in quarters["meta"]["source"]} == {"sensor_rollup_15m", "rows"}
        # An hour that is noted comes from the rows.
        await owner.execute("insert into late_ranges (range_start, range_end) values ($1, $2)", OLD, OLD + HOUR)
        for found in (
            [hour["samples"] for hour in await asked(client, "/hourly")],
            [
                row[0]
                for row in await owner.fetch(
                    "select samples from measurement_hourly where sensor_id = 'sensor-1' order by bucket"
                )
            ],
            [row[0] for row in await owner.fetch("select samples from grafana_hourly('{sensor-1}', $1, now())", OLD)],
        ):
            assert [found[0], found[1]] == [3, 1003]


async def asked(client: httpx.AsyncClient, path: str, **parameters: str) -> Any:
    end = {"end": datetime.now(UTC).isoformat()} if path == "/series" else {}
    answer = await client.get(path, params={"sensor_id": "sensor-1", **parameters, **end})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_notes_that_somebody_strikes_off_have_all_hours_computed_anew(database: TestDatabase, owner: Any) -> None:
    """As the repair process of the release before does, which computes nothing."""
    await by_hand(owner, database, HISTORY, OLD)
    await kept(database)
    await owner.execute(OWN)
    async with owner.transaction():
        await insert(owner, OLD, sensor="sensor-1")
        await owner.execute("insert into late_ranges (range_start, range_end) values ($1, $2)", OLD, OLD + HOUR)
    async with connected(database, "owner") as other:
        await other.execute("delete from late_ranges")
    await agree(owner)
    assert not await owner.fetchval("select computed_from < computed_until from rollup_state")
    await kept(database)
    assert await owner.fetchval(DIFFERENT) == 0


async def test_a_history_of_any_years_is_computed_from_its_newest_piece_on(database: TestDatabase, owner: Any) -> None:
    years = [
        "4000-06-01 12:00Z BC",
        "0001-01-01 00:00Z",
        "1970-03-01 00:59Z",
        "2019-02-03 04:05Z",
        "2019-02-05 04:05Z",
        "12000-06-01Z",
        "-infinity",
        "infinity",
    ]
    for number, year in enumerate(years):
        row = f"insert into sensor_data (timestamp, sensor_id, value) values ('{year}', 'a', {number})"
        await by_hand(owner, database, row)
    found = []
    async with keeper(database) as one:
        while not await complete(owner):
            one.step = timedelta(hours=6)
            await one.round()
            await agree(owner)
            found.append(await owner.fetchval("select count(*) from sensor_rollup_1h"))
            assert len(found) < 20
    # Two readings of 2019 are two steps, and what is before the year 10 is one.
    assert found == [1, 2, 3, 6]
    await by_hand(owner, database, "update sensor_data set value = value + 1 where timestamp < '0010-01-01'")
    await agree(owner)
    await kept(database)
    assert await owner.fetchval(DIFFERENT) == 0


async def test_a_wide_note_is_computed_piece_by_piece(database: TestDatabase, owner: Any) -> None:
    await by_hand(owner, database, HISTORY, OLD)
    await by_hand(owner, database, HISTORY, RECENT)
    await kept(database)
    await owner.execute(OWN)
    async with owner.transaction():
        await owner.execute("update sensor_data set value = value + 1")
        await owner.execute("insert into late_ranges (range_start, range_end) values ($1, $2)", OLD, RECENT + 30 * HOUR)
    async with keeper(database) as one:
        one.step = timedelta(days=25)
        assert (await one.round()).waiting == 1
        await agree(owner)
        assert await owner.fetchval(
            "select upper(r) < $1 from late_ranges, tstzrange(range_start, range_end) r", RECENT
        )
    await kept(database)
    assert await owner.fetchval(DIFFERENT) == 0


@pytest.mark.parametrize("action", ["kill", "fail"])
@pytest.mark.parametrize("place", ["rollups.before_commit", "rollups.before_telling"])
async def test_a_step_that_is_cut_short_has_not_been(
    database: TestDatabase,
    settings: Settings,
    owner: Any,
    service: Callable[[str, Settings], Service],
    tmp_path: Path,
    action: str,
    place: Place,
) -> None:
    if place == "rollups.before_telling" and database.mode == "plain":
        pytest.skip("a step is one transaction there")
    for start in (OLD, RECENT):
        await by_hand(owner, database, HISTORY, start)
    failpoints = Failpoints(tmp_path / "failpoints")
    quick = settings.model_copy(update={"repair": settings.repair.model_copy(update={"interval": 0.1})})
    for _ in range(4):
        failpoints.arm(place, action)
        process = failpoints.given_to(service("repair", quick))
        process.start()
        await failpoints.fired(place)
        await agree(owner)
        if action == "kill":
            await eventually(partial(ended, process), 30)
        else:
            await eventually(partial(complete, owner), 30)
            assert process.terminate() == 0
        await agree(owner)
        await by_hand(owner, database, "update sensor_data set value = value + 1 where sensor_id = 'sensor-1'")
    await kept(database)
    assert await owner.fetchval(DIFFERENT) == 0


async def test_a_database_of_the_release_before_has_its_history_computed(
    empty_plain: TestDatabase, tmp_path: Path
) -> None:
    before = shutil.copytree(SQL, tmp_path / "sql")
    (before / "migrations" / "0012_rollups.sql").unlink()
    await apply(empty_plain.settings, before)
    async with connected(empty_plain, "owner") as owner:
        for start in (OLD, RECENT):
            await owner.execute(HISTORY, start)
        await insert(owner, datetime.now(UTC))
        shown = await owner.fetch("select bucket, sensor_id, min, max, samples from measurement_hourly order by 1, 2")
        assert (await apply(empty_plain.settings)).migrations == ("0012 rollups",)
        for _ in range(2):
            again = await owner.fetch(
                "select bucket, sensor_id, min, max, samples from measurement_hourly order by 1, 2"
            )
            assert again == shown
            await kept(empty_plain)
        assert await owner.fetchval("select count(*) from sensor_rollup_1h") == len(shown) - 1
        assert (await apply(empty_plain.settings)).did == ()
