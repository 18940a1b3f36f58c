"""`/sensors`, `/labels` and the parameter `match` through the whole app, against the reference in plain Python."""

import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from services.query.catalogue.selection import selection
from services.query.catalogue.selector import parse_all
from services.query.copy_out import inlined
from tests.support import TestDatabase
from tests.support.catalogue import Choice, Sensor, catalogues, choices, enter
from tests.support.query import EPOCH, asking, insert, query_settings

PAGE = Path(__file__).parents[3] / "docs/query.md"
DEMO = [(0, 25.3), (1, 26.7), (5, 30.7), (60, 10.0), (66, 12.0), (66, 114.0)]
FEW = {"max_sensors": 20, "max_page": 5, "max_latest": 20}


@pytest.fixture
async def client(database: TestDatabase) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(query_settings(database, **FEW)) as asked:
        yield asked


async def answer(client: httpx.AsyncClient, path: str, **parameters: Any) -> Any:
    # httpx would take no parameters for those of the path.
    response = await client.get(path, params=parameters or None)
    assert response.status_code == 200, response.text
    return response.json()


async def all_pages(client: httpx.AsyncClient, path: str, **parameters: Any) -> list[Any]:
    """Return the rows of all pages."""
    page = await answer(client, path, **parameters)
    rows = list(page["data"])
    while "next" in page:
        page = await answer(client, path, after=page["next"], **parameters)
        assert page["data"]
        rows += page["data"]
    return rows


def shown(sensor: Sensor) -> dict[str, Any]:
    return {"sensor_id": sensor.sensor_id, "name": sensor.name, "field": sensor.field, "labels": sensor.labels}


