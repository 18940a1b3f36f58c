"""`/series` refuses by name through HTTP, and its documented examples are true."""

import asyncio
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from services.platform.settings import Settings
from services.query.series.question import Parameters
from tests.support import Service, TestDatabase
from tests.support.query import EPOCH, asking, insert, owner, query_settings

Start = Callable[[str, Settings], Service]

PAGE = Path(__file__).parents[3] / "docs/query.md"
RIGHT = {"sensor_id": "sensor-1", "start": "2025-10-22T21:00:00Z", "end": "2025-10-22T22:00:00Z"}
DEMO = [(0, 25.3), (1, 26.7), (5, 30.7), (60, 10.0), (66, 12.0), (66, 114.0)]


@pytest.fixture
async def client(database: TestDatabase) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(query_settings(database, max_sensors=3, max_cells=100)) as asked:
        yield asked


async def refused(client: httpx.AsyncClient, parameters: Any) -> dict[str, str]:
    response = await client.get("/series", params=parameters)
    assert response.status_code == 422, response.text
    problem = response.json()
    assert problem["code"] == "invalid_parameter"
    found = {fault["parameter"]: fault["message"] for fault in problem["parameters"]}
    assert all(name in problem["detail"] and message in problem["detail"] for name, message in found.items())
    return found


async def test_each_fault_is_named(client: httpx.AsyncClient) -> None:
    assert set(await refused(client, {})) == {"start"}
    assert set(await refused(client, {"start": "now"})) == {"sensor_id", "start", "end"}
    hours = {"agg": "avg", "bucket": "1h"}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"sensor_id": ""}, "1 to 128"),
        ({"sensor_id": ["a", "a"]}, "more than once"),
        ({"sensor_id": ["a", "b", "c", "d"]}, "MILLRACE_QUERY_MAX_SENSORS"),
        ({"start": "soon"}, "RFC 3339"),
        ({"end": "2025-10-22T21:00:00 02:00"}, "%2B"),
        ({"agg": "mode"}, "none of avg"),
        ({**hours, "bucket": "1 hour"}, "no length"),
        ({**hours, "bucket": "1s"}, "the smallest usual bucket that fits is 1m"),
        ({"tz": "Mars/Olympus"}, "IANA"),
        ({"by": "all"}, "needs agg"),
        ({**hours, "by": "room,all"}, "stands alone"),
        ({**hours, "fill": "cubic"}, "no number"),
    ]
    for changed, message in wrong:
        name = list(changed)[-1]
        found = await refused(client, RIGHT | changed)
        assert list(found) == [name]
        assert message in found[name]
    assert set(await refused(client, RIGHT | {"end": RIGHT["start"]})) == {"start", "end"}


async def test_what_is_not_known_here_or_comes_twice_is_refused(client: httpx.AsyncClient) -> None:
    for name in ["x", "BY"]:
        assert await refused(client, RIGHT | {name: "1"}) == {name: "is not known here"}
    for name, value in [("start", "now"), ("end", "now"), ("agg", "avg"), ("bucket", "1h"), ("tz", "UTC")]:
        asked = [*RIGHT.items(), (name, value)] if name in RIGHT else [*RIGHT.items(), (name, value), (name, value)]
        assert await refused(client, asked) == {name: "is given more than once"}


async def test_every_documented_example_is_true(database: TestDatabase) -> None:
    page = PAGE.read_text()
    examples = re.findall(r"```\n(GET|POST) (/series\S*)\n(\{.*?\n)?```\n\n```(json|csv)\n(.*?)```", page, re.DOTALL)
    assert len(examples) == page.count("GET /series?") + page.count("POST /series\n{") >= 11
    names = {name for _, url, body, *_ in examples for name in (json.loads(body) if body else httpx.URL(url).params)}
    assert names == {field.name for field in fields(Parameters)} - {"cursor"} | {"format"}
    async with owner(database) as connection:
        await insert(connection, "sensor-1", [(timedelta(minutes=minute), value) for minute, value in DEMO])
        await connection.execute("insert into sensors (sensor_id) values ('sensor-1')")
    async with asking(query_settings(database)) as client:
        for method, url, body, form, expected in examples:
            response = await client.request(method, url, json=json.loads(body) if body else None)
            assert response.status_code == 200, response.text
            if form == "csv":
                assert response.text.replace("\r\n", "\n") == expected
                continue
            found, right = response.json(), json.loads(expected)
            assert found.keys() == right.keys()
            assert found["meta"] | {"as_of": right["meta"]["as_of"]} == right["meta"]
            assert type(found["meta"]["as_of"]) is type(right["meta"]["as_of"])
            if isinstance(right["data"], dict):
                assert found["data"] == right["data"]
                continue
            assert [list(row) for row in found["data"]] == [list(row) for row in right["data"]]
            for got, row in zip(found["data"], right["data"], strict=True):
                assert got == {key: pytest.approx(value) if isinstance(value, float) else value
                               for key, value in row.items()}, url  # fmt: skip


async def test_every_documented_recipe_reads_the_rows(database: TestDatabase, service: Start, tmp_path: Path) -> None:
    page = PAGE.read_text()
    async with owner(database) as connection:
        await insert(connection, "sensor-1", [(timedelta(minutes=minute), value) for minute, value in DEMO])
    async with service("query", query_settings(database)) as query:
        [local] = re.findall(r"`URL` is `http://localhost:8001(\S+)`", page)
        read: dict[str, Any] = {"URL": query.url + local}
        for recipe in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
            # Each line that makes a frame is seen by itself.
            for part in re.split(r"(?<=\n)(?=frame = )", recipe):
                read.pop("frame", None)
                await asyncio.to_thread(exec, part, read)
                if "frame" in read:
                    assert list(read["frame"]["value"]) == [value for _, value in DEMO]
                    assert list(read["frame"]["timestamp"]) == [EPOCH + timedelta(minutes=at) for at, _ in DEMO]
        assert read["table"]["value"].to_pylist() == [value for _, value in DEMO]
        assert read["meta"]["tz"] == "UTC"
        file = tmp_path / "readings.parquet"
        [curl] = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
        command = curl.replace("readings.parquet", str(file))
        await asyncio.to_thread(subprocess.run, command, shell=True, check=True, env={**os.environ, "URL": read["URL"]})
        [sql] = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
        rows = duckdb.connect().execute(sql.replace("readings.parquet", str(file))).fetchall()
        assert [round(row[2], 6) for row in rows] == [26.0, 30.7, 10.0, 63.0]
