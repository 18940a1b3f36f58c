"""What the explorer offers to copy is run as it stands, and gives what the plot shows."""

import csv
import io
import json
import math
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import duckdb
import httpx
import pytest
from playwright.sync_api import Page, expect

from services.local.installations import find_installations
from tests.support.stack import RunningStack

OpenPage = Callable[..., Page]

NOW = datetime.now(UTC).replace(microsecond=0)
RANGE = {
    "start": (NOW - timedelta(hours=3)).isoformat(),
    "end": (NOW - timedelta(hours=1)).isoformat(),
    "tz": "Europe/Berlin",
}
QUESTIONS: dict[str, dict[str, Any]] = {
    "readings": {"sensor_id": ["boiler-01", "boiler-02"], **RANGE},
    "buckets": {
        "match": "boiler-0?",
        **RANGE,
        "agg": "avg,min,max,sum,count,first,last,stddev,median,p95,delta",
        "bucket": "1h",
    },
    "selected": {
        "match": '{__name__="temperature",room=~"hall|attic",site!=""}',
        **RANGE,
        "agg": "max",
        "bucket": "30m",
    },
    "together": {"match": 'humidity{site="north"}', **RANGE, "agg": "count", "bucket": "1h", "by": "all"},
}


@pytest.fixture(params=QUESTIONS)
def asked(request: pytest.FixtureRequest, stack: RunningStack) -> tuple[str, list[dict[str, Any]]]:
    """A question as the address of the explorer, and the rows that answer it."""
    question = QUESTIONS[request.param]
    fill = {"fill": "none"} if "agg" in question else {}
    answer = httpx.get(f"http://127.0.0.1:{stack.settings.query.port}/series", params=question)
    assert answer.json()["data"]
    return "#explore?" + urlencode({**question, **fill}, doseq=True), answer.json()["data"]


def recipe(page: Page, name: str) -> str:
    """Return what the menu offers to copy."""
    expect(page.locator("#plot[data-drawn]")).to_be_visible()
    page.get_by_label("Copy as").select_option(name)
    text = page.locator("#recipe").input_value()
    page.get_by_role("button", name="Close").click()
    return text


def same(rows: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Compare rows by their numbers and instants, whatever their columns are called and how instants are written."""

    def told(row: dict[str, Any]) -> list[Any]:
        return [_told(value) for name, value in sorted(row.items()) if name != "id"]

    renamed = [{"timestamp" if name == "bucket" else name: value for name, value in row.items()} for row in rows]
    key = str
    found, wanted = sorted(map(told, renamed), key=key), sorted(map(told, expected), key=key)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert all(a == b or math.isclose(a, b, rel_tol=1e-9) for a, b in zip(one, other, strict=True)), (one, other)


def _told(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
        if re.match(r"\d{4}-\d\d-\d\d", value):
            return datetime.fromisoformat(value).timestamp()
        return float(sum(map(ord, value)))
    return value.timestamp() if isinstance(value, datetime) else float(value)


def test_curl(open_page: OpenPage, asked: tuple[str, list[dict[str, Any]]]) -> None:
    done = subprocess.run(["bash", "-c", recipe(open_page(asked[0]), "curl")], capture_output=True, check=True)
    assert json.loads(done.stdout)["data"] == asked[1]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(open_page: OpenPage, asked: tuple[str, list[dict[str, Any]]], library: str) -> None:
    rows = 'frame.to_dict("records")' if library == "pandas" else "frame.to_dicts()"
    code = recipe(open_page(asked[0]), library) + textwrap.dedent(f"""
        import json
        print(json.dumps({rows}, default=lambda value: value.isoformat()))
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    same(json.loads(done.stdout), asked[1])


def test_sql(open_page: OpenPage, asked: tuple[str, list[dict[str, Any]]], stack: RunningStack) -> None:
    psql = find_installations(stack.settings.pg_bin)[0].bin / "psql"
    url = stack.plan.settings.database.reader_url.get_secret_value()
    command = [str(psql), "--no-psqlrc", "--csv", "-v", "ON_ERROR_STOP=1", url]
    statement = recipe(open_page(asked[0]), "sql")
    done = subprocess.run(command, input=statement, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (statement, done.stderr)
    same(list(csv.DictReader(io.StringIO(done.stdout))), asked[1])


def test_duckdb(open_page: OpenPage, asked: tuple[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    statement = recipe(open_page(asked[0]), "duckdb")
    # Its extension for HTTP comes from its makers' own site; the file is brought here instead.
    install, _, query = statement.partition("\n")
    assert install == "install httpfs; load httpfs;"
    url = re.search(r"'(http.*?)'", query)
    assert url
    file = tmp_path / "answer.parquet"
    file.write_bytes(httpx.get(url[1]).content)
    with duckdb.connect() as database:
        found = database.execute(query.replace(url[1], str(file)))
        names = [column[0] for column in found.description]
        same([dict(zip(names, row, strict=True)) for row in found.fetchall()], asked[1])


def test_grafana(open_page: OpenPage, asked: tuple[str, list[dict[str, Any]]]) -> None:
    said = recipe(open_page(asked[0]), "grafana").splitlines()
    url = next(line for line in said if line.startswith("http"))
    millis = {
        name: str(int(datetime.fromisoformat(RANGE[which]).timestamp() * 1000))
        for name, which in (("from", "start"), ("to", "end"))
    }
    url = url.replace("${__from}", millis["from"]).replace("${__to}", millis["to"]).replace("${__interval}", "1h")
    answer = httpx.get(url)
    assert answer.status_code == 200, answer.text
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert rows
    named = said[-1].removeprefix("# columns: ")
    assert {column.split(" (")[0].strip() for part in named.split("),") for column in part.split(", ")} >= rows[
        0
    ].keys() - {"sensor_id"}