@examples(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(catalogues(), st.lists(choices(), max_size=3), st.integers(1, 5))
async def test_what_is_chosen_is_what_the_reference_chooses(
    connection: asyncpg.Connection,
    client: httpx.AsyncClient,
    catalogue: list[Sensor],
    matches: list[Choice],
    limit: int,
) -> None:
    await connection.execute("truncate sensors")
    await enter(connection, catalogue)
    chosen = sorted(
        (sensor for sensor in catalogue if not matches or any(match.holds(sensor) for match in matches)),
        key=lambda sensor: sensor.sensor_id,
    )
    match = [each.text for each in matches]
    rows = await all_pages(client, "/sensors", match=match, limit=limit)
    assert [{name: row[name] for name in shown(chosen[0])} for row in rows] == [shown(sensor) for sensor in chosen]
    names = {label for sensor in chosen for label in (sensor.labels or {})}
    names |= {label for label in ("__name__", "__field__") if any(sensor.value(label) for sensor in chosen)}
    assert await all_pages(client, "/labels", match=match, limit=limit) == sorted(names)
    for label in ["site", "a.b/c", 'q"', "__name__", "__field__"]:
        values = {sensor.value(label) for sensor in chosen} - {""}
        path = f"/labels/{httpx.QueryParams({'l': label})}/values".replace("/l=", "/")
        assert await all_pages(client, path, match=match, limit=limit) == sorted(values)


async def test_pages_are_the_same_on_both_sides_of_where_copy_begins(
    database: TestDatabase, connection: asyncpg.Connection
) -> None:
    catalogue = [Sensor(f"s-{number:04}", "ä", None, {"k": f"v {number:04}", "é": "ö"}) for number in range(1200)]
    await enter(connection, catalogue)
    async with asking(query_settings(database, max_page=1200)) as client:
        for match in ("*", '{k=~"v.*"}', '{k=~"v [0-9]+"}'):
            for limit in (999, 1000, 1001, 1199, 1200):
                page = await answer(client, "/sensors", match=match, limit=limit)
                assert [{name: row[name] for name in shown(catalogue[0])} for row in page["data"]] == [
                    shown(sensor) for sensor in catalogue[:limit]
                ]
                assert page.get("next") == (None if limit == 1200 else f"s-{limit - 1:04}")
                page = await answer(client, "/labels/k/values", match=match, limit=limit)
                assert page["data"] == [f"v {number:04}" for number in range(limit)]
                assert ("next" in page) == (limit < 1200)
            assert (await answer(client, "/labels", match=match))["data"] == ["__name__", "k", "é"]


async def test_every_documented_example_is_true(database: TestDatabase, connection: asyncpg.Connection) -> None:
    examples = re.findall(
        r"```http\nGET (/(?:sensors|labels|latest)\S*)\n```\n\n```json\n(.*?)```", PAGE.read_text(), re.DOTALL
    )
    assert len(examples) == len(re.findall(r"^GET /(?!series)", PAGE.read_text(), re.MULTILINE)) >= 5
    await insert(connection, "sensor-1", [(timedelta(minutes=minute), value) for minute, value in DEMO])
    await enter(
        connection,
        [
            Sensor("sensor-1"),
            Sensor("temperature#1", "temperature", "celsius", {"site": "north"}),
            Sensor("temperature#2", "temperature", "celsius", {"site": "south"}),
        ],
    )
    await connection.execute("update sensors set first_seen = $1", EPOCH)
    async with asking(query_settings(database)) as client:
        for url, expected in examples:
            assert await answer(client, url) == json.loads(expected), url


async def test_series_are_of_the_sensors_that_are_named_or_chosen(
    connection: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    await enter(connection, [Sensor("a-1"), Sensor("a-2"), Sensor("x", "cpu", "f", {"site": "north"}), Sensor("y")])
    for number, sensor in enumerate(["a-1", "a-2", "x", "y", "unknown"]):
        await insert(connection, sensor, [(timedelta(0), float(number)), (timedelta(minutes=1), 9.0)])
    span = {"start": "2025-10-22T21:00:00Z", "end": "2025-10-22T22:00:00Z"}
    for match, named, expected in [
        (["a-*"], [], ["a-1", "a-2"]),
        (["a-*"], ["unknown", "a-2"], ["a-1", "a-2", "unknown"]),
        (['cpu{site=~"no[r]th"}', "y"], [], ["x", "y"]),
        (["nobody*"], [], []),
        (["nobody*"], ["y"], ["y"]),
    ]:
        asked = {"match": match, "sensor_id": named, **span}
        found = await answer(client, "/series", **asked, agg="min", bucket="1h", fill="0")
        assert [row["sensor_id"] for row in found["data"]] == expected
        readings = await answer(client, "/series", **asked)
        assert [row["sensor_id"] for row in readings["data"]] == [each for each in expected for _ in range(2)]
        same = await answer(client, "/series", sensor_id=expected, agg="min", **span) if expected else {"data": []}
        assert (await answer(client, "/series", **asked, agg="min"))["data"] == same["data"]


async def test_what_is_wrong_is_named(connection: asyncpg.Connection, client: httpx.AsyncClient) -> None:
    await enter(connection, [Sensor(f"s-{number}", "n", None, {"k": str(number)}) for number in range(30)])
    span = {"start": "2025-10-22T21:00:00Z"}
    many = "MILLRACE_QUERY_MAX_"
    wrong: list[tuple[str, dict[str, Any], str, str]] = [
        ("/sensors", {"match": 'cpu{a="b"'}, "match", "position"),
        ("/sensors", {"match": '{a=~"("}'}, "match", "RE2"),
        ("/sensors", {"match": ""}, "match", "* chooses all"),
        ("/sensors", {"match": "a\0"}, "match", "NUL"),
        ("/sensors", {"match": ["a"] * 33}, "match", "32"),
        ("/sensors", {"limit": 6}, "limit", "5"),
        ("/sensors", {"limit": 0}, "limit", "1"),
        ("/sensors", {"after": "\0"}, "after", "NUL"),
        ("/sensors", {"sensor_id": "a"}, "sensor_id", "not known here"),
        ("/labels", {"stats": "true"}, "stats", "not known here"),
        ("/labels/k/values", {"match": "{"}, "match", "position"),
        ("/series", {"match": "{", **span}, "match", "position"),
        ("/series", {"match": "s-*", **span}, "match", f"{many}SENSORS"),
        ("/series", {"match": '{k=~"[0-9]+"}', **span}, "match", f"{many}SENSORS"),
        ("/series", {"match": "s-*", "sensor_id": ["a", "a"], **span}, "sensor_id", "more than once"),
        ("/series", {"sensor_id": "a", "match": "s-1?", "agg": "avg", "bucket": "1ms", **span}, "bucket", "CELLS"),
        ("/latest", {}, "sensor_id", "match"),
        ("/latest", {"match": "{"}, "match", "position"),
        ("/latest", {"match": '{k=~"[0-9]+"}'}, "match", f"{many}LATEST"),
        ("/latest", {"sensor_id": ""}, "sensor_id", "1 to 128"),
        ("/latest", {"sensor_id": ["a", "a"]}, "sensor_id", "more than once"),
        ("/latest", {"sensor_id": "a", "tz": "Mars"}, "tz", "IANA"),
        ("/latest", {"sensor_id": "a", "at": "soon"}, "at", "RFC 3339"),
        ("/latest", {"sensor_id": "a", "epoch": "ns"}, "epoch", "none of s, ms, us"),
    ]
    for path, parameters, name, message in wrong:
        response = await client.get(path, params=parameters)
        assert response.status_code == 422, (path, parameters, response.text)
        found = {fault["parameter"]: fault["message"] for fault in response.json()["parameters"]}
        assert list(found) == [name], (path, parameters, found)
        assert message in found[name], (path, parameters, found)


async def test_stats_are_the_newest_readings_and_their_ages(
    connection: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    await enter(connection, [Sensor("a"), Sensor("b"), Sensor("c")])
    await insert(connection, "a", [(timedelta(0), 1.0), (timedelta(minutes=5), 2.5), (timedelta(minutes=1), 3.0)])
    await insert(connection, "c", [(timedelta(0), 1.0)])
    for match in ("*", '{x!~"[y]"}'):
        page = await answer(client, "/sensors", match=match, stats="true", limit=2)
        assert page["next"] == "b"
        first, second = page["data"]
        assert (first["latest"]["timestamp"], first["latest"]["value"]) == ("2025-10-22T21:05:00Z", 2.5)
        assert first["latest"]["age"] > 0
        assert second["latest"] is None
    assert "latest" not in (await answer(client, "/sensors", limit=1))["data"][0]


@pytest.mark.parametrize(
    "match",
    [
        "boiler-*",
        "temp{}",
        '{__name__=~"a|b"}',
        '{__sensor_id__=~"boiler-1|boiler-2"}',
        '{__sensor_id__=~"boiler-.*"}',
        '{__sensor_id__=~"boiler-.*|pump.+1"}',
        '{__sensor_id__=~"boiler-.*|pump-1"}',
        '{site=~"north|south"}',
    ],
)
async def test_lists_and_beginnings_are_found_by_indexes(connection: asyncpg.Connection, match: str) -> None:
    chosen = selection(parse_all([match]))
    await connection.execute("set enable_seqscan = off")
    statement = inlined(f"select sensor_id from sensors where {chosen.condition}", chosen.arguments)
    plan = "\n".join(row[0] for row in await connection.fetch(f"explain {statement}"))
    assert "Index Cond" in plan, plan
    assert "Seq Scan" not in plan, plan


async def test_an_expression_that_makes_others_hang_is_answered(
    connection: asyncpg.Connection, client: httpx.AsyncClient
) -> None:
    await enter(connection, [Sensor(f"s-{number}", "a" * 2000, None, {"k": "a" * 2000}) for number in range(5)])
    for hard in [r"(a*)*b", r"(a|aa)+$b", r"(a?){500}b", r"(.*)(.*)(.*)(.*)(.*)x", r"([a-z]+)*[0-9]"]:
        assert await all_pages(client, "/sensors", match=f'{{k=~"{hard}"}}'.replace("\\", "\\\\")) == []
        assert len(await all_pages(client, "/sensors", match=f"{{__name__!~`{hard}`}}")) == 5
