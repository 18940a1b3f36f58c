"""Remote read's route: what matchers choose, which readings become samples, and how bad requests are refused."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.support import TestDatabase
from tests.support.catalogue import Sensor, enter
from tests.support.ingest import assert_problem
from tests.support.query import EPOCH, asking, insert, owner, query_settings
from tests.support.remote_read import Series, integer, matcher, packed, part, unpacked

PATH = "/api/v1/read"
HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
START = int(EPOCH.timestamp() * 1000)
EQUAL, NOT_EQUAL, MATCHES, MATCHES_NOT = range(4)
YEARS = (-62_135_596_800_000, 253_402_300_799_999)
SENSORS = [
    Sensor("boiler-1"),
    Sensor("boiler-2"),
    Sensor("temperature#1", "temperature", "celsius", {"site": "north", "floor": "1"}),
    Sensor("temperature#2", "temperature", None, {"site": "south"}),
    Sensor("pressure#1", "pressure", None, {"sensor_id": "boiler-1"}),
]
LABELS: dict[str, dict[str, str]] = {
    "boiler-1": {"__name__": "sensor_data", "sensor_id": "boiler-1"},
    "boiler-2": {"__name__": "sensor_data", "sensor_id": "boiler-2"},
    "temperature#1": {"__name__": "temperature", "__field__": "celsius", "site": "north", "floor": "1"},
    "temperature#2": {"__name__": "temperature", "site": "south"},
    "pressure#1": {"__name__": "pressure", "sensor_id": "boiler-1"},
}


@pytest.fixture
async def client(database: TestDatabase) -> AsyncIterator[httpx.AsyncClient]:
    async with owner(database) as connection:
        await enter(connection, SENSORS)
        for sensor in SENSORS:
            await insert(connection, sensor.sensor_id, [(timedelta(milliseconds=ms), ms / 4) for ms in (0, 1, 60_000)])
    async with asking(query_settings(database, max_samples=1000, max_sensors=5)) as asked:
        yield asked


def query(start: int, end: int, *matchers: bytes) -> bytes:
    return part(1, integer(1, start) + integer(2, end) + b"".join(matchers))


async def post(client: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    return await client.post(PATH, content=body, headers={**HEADERS, **headers})


async def read(client: httpx.AsyncClient, *queries: bytes) -> list[list[Series]]:
    # As Prometheus asks: it would rather have chunks, and takes samples.
    response = await post(client, packed(b"".join(queries) + integer(2, 1) + integer(2, 0)))
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-protobuf"
    assert response.headers["content-encoding"] == "snappy"
    return unpacked([response.content])


def names(found: Sequence[Series]) -> list[str]:
    """Return the ids of the sensors whose labels series have."""
    return [sensor_id for labels, _ in found for sensor_id, known in LABELS.items() if known == labels]


@pytest.mark.parametrize(
    ("matchers", "chosen"),
    [
        ([(EQUAL, "__name__", "sensor_data"), (EQUAL, "sensor_id", "boiler-1")], ["boiler-1"]),
        ([(EQUAL, "__name__", "sensor_data"), (NOT_EQUAL, "sensor_id", "boiler-1")], ["boiler-2"]),
        ([(EQUAL, "__name__", "sensor_data")], ["boiler-1", "boiler-2"]),
        ([(EQUAL, "__name__", "sensor_data"), (EQUAL, "site", "")], ["boiler-1", "boiler-2"]),
        ([(EQUAL, "__name__", "sensor_data"), (EQUAL, "site", "north")], []),
        ([(EQUAL, "sensor_id", "boiler-1")], ["boiler-1", "pressure#1"]),
        ([(MATCHES, "sensor_id", "boiler-[0-9]")], ["boiler-1", "boiler-2", "pressure#1"]),
        ([(EQUAL, "__name__", "temperature")], ["temperature#1", "temperature#2"]),
        ([(EQUAL, "__name__", "temperature"), (EQUAL, "__field__", "")], ["temperature#2"]),
        ([(EQUAL, "__field__", "celsius")], ["temperature#1"]),
        ([(MATCHES, "__name__", ".+"), (MATCHES_NOT, "site", "n.*|s.*")], ["boiler-1", "boiler-2", "pressure#1"]),
        ([(MATCHES, "__name__", "[pt][a-z]+"), (MATCHES_NOT, "floor", "[1-9]+")], ["pressure#1", "temperature#2"]),
        ([(EQUAL, "__sensor_id__", "boiler-2")], ["boiler-2"]),
        ([(EQUAL, "__sensor_id__", "temperature#2")], ["temperature#2"]),
        ([], [sensor.sensor_id for sensor in SENSORS]),
    ],
)  # fmt: skip
async def test_matchers_choose(
    client: httpx.AsyncClient, matchers: list[tuple[int, str, str]], chosen: list[str]
) -> None:
    (found,) = await read(client, query(START, START + 60_000, *(matcher(*each) for each in matchers)))
    assert sorted(names(found)) == sorted(chosen)
    assert all(samples == [(START + ms, ms / 4) for ms in (0, 1, 60_000)] for _, samples in found)


async def test_a_range_has_both_its_ends_and_each_query_its_result(client: httpx.AsyncClient) -> None:
    one = matcher(EQUAL, "sensor_id", "boiler-2")
    ranges = {
        (START, START): [0],
        (START + 1, START + 59_999): [1],
        (START + 1, START + 60_000): [1, 60_000],
        (START - 5, START - 1): [],
        YEARS: [0, 1, 60_000],
        (-(1 << 63), (1 << 63) - 1): [0, 1, 60_000],
        (-(1 << 63), YEARS[0] - 1): [],
        (YEARS[1] + 1, (1 << 63) - 1): [],
    }
    results = await read(client, *(query(*span, one) for span in ranges))
    expected = [[(START + ms, ms / 4) for ms in found] for found in ranges.values()]
    assert [[samples for _, samples in result] for result in results] == [[each] if each else [] for each in expected]
    assert await read(client) == []


@examples(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(-3000, 5000), st.integers(1, 400)),
        min_size=1, max_size=4,
    )
)  # fmt: skip
async def test_the_last_reading_of_each_millisecond_is_its_sample(
    database: TestDatabase, runs: list[tuple[str, int, int]]
) -> None:
    """Runs of readings of a sensor: the microsecond of the first, and how many, 300 microseconds apart."""
    stored: dict[str, list[tuple[int, float]]] = {}
    async with owner(database) as connection:
        await connection.execute("truncate sensor_data, sensors")
        await enter(connection, [Sensor(name) for name in "abc"])
        for number, (sensor, first, count) in enumerate(runs):
            rows = [(first + 300 * place, number * 1000.0 + place) for place in range(count)]
            await insert(connection, sensor, [(timedelta(microseconds=micros), value) for micros, value in rows])
            stored.setdefault(sensor, []).extend(rows)
    expected = {}
    for sensor, rows in stored.items():
        # Of equal instants, the one that was stored later has the greater id.
        in_order = sorted(rows, key=lambda row: row[0])
        expected[sensor] = list({START + micros // 1000: value for micros, value in in_order}.items())
    async with asking(query_settings(database)) as client:
        (found,) = await read(
            client, query(START - 10_000, START + 1_000_000, matcher(EQUAL, "__name__", "sensor_data"))
        )
    assert {labels["sensor_id"]: samples for labels, samples in found} == expected


async def test_bad_requests_are_refused_by_name(client: httpx.AsyncClient) -> None:
    good = query(START, START, matcher(EQUAL, "__name__", "a"))
    bodies = {
        b"": "snappy",
        b"\xff" * 9: "snappy",
        good: "snappy",
        packed(b"\x0a\xff"): "ReadRequest",
        b"\xff\xff\xff\xff\x0f" + packed(good): "larger than",
        packed(bytes(1 << 24)): "larger than",
        packed(good * 33): "32 are the most",
        packed(query(0, 1, matcher(EQUAL, "a", "b") * 65)): "64 are the most",
        packed(query(2, 1)): "lies behind",
        packed(query(0, 1, matcher(EQUAL, "a", "\0"))): "NUL",
        packed(query(0, 1, matcher(EQUAL, "\0", "a"))): "NUL",
        packed(good + integer(2, 1)): "only SAMPLES",
    }
    for body, told in bodies.items():
        response = await post(client, body)
        assert_problem(response, 422, "malformed_body")
        assert told in response.json()["detail"]
    for expression in ("(", "(?=a)", "a{1001}", "(a{1000}){1000}", "\\"):
        response = await post(client, packed(query(0, 1, matcher(MATCHES, "a", expression))))
        assert_problem(response, 422, "invalid_parameter")
        assert "regular expression" in response.json()["detail"]
    assert_problem(await post(client, bytes(2 << 20)), 413, "body_too_large")
    for headers, code in [
        ({"Content-Type": "application/json"}, "unsupported_media_type"),
        ({"Content-Encoding": "gzip"}, "unsupported_encoding"),
        ({"Content-Encoding": ""}, "unsupported_encoding"),
    ]:
        assert_problem(await post(client, packed(good), **headers), 415, code)
    assert_problem(await client.post(f"{PATH}?a=1", content=packed(good), headers=HEADERS), 422, "invalid_parameter")
    assert_problem(await client.get(PATH), 405, "method_not_allowed")


async def test_limits_are_of_sensors_and_of_readings_of_all_queries(
    client: httpx.AsyncClient, database: TestDatabase
) -> None:
    async def refused(*queries: bytes) -> str:
        response = await post(client, packed(b"".join(queries)))
        assert_problem(response, 422, "invalid_parameter")
        detail: str = response.json()["detail"]
        return detail

    async with owner(database) as connection:
        await insert(connection, "boiler-1", [(timedelta(hours=1, seconds=second), 1.0) for second in range(500)])
    one = query(START + 3_600_000, START + 7_200_000, matcher(EQUAL, "sensor_id", "boiler-1"))
    assert [len(result[0][1]) for result in await read(client, one, one)] == [500, 500]
    assert "MILLRACE_QUERY_MAX_SAMPLES" in await refused(one, one, one)
    async with owner(database) as connection:
        await enter(connection, [Sensor("further")])
    assert "MILLRACE_QUERY_MAX_SENSORS" in await refused(query(START, START + 1))


async def test_the_document_says_what_is_sent(client: httpx.AsyncClient) -> None:
    document: Any = json.loads((await client.get("/openapi.json")).text)
    operation = document["paths"][PATH]["post"]
    assert list(operation["requestBody"]["content"]) == ["application/x-protobuf"]
    assert list(operation["responses"]["200"]["content"]) == ["application/x-protobuf"]
