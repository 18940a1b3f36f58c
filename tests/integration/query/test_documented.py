"""The examples and recipes of the documentation are true."""

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Callable
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

DOCS = Path(__file__).parents[3] / "docs"
QUESTIONS, TIME_ZONES = DOCS / "query.md", DOCS / "time-zones.md"
DEMO = [(0, 25.3), (1, 26.7), (5, 30.7), (60, 10.0), (66, 12.0), (66, 114.0)]


def examples_of(page: str) -> list[tuple[str, str, str, str, str]]:
    """Return method, URL, body, format and answer of each example."""
    found = re.findall(r"```http\n(GET|POST) (/series\S*)\n(\{.*?\n)?```\n\n```(json|csv)\n(.*?)```", page, re.DOTALL)
    assert len(found) == page.count("GET /series?") + page.count("POST /series\n{") >= 4
    return found


async def answered(client: httpx.AsyncClient, page: str) -> None:
    """Ask a page's examples, and compare."""
    for method, url, body, form, expected in examples_of(page):
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


async def test_every_example_of_questions_is_true_and_each_parameter_has_one(database: TestDatabase) -> None:
    page = QUESTIONS.read_text()
    names = {
        name for _, url, body, *_ in examples_of(page) for name in (json.loads(body) if body else httpx.URL(url).params)
    }
    assert names == {field.name for field in fields(Parameters)} - {"cursor"} | {"format"}
    async with owner(database) as connection:
        await insert(connection, "sensor-1", [(timedelta(minutes=minute), value) for minute, value in DEMO])
        await connection.execute("insert into sensors (sensor_id) values ('sensor-1')")
    async with asking(query_settings(database)) as client:
        await answered(client, page)


async def test_every_example_of_time_zones_is_true(database: TestDatabase) -> None:
    half_hours = (
        "insert into sensor_data (timestamp, sensor_id, value) select at, 'meter', 1 "
        "from generate_series(timestamptz '2025-01-01Z', timestamptz '2025-12-31 23:30Z', interval '30 minutes') as at"
    )
    async with owner(database) as connection:
        await connection.execute(half_hours)
    async with asking(query_settings(database)) as client:
        await answered(client, TIME_ZONES.read_text())


async def test_every_documented_recipe_reads_the_rows(database: TestDatabase, service: Start, tmp_path: Path) -> None:
    page = QUESTIONS.read_text()
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
