"""`/series` from rollups equals what the rows say, whatever happened to the rows, the rollups and their refreshes."""

import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg
import httpx
import pytest
import structlog
from hypothesis import HealthCheck, Phase, event, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from services.contract.instants import instant_of
from services.database.repair.late_ranges import recompute_changed, repair_once
from services.database.repair.retention import watch_retention
from services.database.repair.rollups import RollupKeeper
from services.platform.postgres.capability import capability
from services.platform.runtime.health import Health
from services.query.rollups import Rollups
from tests.support import TestDatabase, series
from tests.support.late import connected
from tests.support.query import asking, query_settings
from tests.support.rollups import changing, keeper, kept
from tests.support.series import Asked, Reading

BEGIN = datetime(2024, 3, 28, tzinfo=UTC)
"""Before the nights in which clocks change in Berlin and at Lord Howe."""

MINUTES = 12 * 24 * 60
ROLLUPS = ["measurement_hourly", "sensor_rollup_15m", "by_day"]
AGGREGATES = ["avg", "min", "max", "sum", "count", "stddev"]

BY_DAY = """
create materialized view by_day with (timescaledb.continuous) as
select sensor_id, time_bucket(interval '1 day', timestamp) as day, count(value) as n, avg(value) as mean,
  max(value) - min(value) as spread
from sensor_data group by 2, 1 with no data
"""

Step = tuple[Any, ...]

_AT = st.integers(0, MINUTES - 1)
_SENSOR = st.sampled_from(["a", "B"])
_VALUE = st.integers(-4000, 4000).map(lambda quarters: quarters / 4)
_READINGS = st.lists(st.tuples(_SENSOR, _AT, _VALUE), min_size=1, max_size=2)
_HISTORY = st.lists(st.tuples(_SENSOR, _AT, _VALUE), min_size=5, max_size=20)
_SPAN = st.tuples(_AT, _AT).map(lambda ends: (min(ends), max(ends) + 1))

STEPS = st.one_of(
    st.tuples(st.just("insert"), _READINGS),
    st.tuples(st.just("late"), _READINGS),
    st.tuples(st.just("delete"), _SENSOR, _SPAN),
    st.tuples(st.just("update"), _SENSOR, _SPAN),
    st.tuples(st.just("refresh"), st.sampled_from(ROLLUPS), _SPAN | st.just((0, MINUTES))),
    st.tuples(st.just("repair")),
    st.tuples(st.just("truncate")),
    st.tuples(st.just("renew"), st.sampled_from(ROLLUPS[1:])),
)
"""What happens to rows, by the worker and by SQL, and to the rollups."""


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    start, end = draw(_SPAN | st.tuples(st.integers(0, 600), st.integers(MINUTES - 600, MINUTES)))
    cut = timedelta(seconds=draw(st.sampled_from([0, 0, 17])))
    bucket = draw(st.sampled_from([None, (15, "m"), (1, "h"), (6, "h"), (1, "d"), (1, "w"), (20, "m"), (1, "mo")]))
    return Asked(
        BEGIN + timedelta(minutes=start) + cut,
        BEGIN + timedelta(minutes=end) + cut,
        draw(st.sampled_from(series.ZONES)),
        draw(st.lists(st.sampled_from(AGGREGATES), min_size=1, max_size=4, unique=True))
        + draw(st.sampled_from([[], [], [], ["median", "p90"]])),
        bucket,
        draw(st.sampled_from(["none", "null", "previous"])) if bucket else "none",
        draw(st.sampled_from(series.BY)),
    )


