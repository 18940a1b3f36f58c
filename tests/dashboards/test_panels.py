"""Every question of every panel is asked of what it is meant for, as Grafana would ask it, and something comes back."""

import csv
import io
import json
import math
import time
from typing import Any
from urllib.parse import urlencode

import asyncpg
import pytest

from tests.support import eventually
from tests.support.grafana import DASHBOARDS, Range, Target, Values, expanded, filled, request, targets

from .conftest import SCRAPE, SENSORS, Loaded

pytestmark = pytest.mark.asyncio(loop_scope="module")

INFINITY: Values = {"match": "*", "sensor": SENSORS, "zone": "Asia/Kolkata"}
# Grafana itself puts a backslash before a double quote, which is none of SQL's.
SQL: Values = {"sensor": SENSORS[:2], "zone": "America/New_York", "label": "site"}


def shown(dashboard: str) -> Range:
    """Return the range that a dashboard shows when it is opened."""
    opened = DASHBOARDS[dashboard]["time"]
    assert opened["to"] == "now"
    now = time.time()
    return Range(now - 3600 * int(opened["from"].removeprefix("now-").removesuffix("h")), now)


async def test_every_promql_panel_has_data(loaded: Loaded) -> None:
    left = list(targets("millrace"))
    assert len(left) > 50

    async def all_found() -> bool:
        for target in [*left]:
            if await promql(loaded, target):
                left.remove(target)
        return not left

    try:
        await eventually(all_found, 120, SCRAPE)
    finally:
        print("still empty:", [str(target) for target in left])


async def promql(loaded: Loaded, target: Target) -> bool:
    """Tell whether a question finds a number, at an instant or in a range as its panel asks it."""
    here = Range(loaded.since, time.time())
    expression = filled(target.query["expr"], {**here.builtin(SCRAPE), "namespace": ".*"})
    assert "$" not in expression.replace('$"', ""), str(target)
    assert target.query["range"] != target.query["instant"], str(target)
    if target.query["instant"]:
        found = [value for _, value in await loaded.prometheus.instant(expression, here.end)]
    else:
        series = await loaded.prometheus.matrix(expression, here.start, here.end, SCRAPE)
        found = [value for one in series for value in one.values()]
    return any(math.isfinite(value) for value in found)


async def test_every_infinity_panel_has_rows_in_its_columns(loaded: Loaded) -> None:
    for target in targets("sensors"):
        rows = await infinity(loaded, target.query)
        assert rows, str(target)
        for column in target.query["columns"]:
            values = [picked(row, column["selector"]) for row in rows]
            assert any(value is not None for value in values), f"{target}: {column['selector']}"
            if column["type"] in {"number", "timestamp_epoch"}:
                assert all(value is None or float(value) is not None for value in values), f"{target}: {column}"


async def test_every_infinity_plot_is_in_the_order_that_grafana_wants(loaded: Loaded) -> None:
    """A frame of format timeseries that has texts is refused by Grafana where its instants are not sorted."""
    for target in targets("sensors"):
        if target.query["format"] == "timeseries":
            times = [row["timestamp"] for row in await infinity(loaded, target.query)]
            assert times == sorted(times), str(target)
        elif target.panel["type"] == "timeseries":
            assert [one["id"] for one in target.panel["transformations"]] == ["prepareTimeSeries"], str(target)


async def infinity(loaded: Loaded, query: Any) -> list[dict[str, Any]]:
    """Return the rows that Infinity would find."""
    wanted = request(query, {**shown("sensors").builtin(), **INFINITY})
    content = {"Content-Type": query["url_options"]["body_content_type"]} if wanted.method == "POST" else {}
    # Infinity puts its parameters behind those that stand in the URL; httpx would drop these.
    url = f"{wanted.path}{'&' if '?' in wanted.path else '?'}{urlencode(wanted.params)}"
    answer = await loaded.query.request(wanted.method, url, content=wanted.body or None, headers=content)
    assert answer.status_code == 200, f"{answer.url}: {answer.text}"
    if query["type"] == "csv":
        return list(csv.DictReader(io.StringIO(answer.text)))
    found: Any = answer.json()[query["root_selector"]]
    # Infinity makes one row of an object.
    return list(found) if isinstance(found, list) else [found]


def picked(row: dict[str, Any], selector: str) -> Any:
    """Return what a selector such as `latest.age` picks; it must be there, though null."""
    value: Any = row
    for name in selector.split("."):
        if value is not None:
            value = value[name]
    return value


async def test_every_variable_has_choices(loaded: Loaded) -> None:
    for name in ("sensors", "sensors-sql"):
        [variable] = [one for one in DASHBOARDS[name]["templating"]["list"] if one["name"] == "sensor"]
        if name == "sensors":
            rows = await infinity(loaded, variable["query"]["infinityQuery"])
            found = [row["sensor_id"] for row in rows]
        else:
            found = [row[0] for row in await asked(loaded, variable["query"])]
        assert set(found) > set(SENSORS)


@pytest.mark.parametrize("functions", [True, False], ids=["with the functions of TimescaleDB", "without"])
async def test_every_sql_panel_has_rows(loaded: Loaded, functions: bool) -> None:
    for target in targets("sensors-sql"):
        rows = await asked(loaded, target.query["rawSql"], functions=functions)
        assert rows, str(target)
        names = list(rows[0].keys())
        if target.query["format"] == "time_series":
            assert names == ["time", "metric", "value"], str(target)
            times = [row["time"] for row in rows]
            assert times == sorted(times), str(target)
        assert all(any(row[name] is not None for row in rows) for name in names), str(target)


async def asked(loaded: Loaded, text: str, *, functions: bool = False) -> list[Any]:
    """Return the rows of a question, asked as the reader; plain mode has TimescaleDB's `functions` too."""
    statement = expanded(text, shown("sensors-sql"), SQL, timescaledb=functions)
    assert "$" not in statement
    url = loaded.settings.database.reader_url
    assert url
    connection = await asyncpg.connect(url.get_secret_value())
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


async def test_every_alarm_is_one_that_prometheus_watches(loaded: Loaded) -> None:
    groups = (await loaded.prometheus.ask("rules"))["groups"]
    watched = [rule for group in groups for rule in group["rules"]]
    assert len(watched) > 8
    assert json.dumps([rule["name"] for rule in watched if rule["health"] == "err"]) == "[]"
