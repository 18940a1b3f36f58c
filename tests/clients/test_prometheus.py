"""A real Prometheus, by both versions of remote write, while answers vanish and the stack is killed."""

import asyncio
import random
from pathlib import Path

import httpx
import prometheus_client
import pytest
import yaml

from services.contract import series_id, series_of
from tests.support import eventually, free_port
from tests.support.programs import built
from tests.support.readings import Row
from tests.support.snippets import snippets

from .conftest import SECONDS, Rough, running

pytestmark = pytest.mark.asyncio(loop_scope="session")

VERSION = "v0.316.0"
MODULE = "github.com/prometheus/prometheus"
PAGE = "docs/doors/prometheus.md"
SERIES = 40


@pytest.mark.parametrize("version", [1, 2])
async def test_prometheus_samples_are_stored_once(version: int, rough: Rough, tmp_path: Path) -> None:
    prometheus = built("prometheus", f"{MODULE}/cmd/prometheus", MODULE, VERSION)
    name = f"prometheus_{version}"
    registry = prometheus_client.CollectorRegistry()
    gauge = prometheus_client.Gauge(name, "Something that changes.", ["host"], registry=registry)
    target, port = free_port(), free_port()
    server, thread = prometheus_client.start_http_server(target, "127.0.0.1", registry)
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text(yaml.safe_dump(configured(rough.url, target, name, version)))
    options = [
        f"--config.file={configuration}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running([prometheus, *options], tmp_path / "prometheus.log"):
        moving = asyncio.create_task(moved(gauge))
        await rough.trouble()
        moving.cancel()
        server.shutdown()
        thread.join()
        await asyncio.sleep(2)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            sent = await samples(client, name)
            await eventually(lambda: sent_all(client), 60)
        rows = await rough.settled(len(sent), name)
    assert len(sent) > SERIES * SECONDS / 2
    rough.judge(f"Prometheus {VERSION}, remote write {version}.0", sent, rows)


def configured(url: str, target: int, name: str, version: int) -> dict[str, object]:
    """Return a configuration that writes as the docs have it, one series alone and with less patience."""
    [documented] = [one.text for one in snippets() if one.page == PAGE and one.text.startswith("remote_write:")]
    [write] = yaml.safe_load(documented.replace("http://localhost:8000", url))["remote_write"]
    if version == 1:
        del write["protobuf_message"]
    write["remote_timeout"] = "2s"
    write["queue_config"] = {"batch_send_deadline": "1s", "max_backoff": "1s"}
    write["write_relabel_configs"] = [{"source_labels": ["__name__"], "regex": name, "action": "keep"}]
    return {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "clients", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
        "remote_write": [write],
    }


async def moved(gauge: prometheus_client.Gauge) -> None:
    dice = random.Random(0)
    while True:
        for host in range(SERIES):
            gauge.labels(f"h{host}").set(dice.random())
        await asyncio.sleep(0.2)


async def samples(client: httpx.AsyncClient, name: str) -> list[Row]:
    """Return what Prometheus itself has stored."""
    found = (await client.get("/api/v1/query", params={"query": f"{name}[10m]"})).json()["data"]["result"]
    return [
        (_sensor(series["metric"]), round(float(at) * 1000) * 1000, float(value))
        for series in found
        for at, value in series["values"]
    ]


def _sensor(metric: dict[str, str]) -> str:
    labels = dict(metric)
    return series_id(series_of(labels.pop("__name__"), labels.items()))


async def sent_all(client: httpx.AsyncClient) -> bool:
    text = (await client.get("/metrics")).text
    pending = [line for line in text.splitlines() if line.startswith("prometheus_remote_storage_samples_pending")]
    return all(float(line.split()[-1]) == 0 for line in pending)
