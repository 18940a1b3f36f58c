"""`/latest` through the whole app on real databases, against the reference in plain Python."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.support import TestDatabase
from tests.support.catalogue import Sensor, enter, latest
from tests.support.query import EPOCH, asking, insert, owner, query_settings
from tests.support.series import ANCHORS, ZONES, Reading

IDS = ["a", "B", "ä", "z 1", "it's \\ {one}"]
_AWAY = st.one_of(
    st.integers(-3_000_000, 3_000_000).map(lambda micro: timedelta(microseconds=micro)),
    st.integers(-4 * 3600, 4 * 3600).map(lambda second: timedelta(seconds=second)),
    st.integers(-400, 400).map(lambda day: timedelta(days=day)),
)


async def answer(client: httpx.AsyncClient, **parameters: Any) -> Any:
    response = await client.get("/latest", params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, list[Reading]], set[str], dict[str, Any], datetime | None]:
    """Return readings of sensors, those of them that the catalogue has, and a question with its instant."""
    anchor = draw(st.sampled_from(ANCHORS))
    sensors = {}
    for sensor in draw(st.lists(st.sampled_from(IDS), max_size=4, unique=True)):
        at = draw(st.lists(_AWAY.map(lambda away: anchor + away), max_size=8))
        at += draw(st.lists(st.sampled_from(at), max_size=3)) if at else []
        sensors[sensor] = [(each, float(draw(st.integers(-9, 9)))) for each in at]
    known = draw(st.sets(st.sampled_from(IDS)))
    asked: dict[str, Any] = {"tz": draw(st.sampled_from(ZONES))}
    named = draw(st.lists(st.sampled_from(IDS), max_size=3, unique=True))
    match = draw(st.sampled_from([["*"], ["?"], ['{none!~"x[y]"}'], ["a", "z*"], []]))
    asked |= {"sensor_id": named} if named or not match else {}
    asked |= {"match": match} if match else {}
    if not asked.get("sensor_id") and not match:
        asked["sensor_id"] = ["a"]
    away = draw(st.none() | st.one_of(_AWAY, st.just(timedelta(0))))
    return sensors, known, asked, None if away is None else anchor + away


@examples(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(cases())
async def test_answers_are_those_of_the_reference(
    connection: asyncpg.Connection,
    client: httpx.AsyncClient,
    case: tuple[dict[str, list[Reading]], set[str], dict[str, Any], datetime | None],
) -> None:
    sensors, known, asked, at = case
    await connection.execute("truncate sensor_data, sensors")
    await enter(connection, [Sensor(sensor) for sensor in known])
    for sensor, readings in sensors.items():
        await insert(connection, sensor, [(each - EPOCH, value) for each, value in readings])
    chosen = {
        "*": known, "?": {sensor for sensor in known if len(sensor) == 1}, '{none!~"x[y]"}': known, "a": known & {"a"}
    }  # fmt: skip
    wanted = set(asked.get("sensor_id", [])).union(
        *(chosen.get(match, known & {"z 1"}) for match in asked.get("match", []))
    )
    expected = [(sensor, latest(sensors.get(sensor, []), at)) for sensor in sorted(wanted)]
    found = await answer(client, **asked, **({} if at is None else {"at": at.isoformat()}))
    rows = [(row["sensor_id"], (datetime.fromisoformat(row["timestamp"]).astimezone(UTC), row["value"]))
            for row in found["data"]]  # fmt: skip
    assert rows == [(sensor, newest) for sensor, newest in expected if newest]
    for row in found["data"]:
        written = datetime.fromisoformat(row["timestamp"])
        local = written.astimezone(ZoneInfo(asked["tz"]))
        assert written.replace(tzinfo=None) - local.replace(tzinfo=None) < timedelta(minutes=1)
    assert found["meta"]["tz"] == asked["tz"]
    assert (found["meta"]["at"] is None) == (at is None)
    epoch = await answer(client, **asked, **({} if at is None else {"at": at.isoformat()}), epoch="us")
    assert [row["timestamp"] for row in epoch["data"]] == [
        (each - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for _, (each, _) in rows
    ]


async def test_instants_are_expressions_in_the_zone_too(
    connection: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    now = datetime.now(UTC)
    days = [now - timedelta(days=day) for day in range(4)]
    await insert(connection, "a", [(day - EPOCH, float(number)) for number, day in enumerate(days)])
    for zone in ("UTC", "Australia/Lord_Howe", "America/Sao_Paulo"):
        midnight = now.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
        expected = next(float(number) for number, day in enumerate(days) if day <= midnight)
        found = await answer(client, sensor_id="a", at="now/d", tz=zone)
        assert [row["value"] for row in found["data"]] == [expected]
        assert datetime.fromisoformat(found["meta"]["at"]) == midnight


async def test_many_sensors_come_in_every_format(connection: asyncpg.Connection, client: httpx.AsyncClient) -> None:
    ids = [f"s-{number:04}" for number in range(1500)]
    await enter(connection, [Sensor(sensor) for sensor in ids])
    await connection.execute(
        "insert into sensor_data (timestamp, sensor_id, value) "
        f"select '{EPOCH}'::timestamptz + n * interval '8 days', sensor_id, n from sensors, generate_series(0, 3) n"
    )
    until = EPOCH + timedelta(days=20)
    for match in ("*", "s-[0-9]*", '{x!~"[y]"}'):
        asked = {"match": match, "at": until.isoformat(), "epoch": "s"}
        rows = (await answer(client, **asked))["data"]
        if "[" in match and not match.startswith("{"):
            assert rows == []
            continue
        assert [(row["sensor_id"], row["value"]) for row in rows] == [(sensor, 2.0) for sensor in ids]
        response = await client.get("/latest", params={**asked, "format": "csv"})
        assert response.headers["content-type"].startswith("text/csv")
        lines = list(csv.DictReader(io.StringIO(response.text)))
        assert [(line["sensor_id"], int(line["timestamp"])) for line in lines] == [
            (row["sensor_id"], row["timestamp"]) for row in rows
        ]
        response = await client.get("/latest", params={**asked, "format": "ndjson"})
        assert len(response.text.splitlines()) == len(ids)
    assert (await client.get("/latest", params={"match": "*", "format": "xml"})).status_code == 406


async def test_compressed_chunks_are_answered_from_too(timescaledb: TestDatabase) -> None:
    async with owner(timescaledb) as connection, asking(query_settings(timescaledb)) as client:
        await enter(connection, [Sensor("a"), Sensor("b")])
        for sensor in ("a", "b"):
            await insert(connection, sensor, [(timedelta(minutes=minute // 2), float(minute)) for minute in range(40)])
        await insert(connection, "a", [(timedelta(days=30), 7.0)])
        chunks = await connection.fetch("select show_chunks('sensor_data')::text as chunk order by 1")
        await connection.execute(f"call convert_to_columnstore('{chunks[0]['chunk']}')")
        found = await answer(client, match="*")
        assert [(row["sensor_id"], row["value"]) for row in found["data"]] == [("a", 7.0), ("b", 39.0)]
        found = await answer(client, match="*", at=(EPOCH + timedelta(minutes=5)).isoformat())
        assert [(row["sensor_id"], row["value"]) for row in found["data"]] == [("a", 11.0), ("b", 11.0)]
