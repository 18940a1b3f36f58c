"""PromQL in a real Prometheus over what is stored here, by remote read."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import yaml

from services.platform.http.auth import new_key
from services.platform.settings import AuthSettings, Settings
from tests.support import Service, TestDatabase
from tests.support.catalogue import Sensor, enter
from tests.support.prometheus import PROMETHEUS, Prometheus, reading_from
from tests.support.query import EPOCH, insert, owner

pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not here; Debian's package has it")

Make = Callable[[str, Settings], Service]
START = EPOCH.timestamp()
STEP, COUNT = 15, 241
END = START + STEP * (COUNT - 1)
PLAIN = {"__name__": "sensor_data", "sensor_id": "boiler-1"}
SENSORS = [
    (Sensor("boiler-1"), 1.0),
    (Sensor("requests#1", "requests", "total", {"site": "north", "host": "a"}), 2.0),
    (Sensor("requests#2", "requests", "total", {"site": "north", "host": "b"}), 3.0),
    (Sensor("requests#3", "requests", "total", {"site": "south", "host": "c"}), 5.0),
    (Sensor("requests#4", "requests", None, {"site": "south", "host": "d"}), 7.0),
]  # fmt: skip
"""Sensors, and by how much each grows in a second."""


@pytest.fixture
async def prometheus(
    database: TestDatabase, settings: Settings, service: Make, tmp_path: Path
) -> AsyncIterator[Prometheus]:
    async with owner(database) as connection:
        await enter(connection, [sensor for sensor, _ in SENSORS])
        for sensor, growth in SENSORS:
            rows = [(timedelta(seconds=STEP * place), growth * STEP * place) for place in range(COUNT)]
            await insert(connection, sensor.sensor_id, rows)
    text, key = new_key()
    held = {"name": "prometheus", "scopes": ["query"], "keys": [key.model_dump(mode="json", exclude_none=True)]}
    keys = tmp_path / "keys.yaml"
    keys.write_text(yaml.safe_dump({"callers": [held]}))
    guarded = settings.model_copy(update={"auth": AuthSettings(keys_file=keys)})
    async with service("query", guarded) as process:
        url = f"{process.url}/api/v1/read"
        async with httpx.AsyncClient() as client:
            assert (await client.post(url)).status_code == 401
        async with reading_from(url, tmp_path / "prometheus", authorization={"credentials": text}) as found:
            yield found


async def test_promql_over_stored_readings_is_right(prometheus: Prometheus) -> None:
    by_host = {sensor.labels["host"]: growth for sensor, growth in SENSORS if sensor.labels}

    # A plain sensor, by its name and by a matcher of names.
    for selector in ('sensor_data{sensor_id="boiler-1"}', '{__name__="sensor_data"}', '{sensor_id=~"boil.*"}'):
        assert await prometheus.instant(selector, END) == [(PLAIN, END - START)]
    found = await prometheus.matrix('sensor_data{sensor_id="boiler-1"}', START, END, STEP)
    assert found == [{START + STEP * place: float(STEP * place) for place in range(COUNT)}]

    # Labelled series: fields, expressions, negated ones, and a label that they do not have.
    chosen = {
        "requests": "abcd",
        'requests{site="north"}': "ab",
        'requests{__field__="total"}': "abc",
        'requests{__field__=""}': "d",
        'requests{host=~"[b-c]"}': "bc",
        'requests{host!~"a|b"}': "cd",
        'requests{site!="south",host!="a"}': "b",
        'requests{room=""}': "abcd",
        'requests{room!=""}': "",
        '{__name__=~"req.+",host="a"}': "a",
    }
    for selector, hosts in chosen.items():
        got = {labels["host"]: value for labels, value in await prometheus.instant(selector, END)}
        assert got == {host: by_host[host] * (END - START) for host in hosts}, selector
    ((labels, _),) = await prometheus.instant('requests{host="a"}', END)
    assert labels == {"__name__": "requests", "__field__": "total", "site": "north", "host": "a"}

    # What is made of them.
    rates = await prometheus.instant("rate(requests[5m])", END)
    assert {labels["host"]: value for labels, value in rates} == pytest.approx(by_host)
    sums = await prometheus.instant("sum by (site) (requests)", END)
    assert {labels["site"]: value for labels, value in sums} == {
        "north": 5 * (END - START),
        "south": 12 * (END - START),
    }
    ranges = await prometheus.matrix("sum(rate(requests[2m]))", START + 600, END, 300)
    assert [list(one.values()) for one in ranges] == [pytest.approx([17.0] * 11)]
    assert await prometheus.instant("max_over_time(sensor_data[1h])", END) == [({"sensor_id": "boiler-1"}, END - START)]
    assert await prometheus.instant("count_over_time(sensor_data[10m])", START - 1) == []

    # Labels and their values, as dashboards list them; without a time it asks about all years.
    for span in ({"start": START, "end": END}, {}):
        series = await prometheus.ask("series", **{"match[]": "requests", **span})
        assert {one["host"]: one["site"] for one in series} == dict(
            zip("abcd", ["north"] * 2 + ["south"] * 2, strict=True)
        )


async def test_what_the_docs_say_it_cannot_is_so(prometheus: Prometheus, database: TestDatabase) -> None:
    names = await prometheus.answer("labels", start=START, end=END)
    assert (names["data"], names["warnings"]) == ([], ["not implemented"])
    # An instant query sees the last reading for five minutes.
    assert len(await prometheus.instant("sensor_data", END + 299)) == 1
    assert await prometheus.instant("sensor_data", END + 301) == []
    async with owner(database) as connection:
        await enter(connection, [Sensor("odd#1", "odd", None, {"a.b": "c"})])
        await insert(connection, "odd#1", [(timedelta(0), 1.0)])
    assert len(await prometheus.instant("requests", END)) == 4
    refused = await prometheus.answer("query", query="odd", time=START)
    assert refused["data"]["result"] == []
    assert "a.b" in str(refused["warnings"])
