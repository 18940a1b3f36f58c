"""`/series` through the whole app on real databases, against the reference in plain Python."""

import contextlib
import json
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples

from tests.support import series
from tests.support.query import EPOCH, insert
from tests.support.series import Asked, Reading

MANY = examples().max_examples
"""A hundred examples, or as many as the profile has it."""

DEMO = [(0, 25.3), (1, 26.7), (5, 30.7), (60, 10.0), (66, 12.0), (66, 114.0)]

SPAN = {"start": "2025-10-22T21:00:00Z", "end": "2025-10-22T23:00:00Z"}


async def answer(client: httpx.AsyncClient, **parameters: Any) -> Any:
    response = await client.get("/series", params=parameters)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


async def demo(connection: asyncpg.Connection) -> None:
    await insert(connection, "sensor-1", [(timedelta(minutes=minute), value) for minute, value in DEMO])


async def emptied(connection: asyncpg.Connection) -> None:
    """Take all rows away. The service looks at the table meanwhile; of two that wait for each other one gives in."""
    while True:
        with contextlib.suppress(asyncpg.DeadlockDetectedError):
            await connection.execute("truncate sensor_data")
            return


@examples(max_examples=MANY, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(series.cases())
async def test_answers_are_those_of_the_reference(
    connection: asyncpg.Connection, client: httpx.AsyncClient, case: tuple[dict[str, list[Reading]], Asked]
) -> None:
    sensors, asked = case
    # Chunks of all years would pile up.
    await emptied(connection)
    await connection.executemany(
        "insert into sensors (sensor_id, name, labels) values ($1, $1, $2) on conflict do nothing",
        [(sensor, json.dumps(labels)) for sensor, labels in series.LABELS.items()],
    )
    for sensor, readings in sensors.items():
        await insert(connection, sensor, [(at - EPOCH, value) for at, value in readings])
    parameters: dict[str, Any] = {"sensor_id": list(sensors), "tz": asked.zone, "fill": asked.fill, "by": asked.by}
    parameters |= {"start": asked.start.isoformat(), "end": asked.end.isoformat()}
    if asked.aggregates:
        parameters["agg"] = ",".join(asked.aggregates)
    if asked.bucket:
        parameters["bucket"] = "{}{}".format(*asked.bucket)
    found = await answer(client, **parameters)
    series.same(series.read(found["data"], asked.zone), series.answer(sensors, asked))
    meta = found["meta"]
    (source,) = meta["source"]
    assert (source["from"], meta["tz"], meta["bucket"]) == ("rows", asked.zone, parameters.get("bucket"))
    assert [datetime.fromisoformat(source[end]) for end in ("start", "end")] == [asked.start, asked.end]
    laid = [asked.start, asked.end]
    if asked.bucket:
        laid = series.edges(asked.start, asked.end, asked.bucket, asked.zone)
    assert meta["cut"] == {"first": laid[0] < asked.start, "last": laid[-1] > asked.end}


async def test_the_demo_is_answered_to_the_letter(connection: asyncpg.Connection, client: httpx.AsyncClient) -> None:
    await demo(connection)
    url = "/series?sensor_id=sensor-1&start=2025-10-22T21:00:00Z&end=2025-10-22T23:00:00Z"
    hours = await client.get(f"{url}&agg=avg,min,count&bucket=1h&tz=Asia/Kathmandu")
    as_of = hours.json()["meta"]["as_of"]
    assert hours.text == (
        '{"data":[{"sensor_id":"sensor-1","timestamp":"2025-10-23T02:00:00+05:45",'
        '"avg":27.566666666666666,"min":25.3,"count":3},'
        '{"sensor_id":"sensor-1","timestamp":"2025-10-23T03:00:00+05:45",'
        '"avg":45.333333333333336,"min":10.0,"count":3}],'
        '"meta":{"source":[{"start":"2025-10-23T02:45:00+05:45","end":"2025-10-23T04:45:00+05:45","from":"rows"}],'
        f'"complete_until":"2025-10-23T04:45:00+05:45","as_of":"{as_of}",'
        '"bucket":"1h","tz":"Asia/Kathmandu","cut":{"first":true,"last":true}}}'
    )


async def test_readings_come_in_the_order_of_sensor_time_and_id(
    connection: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    await demo(connection)
    await insert(connection, "Sensor-2", [(timedelta(minutes=90), 1.0), (timedelta(microseconds=1), 2.5)])
    found = await answer(client, sensor_id=["sensor-1", "Sensor-2", "nobody"], **SPAN)
    rows = [(row["sensor_id"], row["timestamp"], row["value"]) for row in found["data"]]
    assert rows == [
        ("Sensor-2", "2025-10-22T21:00:00.000001Z", 2.5),
        ("Sensor-2", "2025-10-22T22:30:00Z", 1.0),
        *(("sensor-1", f"2025-10-22T{21 + minute // 60}:{minute % 60:02}:00Z", value) for minute, value in DEMO),
    ]
    as_of = found["meta"].pop("as_of")
    assert abs(datetime.fromisoformat(as_of) - datetime.now(EPOCH.tzinfo)) < timedelta(minutes=1)
    assert found["meta"] == {
        "source": [{**SPAN, "from": "rows"}],
        "complete_until": SPAN["end"],
        "bucket": None,
        "tz": "UTC",
        "cut": {"first": False, "last": False},
    }
    # Of one sensor the index gives the order, of several a sort; both give the same.
    alone = await answer(client, sensor_id="sensor-1", **SPAN)
    assert alone["data"] == found["data"][2:]


async def test_answers_are_the_same_on_both_sides_of_where_copy_begins(
    connection: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    ids = ["it's $1 \\ one", 'and "two"']
    for sensor in ids:
        await insert(connection, sensor, [(timedelta(seconds=second), second / 4) for second in range(12_000)])
    span = {"sensor_id": ids, "start": EPOCH.isoformat(), "tz": "Europe/Berlin"}
    for many in (250, 251, 4999, 5000, 5001, 12_000):
        ends = span | {"end": (EPOCH + timedelta(seconds=many)).isoformat()}
        expected = [(sensor, second / 4) for sensor in sorted(ids) for second in range(many)]
        readings = (await answer(client, **ends))["data"]
        assert [(row["sensor_id"], row["value"]) for row in readings] == expected
        buckets = (await answer(client, agg="first,avg", bucket="1s", fill="linear", **ends))["data"]
        assert [(row["sensor_id"], row["first"]) for row in buckets] == expected
        assert [row["timestamp"] for row in buckets] == [row["timestamp"] for row in readings]
        whole = (await answer(client, agg="increase,integral,median,last", **ends))["data"]
        rise, area = (many - 1) / 4, many * (many - 1) / 8
        assert [tuple(row.values())[2:] for row in whole] == [(rise, area, rise / 2, rise)] * 2
        together = (await answer(client, agg="increase,integral,median,last", by="all", **ends))["data"]
        assert [tuple(row.values())[1:] for row in together] == [(2 * rise, 2 * area, rise / 2, rise)]


async def test_an_end_that_is_absent_is_now(connection: asyncpg.Connection, client: httpx.AsyncClient) -> None:
    recent = datetime.now(EPOCH.tzinfo) - EPOCH - timedelta(hours=1)
    await insert(connection, "sensor-1", [(recent, 1.0), (recent + timedelta(hours=2), 2.0)])
    found = await answer(client, sensor_id="sensor-1", start="-6h", agg="count")
    assert [row["count"] for row in found["data"]] == [1]
    assert found["data"][0]["timestamp"] == found["meta"]["source"][0]["start"]


async def test_a_value_is_held_to_the_end_but_not_longer_than_up_to_now(
    connection: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    hour = timedelta(hours=1)
    recent = datetime.now(EPOCH.tzinfo) - EPOCH - hour
    await insert(connection, "sensor-1", [(recent, 2.0), (recent + 3 * hour, 7.0)])
    asked = {"sensor_id": "sensor-1", "start": (EPOCH + recent).isoformat(), "agg": "integral,twa,increase,rate"}
    half = (await answer(client, **asked, end=(EPOCH + recent + hour / 2).isoformat()))["data"]
    assert [(row["integral"], row["twa"]) for row in half] == [(3600.0, 2.0)]
    for end in ("now", (EPOCH + recent + 2 * hour).isoformat()):
        begun = datetime.now(EPOCH.tzinfo) - EPOCH - recent
        (row,) = (await answer(client, **asked, end=end))["data"]
        ended = datetime.now(EPOCH.tzinfo) - EPOCH - recent
        assert begun <= timedelta(seconds=row["integral"] / 2) <= ended
        assert (row["twa"], row["increase"], row["rate"]) == (pytest.approx(2.0), 0.0, 0.0)
    # A reading that lies behind now ends what was held before it, and itself is not held.
    whole = await answer(client, **asked, end=(EPOCH + recent + 4 * hour).isoformat())
    (row,) = whole["data"]
    assert (row["integral"], row["twa"], row["increase"]) == (pytest.approx(2.0 * 3 * 3600), pytest.approx(2.0), 5.0)
    assert row["rate"] == pytest.approx(5.0 / (4 * 3600))


async def test_an_unknown_sensor_has_no_data(client: httpx.AsyncClient) -> None:
    for asked in ({}, {"agg": "avg"}, {"agg": "avg", "bucket": "1h"}):
        assert (await answer(client, sensor_id=["a", "b"], **SPAN, **asked))["data"] == []
    filled = await answer(client, sensor_id="a", agg="avg,count", bucket="1h", fill="0", **SPAN)
    assert [(row["avg"], row["count"]) for row in filled["data"]] == [(0.0, 0), (0.0, 0)]
    for fill in ("null", "previous", "linear"):
        filled = await answer(client, sensor_id="a", agg="avg,count", bucket="1h", fill=fill, **SPAN)
        assert [(row["avg"], row["count"]) for row in filled["data"]] == [(None, None), (None, None)]


async def test_all_of_time_can_be_asked(connection: asyncpg.Connection, client: httpx.AsyncClient) -> None:
    await demo(connection)
    ends = {"start": "0001-01-01T00:00:00Z", "end": "9999-12-31T23:59:59.999999Z", "sensor_id": "sensor-1"}
    assert len((await answer(client, **ends, tz="Pacific/Apia"))["data"]) == len(DEMO)
    found = await answer(client, **ends, agg="count,first,last,stddev", tz="Europe/Berlin")
    assert [(row["count"], row["first"], row["last"]) for row in found["data"]] == [(6, 25.3, 114.0)]
    for name in ("UTC", "America/Sao_Paulo"):
        years = await answer(client, **(ends | {"start": "0003-01-01T00:00:00Z", "end": "9990-01-01T00:00:00Z"}),
                             agg="sum", bucket="1y", tz=name, fill="linear")  # fmt: skip
        assert len(years["data"]) >= 9987
