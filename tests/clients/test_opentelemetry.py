"""OpenTelemetry's Python SDK and its Collector, while answers vanish and the stack is killed: each reading once."""

import asyncio
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from services.contract import series_id, series_of
from tests.support import eventually, free_port
from tests.support.otlp import gauge, number, request
from tests.support.programs import collector
from tests.support.proxy import proxied
from tests.support.readings import Row
from tests.support.snippets import snippets

from .conftest import SECONDS, Rough, running

pytestmark = pytest.mark.asyncio(loop_scope="session")

VERSION = "v0.165.0"
CORE = "go.opentelemetry.io/collector"
MODULES = {
    "receivers": [f"{CORE}/receiver/otlpreceiver"],
    "processors": [f"{CORE}/processor/batchprocessor"],
    "exporters": [f"{CORE}/exporter/otlphttpexporter"],
    "extensions": ["github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"],
}
PAGE = "docs/doors/otlp.md"
SERIES = 20
PROCESSES = 4


class Recorded(OTLPMetricExporter):
    """The SDK's exporter, and what it was given to export."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout=120)
        self.given: list[MetricsData] = []
        self.results: list[MetricExportResult] = []

    def export(self, metrics_data: MetricsData, *arguments: Any, **named: Any) -> MetricExportResult:
        self.given.append(metrics_data)
        self.results.append(super().export(metrics_data, *arguments, **named))
        return self.results[-1]


async def test_readings_of_the_python_sdk_are_stored_once(rough: Rough) -> None:
    name = "sdk.temperature"
    exporters = [Recorded(f"{rough.url}/v1/metrics") for _ in range(PROCESSES)]
    with ExitStack() as stack:
        for process, exporter in enumerate(exporters):
            reader = PeriodicExportingMetricReader(exporter, export_interval_millis=100)
            provider = MeterProvider([reader], Resource({"service.instance.id": str(process)}))
            stack.callback(provider.shutdown, 120_000)
            meter = provider.get_meter("plant")
            for host in range(SERIES):
                meter.create_gauge(name).set(host + process / 8, {"host": f"h{host}"})
        await rough.trouble()
        # What is under way is sent before the end.
        await asyncio.to_thread(stack.close)
    results = [result for exporter in exporters for result in exporter.results]
    assert set(results) == {MetricExportResult.SUCCESS}, "the SDK gave up"
    sent = [row for exporter in exporters for given in exporter.given for row in points_of(given)]
    rough.judge(
        f"OpenTelemetry SDK {version('opentelemetry-sdk')} for Python", sent, await rough.settled(len(sent), name)
    )


def points_of(given: MetricsData) -> Iterator[Row]:
    """Yield the points of an export as readings."""
    for resource in given.resource_metrics:
        instance = str(resource.resource.attributes["service.instance.id"])
        for metric in resource.scope_metrics[0].metrics:
            for point in metric.data.data_points:
                assert point.attributes
                labels = {
                    "host": str(point.attributes["host"]), "service.instance.id": instance, "otel.scope.name": "plant",
                }  # fmt: skip
                sensor = series_id(series_of(metric.name, labels.items()))
                yield sensor, point.time_unix_nano // 1000, float(point.value)  # type: ignore[union-attr]


async def test_points_through_the_collector_are_stored_once(rough: Rough, tmp_path: Path) -> None:
    program = collector(VERSION, MODULES)
    name, port, configuration = "collector.temperature", free_port(), tmp_path / "collector.yaml"
    configuration.write_text(yaml.safe_dump(configured("receivers:", rough.url, port)))
    with running([program, "--config", configuration], tmp_path / "collector.log"):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await eventually(lambda: listens(client), 30)
            sent, _ = await asyncio.gather(points_into(client, name), rough.trouble())
        rows = await rough.settled(len(sent), name)
    rough.judge(f"OpenTelemetry Collector {VERSION}, `otlp_http`", sent, rows)


@pytest.mark.parametrize("batch", [None, {"flush_timeout": "300ms", "min_size": 100_000}], ids=["single", "batched"])
async def test_what_a_collector_that_is_killed_had_in_its_queue_is_stored_once(
    rough: Rough, tmp_path: Path, batch: dict[str, Any] | None
) -> None:
    program = collector(VERSION, MODULES)
    name = "collector.batched" if batch else "collector.queued"
    port, configuration = free_port(), tmp_path / "collector.yaml"
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    queue = tmp_path / "queue"
    with ExitStack() as stack:
        async with (
            proxied("127.0.0.1", rough.settings.ingest.port) as way,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
        ):
            there, nowhere = way.server, ("127.0.0.1", free_port())
            found = configured("extensions:", f"http://127.0.0.1:{way.port}", port)
            found["extensions"]["file_storage"]["directory"] = str(queue)
            if batch:
                # Behind a restart it puts other requests together.
                [exporter] = found["exporters"].values()
                exporter["sending_queue"]["batch"] = batch
                exporter["metrics_endpoint"] += "?dedup=natural"
            configuration.write_text(yaml.safe_dump(found))
            command: list[str | Path] = [program, "--config", configuration]
            log = tmp_path / "collector.log"
            process = stack.enter_context(running(command, log))

            async def kill_collector() -> None:
                nonlocal process
                await asyncio.sleep(dice.uniform(1, 3))
                process.kill()
                process.wait()
                process = stack.enter_context(running(command, log))

            async def trouble() -> None:
                for _ in range(3):
                    # Millrace is away while it is killed, then does not answer, then answers.
                    way.server = nowhere
                    way.cut()
                    await kill_collector()
                    await kill_collector()
                    way.server, way.swallows = there, True
                    await kill_collector()
                    way.swallows = False
                    way.cut()
                    await kill_collector()

            await eventually(lambda: listens(client), 30)
            sent, _ = await asyncio.gather(points_into(client, name), trouble())
            rows = await rough.settled(len(sent), name)
    how = "its queue on disk, " + ("by `batch` and `dedup=natural`, " if batch else "")
    rough.judge(f"OpenTelemetry Collector {VERSION}, {how}killed", sent, rows)


def configured(begins: str, url: str, port: int) -> dict[str, Any]:
    """Return a configuration of the Collector as the docs have it, with ports of its own and less patience."""
    [documented] = [one.text for one in snippets() if one.page == PAGE and one.text.startswith(begins)]
    found: dict[str, Any] = yaml.safe_load(documented.replace("http://localhost:8000", url))
    found["receivers"]["otlp"]["protocols"] = {"http": {"endpoint": f"127.0.0.1:{port}"}}
    [exporter] = found["exporters"].values()
    exporter["timeout"] = "2s"
    exporter["retry_on_failure"] |= {"initial_interval": "200ms", "max_interval": "1s"}
    found["service"]["telemetry"] = {"metrics": {"level": "none"}}
    return found


async def listens(client: httpx.AsyncClient) -> bool:
    try:
        return (await posted(client, b"")).status_code == 200
    except httpx.TransportError:
        return False


async def posted(client: httpx.AsyncClient, body: bytes) -> httpx.Response:
    return await client.post("/v1/metrics", content=body, headers={"Content-Type": "application/x-protobuf"})


async def points_into(client: httpx.AsyncClient, name: str) -> list[Row]:
    """Send points for a while, an instant of many at a time; return the readings that they are."""
    sent: list[Row] = []
    ids = [series_id(series_of(name, [("host", f"h{host}")])) for host in range(SERIES)]
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        micros = time.time_ns() // 1000
        points = [number(float(micros % 1000 + host), micros * 1000, host=f"h{host}") for host in range(SERIES)]
        await delivered(client, request(gauge(*points, name=name)).SerializeToString())
        sent += [(sensor, micros, float(micros % 1000 + host)) for host, sensor in enumerate(ids)]
        await asyncio.sleep(0.05)
    return sent


async def delivered(client: httpx.AsyncClient, body: bytes) -> None:
    """Send a request until it is answered, as an SDK does whose Collector is killed."""
    while True:
        try:
            answer = await posted(client, body)
        except httpx.TransportError:
            await asyncio.sleep(0.1)
            continue
        assert answer.status_code == 200, answer.text
        return