class World:
    """The readings as they must be, beside the database that holds them."""

    def __init__(
        self, database: TestDatabase, owner: asyncpg.Connection, guard: asyncpg.Connection, keeper: RollupKeeper
    ) -> None:
        self.database, self.owner, self.guard, self.keeper = database, owner, guard, keeper
        self.rows: list[tuple[str, datetime, float]] = []
        self.rollups = Rollups()

    async def empty(self) -> None:
        """Begin with no readings, and rollups that know of none."""
        await self.do(("truncate",))
        await self.owner.execute("delete from late_ranges; delete from dropped_ranges; delete from known_chunks")
        if self.database.mode == "timescaledb":
            for name in ROLLUPS:
                await renewed(self.owner, name)
        await self.look()

    async def look(self) -> None:
        """Have the service look at the rollups."""
        async with connected(self.database, "reader") as reader:
            await self.rollups.look(reader)

    async def do(self, step: Step) -> None:
        owner = self.owner
        match step:
            case ("insert" | "late", readings):
                new = [(sensor, BEGIN + timedelta(minutes=minute), value) for sensor, minute, value in readings]
                hours = {at.replace(minute=0) for _, at, _ in new} if step[0] == "late" else set()
                async with owner.transaction() if step[0] == "late" else changing(owner, self.database):
                    if step[0] == "late":
                        await owner.execute("set local millrace.notes = 'own'")
                    await owner.executemany(
                        "insert into sensor_data (sensor_id, timestamp, value) values ($1, $2, $3)", new
                    )
                    await owner.executemany(
                        "insert into late_ranges (range_start, range_end) values ($1, $2)",
                        [(hour, hour + timedelta(hours=1)) for hour in sorted(hours)],
                    )
                self.rows += new
            case ("delete" | "update", sensor, span):
                low, high = (BEGIN + timedelta(minutes=minute) for minute in span)
                what = "delete from sensor_data" if step[0] == "delete" else "update sensor_data set value = value + 1"
                async with changing(owner, self.database):
                    await owner.execute(
                        f"{what} where sensor_id = $1 and timestamp >= $2 and timestamp < $3", sensor, low, high
                    )
                hit = [row for row in self.rows if row[0] == sensor and low <= row[1] < high]
                self.rows = [row for row in self.rows if row not in hit]
                if step[0] == "update":
                    self.rows += [(name, at, value + 1) for name, at, value in hit]
            case ("refresh", name, span) if self.database.mode == "timescaledb":
                low, high = (BEGIN + timedelta(minutes=minute) for minute in span)
                try:
                    await owner.execute(f"call refresh_continuous_aggregate('{name}', '{low}', '{high}')")
                except asyncpg.InvalidParameterValueError:
                    event("no whole bucket")
            case ("repair",) if self.database.mode != "timescaledb":
                await self.keeper.round()
            case ("repair",):
                await repaired(owner, self.guard)
            case ("truncate",):
                async with changing(owner, self.database):
                    await owner.execute("truncate sensor_data")
                self.rows = []
            case ("renew", name) if self.database.mode == "timescaledb":
                await renewed(owner, name)

    def by_sensor(self) -> dict[str, list[Reading]]:
        return {name: [(at, value) for sensor, at, value in self.rows if sensor == name] for name in ("a", "B")}


async def repaired(owner: asyncpg.Connection, guard: asyncpg.Connection) -> None:
    """Do what the repair loop does in a round."""
    able = await capability(owner)
    if able.edition == "full":
        await watch_retention(owner)
    await repair_once(owner, guard, able, Health("repair"))
    if able.edition == "full":
        await recompute_changed(owner, guard, Health("repair"))


async def renewed(owner: asyncpg.Connection, name: str) -> None:
    """Drop a rollup and make it anew, empty."""
    if name == "by_day":
        await owner.execute("drop materialized view if exists by_day")
        await owner.execute(BY_DAY)
    else:
        made = await owner.fetchval(
            "select pg_get_viewdef(format('%I.%I', direct_view_schema, direct_view_name)::regclass)"
            " from _timescaledb_catalog.continuous_agg where user_view_name = $1",
            name,
        )
        await owner.execute(f"drop materialized view {name}")
        await owner.execute(
            f"create materialized view {name} with (timescaledb.continuous) as {made.rstrip(';')} with no data"
        )
    await owner.execute(f"grant select on {name} to millrace_reader")


@pytest.fixture
async def world(database: TestDatabase) -> AsyncIterator[World]:
    async with connected(database, "owner") as owner, connected(database, "owner") as guard, keeper(database) as keeps:
        if database.mode == "timescaledb":
            await owner.execute(
                "select remove_continuous_aggregate_policy(a)"
                " from unnest(array['measurement_hourly', 'sensor_rollup_15m']::regclass[]) a"
            )
            await renewed(owner, "by_day")
        await owner.executemany(
            "insert into sensors (sensor_id, name, labels) values ($1, $1, $2)",
            [(sensor, json.dumps(labels)) for sensor, labels in series.LABELS.items()],
        )
        yield World(database, owner, guard, keeps)


@pytest.fixture
async def client(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    # What the service knows of rollups is what the test last had it look at, not what it saw some seconds ago.
    monkeypatch.setattr("services.query.app.Rollups", lambda: world.rollups)
    async with asking(query_settings(world.database)) as asked:
        yield asked


async def answered(client: httpx.AsyncClient, asked: Asked, sensors: Sequence[str] = ("B", "a")) -> Any:
    parameters: dict[str, Any] = {"sensor_id": list(sensors), "tz": asked.zone, "agg": ",".join(asked.aggregates)}
    parameters |= {"start": asked.start.isoformat(), "end": asked.end.isoformat()}
    if asked.bucket:
        parameters |= {"bucket": "{}{}".format(*asked.bucket), "fill": asked.fill}
    parameters["by"] = asked.by
    response = await client.get("/series", params=parameters)
    assert response.status_code == 200, response.text
    found = response.json()
    source = found["meta"]["source"]
    ends = [(datetime.fromisoformat(each["start"]), datetime.fromisoformat(each["end"])) for each in source]
    assert (ends[0][0], ends[-1][1]) == (asked.start, asked.end)
    assert all(low[1] == high[0] for low, high in pairwise(ends))
    return found


# An example takes long enough that one found is worth more than a smaller one.
@examples(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    history=_HISTORY,
    filled=st.lists(st.sampled_from(ROLLUPS), min_size=1, unique=True),
    steps=st.lists(STEPS, max_size=5),
    asked=st.lists(questions(), min_size=4, max_size=8),
)
async def test_rollups_and_rows_answer_the_same(
    world: World,
    client: httpx.AsyncClient,
    history: list[tuple[str, int, float]],
    filled: list[str],
    steps: list[Step],
    asked: list[Asked],
) -> None:
    await world.empty()
    for step in (("insert", history), *(("refresh", name, (0, MINUTES)) for name in filled), *steps):
        await world.do(step)
        if step[0] != "renew":
            # A rollup made anew is one that the service has not seen yet.
            await world.look()
    for question in asked:
        found = await answered(client, question)
        series.same(series.read(found["data"], question.zone), series.answer(world.by_sensor(), question))
        for source in found["meta"]["source"]:
            event(source["from"])


@pytest.fixture
async def filled(world: World) -> World:
    """Readings each ten minutes of twelve days, and all rollups over them."""
    await world.do(("insert", [("a", minute, minute / 4) for minute in range(0, MINUTES, 10)]))
    if world.database.mode == "timescaledb":
        for name in ROLLUPS:
            await world.do(("refresh", name, (0, MINUTES)))
    else:
        await kept(world.database)
    await world.look()
    return world


DAYS = Asked(BEGIN + timedelta(hours=3), BEGIN + timedelta(days=10), "UTC", ["avg", "count"], (1, "d"), "none")
LOCAL = Asked(BEGIN, BEGIN + timedelta(days=10), "Asia/Kathmandu", ["sum", "stddev"], (1, "d"), "none")


def parts(found: Any) -> list[str]:
    return [source["from"] for source in found["meta"]["source"]]


async def test_the_widest_rollup_that_fits_is_taken_and_told(filled: World, client: httpx.AsyncClient) -> None:
    tables = filled.database.mode != "timescaledb"
    together = [replace(DAYS, by=by, fill="previous") for by in ("all", "floor,room")]
    wide = ["sensor_rollup_1h"] if tables else ["measurement_hourly", "by_day"]
    for asked, expected in (
        *((asked, wide) for asked in (DAYS, *together)),
        (LOCAL, ["sensor_rollup_15m"]),
        (replace(DAYS, aggregates=["avg", "median"]), ["rows"]),
        (replace(DAYS, aggregates=["avg", "increase"], by="all"), ["rows"]),
    ):
        found = await answered(client, asked)
        assert parts(found) == expected
        series.same(series.read(found["data"], asked.zone), series.answer(filled.by_sensor(), asked))


async def test_readings_that_came_late_are_taken_from_the_rows_alone(filled: World, client: httpx.AsyncClient) -> None:
    await filled.do(("late", [("a", 5 * 1440 + 125, 7.0), ("B", 5 * 1440 + 125, 8.0)]))
    found = await answered(client, DAYS)
    series.same(series.read(found["data"], "UTC"), series.answer(filled.by_sensor(), DAYS))
    late = [source for source in found["meta"]["source"] if source["from"] == "rows"]
    assert [source["start"] for source in late] == ["2024-04-02T00:00:00Z"] or [source["start"] for source in late] == [
        "2024-04-02T02:00:00Z"
    ]
    await filled.do(("repair",))
    assert "rows" not in parts(await answered(client, DAYS))


async def test_what_retention_took_is_answered_by_the_rollups_and_told(
    filled: World, client: httpx.AsyncClient
) -> None:
    if filled.database.mode != "timescaledb":
        return
    before = await answered(client, DAYS)
    await filled.do(("repair",))
    await filled.owner.execute("select drop_chunks('sensor_data', timestamptz '2024-04-05')")
    for _ in range(2):
        found = await answered(client, DAYS)
        assert found["data"] == before["data"]
        (gone,) = found["meta"]["rows_gone"]
        assert gone == {"start": "2024-03-28T03:00:00Z", "end": "2024-04-04T00:00:00Z"}
        assert all(source["start"] >= gone["end"] for source in found["meta"]["source"] if source["from"] == "rows")
        # Rollups that cannot answer a part say so.
        other = await answered(client, Asked(BEGIN, BEGIN + timedelta(days=1), "UTC", ["count"], (15, "m"), "none"))
        assert {row["count"] for row in other["data"]} == {1, 2}
        await filled.do(("repair",))


async def test_a_rollup_made_when_the_rows_were_gone_takes_nothing_from_the_others(
    filled: World, client: httpx.AsyncClient
) -> None:
    if filled.database.mode != "timescaledb":
        return
    hours = Asked(BEGIN, BEGIN + timedelta(days=11), "UTC", ["min", "max", "count"], (1, "h"), "none")
    before = await answered(client, hours)
    await filled.do(("repair",))
    await filled.owner.execute("select drop_chunks('sensor_data', timestamptz '2024-04-05')")
    for name in ("by_day", "sensor_rollup_15m"):
        await filled.do(("renew", name))
    for _ in range(3):
        await filled.look()
        assert (await answered(client, hours))["data"] == before["data"]
        await filled.do(("repair",))


@pytest.mark.parametrize("end", ["drop materialized view by_day", "revoke select on by_day from millrace_reader"])
async def test_a_rollup_that_is_gone_since_the_last_look_is_not_missed(
    filled: World, client: httpx.AsyncClient, end: str
) -> None:
    if filled.database.mode != "timescaledb":
        return
    before = await answered(client, DAYS)
    await filled.owner.execute(end)
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            after = await answered(client, DAYS)
            assert "by_day" not in parts(after)
            series.same(series.read(after["data"], "UTC"), series.read(before["data"], "UTC"))
    # Nothing has failed. Of one that is dropped nothing is asked.
    told = [(line["log_level"], line["action"]) for line in lines if "by_day" in str(line)]
    assert told == ([] if "drop" in end else [("info", "leave_rollup")])
    assert not [line for line in lines if line["log_level"] == "warning"]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("aggregates", [["avg"], ["median"]])
async def test_a_calendar_of_many_days_is_written_apart_from_the_loop(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, aggregates: list[str]
) -> None:
    threads: Counter[int] = Counter()

    def told(instant: int) -> datetime:
        threads[threading.get_ident()] += 1
        return instant_of(instant)

    for module in ("ordered", "plan", "routed"):
        monkeypatch.setattr(f"services.query.series.{module}.instant_of", told)
    # Whose clocks change by half an hour: the quarters of its days are grouped by the edges themselves.
    days = Asked(BEGIN - timedelta(days=12_000), DAYS.end, "Australia/Lord_Howe", aggregates, (1, "d"), "none")
    assert parts(await answered(client, days))
    here = threads.pop(threading.get_ident(), 0)
    assert here < 100
    assert sum(threads.values()) > 12_000
