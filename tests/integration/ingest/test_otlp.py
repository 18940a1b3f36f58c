"""OTLP on its whole way: what OpenTelemetry's SDK sends is there once, and what clients are told, in their own form."""

import asyncio
import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from services.contract import series_id, series_of
from services.ingest.doors.otlp.door import PATHS
from services.platform.settings import Settings
from services.platform.stream import Stream
from tests.support import Service, eventually
from tests.support.doors import Doors
from tests.support.ingest import entries, taking
from tests.support.otlp import Message, T, as_json, gauge, make, number, request
from tests.support.proxy import proxied
from tests.support.readings import rows_in, sql
from tests.support.worker import Start

PROTOBUF, JSON = "application/x-protobuf", "application/json"
FORMS: dict[str, Callable[[Message], bytes]] = {PROTOBUF: lambda message: message.SerializeToString(), JSON: as_json}
Response: Any = metrics_service_pb2.ExportMetricsServiceResponse
Status: Any = status_pb2.Status


def read(answer: httpx.Response, kind: Any) -> Message:
    """Return the message of an answer, in the form that its Content-Type says."""
    if answer.headers["content-type"] == JSON:
        return json_format.Parse(answer.content, kind())
    assert answer.headers["content-type"] == PROTOBUF
    return kind.FromString(answer.content)


async def post(
    client: httpx.AsyncClient, body: bytes, media: str, path: str = "/v1/metrics", **more: str
) -> httpx.Response:
    return await client.post(path, content=body, headers={"Content-Type": media, **more})


async def stored(settings: Settings, count: int) -> None:
    async def has() -> bool:
        return len(await rows_in(settings.database)) == count

    await eventually(has)


async def test_points_become_labelled_readings_and_the_same_request_is_stored_once(
    client: httpx.AsyncClient, settings: Settings, start: Start
) -> None:
    await start()
    message = request(gauge(number(1.5, room="a"), number(2, room="b")), resource={"service.name": "boiler"})
    packers: dict[str, Callable[[bytes], bytes]] = {
        "identity": bytes, "gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress
    }  # fmt: skip
    for media, encoded in FORMS.items():
        for path, (encoding, pack) in zip(PATHS, packers.items(), strict=True):
            answer = await post(client, pack(encoded(message)), media, path, **{"Content-Encoding": encoding})
            assert answer.status_code == 200
            assert read(answer, Response) == Response()
    last = await post(client, as_json(request(gauge(number(3.0)))), f"{JSON}; charset=utf-8")
    assert (last.status_code, last.content) == (200, b"{}")
    await stored(settings, 3)
    expected = [
        (series_id(series_of("temperature", labels.items())), T // 1000, value)
        for labels, value in (
            ({"service.name": "boiler", "room": "a"}, 1.5), ({"service.name": "boiler", "room": "b"}, 2.0), ({}, 3.0)
        )
    ]  # fmt: skip
    assert await rows_in(settings.database) == sorted(expected)


async def test_a_key_tells_requests_apart(client: httpx.AsyncClient, settings: Settings, start: Start) -> None:
    await start()
    body = as_json(request(gauge(number(1.5))))
    for key in ("one", "two", "two"):
        assert (await post(client, body, JSON, **{"Idempotency-Key": key})).status_code == 200
    reused = await post(client, as_json(request(gauge(number(2.5)))), JSON, **{"Idempotency-Key": "one"})
    assert (reused.status_code, read(reused, Status).code) == (400, 3)
    await stored(settings, 2)


@pytest.mark.parametrize("media", FORMS)
async def test_good_points_are_stored_and_bad_ones_told(
    media: str, client: httpx.AsyncClient, settings: Settings, start: Start
) -> None:
    await start()
    bad = make("HistogramDataPoint", time_unix_nano=T, bucket_counts=[1], explicit_bounds=[1, 2])
    histogram = make("HistogramDataPoint", time_unix_nano=T, count=1, sum=1e101, bucket_counts=[1])
    message = request(
        gauge(number(1.5), number(2.5, time=5000), number(1.5, time=0), number(math.nan)),
        make("Metric", name="h", histogram={"data_points": [bad, histogram]}),
    )
    answer = await post(client, FORMS[media](message), media)
    assert answer.status_code == 200
    told = read(answer, Response).partial_success
    assert told.rejected_data_points == 4
    for words in (
        "data point 1: timestamp 1970",
        "data point 2: the point has no time",
        "data point 4: 1 bucket_counts",
    ):
        assert words in told.error_message
    await stored(settings, 3)


@pytest.mark.parametrize("media", FORMS)
async def test_what_is_not_kept_of_exponential_histograms_is_a_warning(media: str, client: httpx.AsyncClient) -> None:
    point = make("ExponentialHistogramDataPoint", time_unix_nano=T, count=1, sum=2, positive={"bucket_counts": [1]})
    message = request(make("Metric", name="e", exponential_histogram={"data_points": [point]}))
    told = read(await post(client, FORMS[media](message), media), Response).partial_success
    assert told.rejected_data_points == 0
    assert "buckets of 1 exponential histogram points are not kept" in told.error_message


@pytest.mark.parametrize("media", FORMS)
async def test_what_no_client_can_mend_by_sending_again_is_told_as_a_status(
    media: str, client: httpx.AsyncClient
) -> None:
    encoded = FORMS[media]
    malformed = await post(client, b"{" if media == JSON else b"\x0a\x05", media)
    old = await post(client, encoded(request(gauge(number(1.5, time=5000)))), media)
    large = await post(client, encoded(request(gauge(number(1.5, words="x" * 21_000)))), media)
    packed = await post(client, b"", media, **{"Content-Encoding": "br"})
    statuses = [(answer.status_code, read(answer, Status).code) for answer in (malformed, old, large, packed)]
    assert statuses == [(400, 3), (400, 3), (413, 8), (415, 3)]
    assert "ExportMetricsServiceRequest" in read(malformed, Status).message
    [detail] = read(old, Status).details
    bad_request: Any = error_details_pb2.BadRequest()
    assert detail.Unpack(bad_request)
    assert bad_request.field_violations[0].field == "data point 0: timestamp"


async def test_other_forms_are_refused_and_nothing_is_a_success(client: httpx.AsyncClient) -> None:
    for media in ("text/plain", "application/grpc", ""):
        answer = await post(client, b"", media)
        assert (answer.status_code, answer.headers["content-type"]) == (415, JSON)
        assert "application/x-protobuf" in answer.json()["message"]
    assert (await post(client, b"", PROTOBUF)).status_code == 200
    slow = await client.post("/v1/metrics", content=never(), headers={"Content-Type": JSON})
    assert (slow.status_code, slow.json()["code"], slow.headers["Retry-After"]) == (503, 14, "1")


async def never() -> Any:
    yield b"{"
    await asyncio.sleep(60)


async def test_a_key_is_asked_for_in_the_form_of_the_request(timescaledb_settings: Settings, tmp_path: Path) -> None:
    doors = Doors(tmp_path / "keys.yaml")
    shown = doors.add("sdk", "ingest")
    async with taking(doors.guarding(timescaledb_settings)) as client:
        for media, encoded in FORMS.items():
            body = encoded(request(gauge(number(1.5))))
            refused = await post(client, body, media)
            assert (refused.status_code, read(refused, Status).code) == (401, 16)
            assert (await post(client, body, media, **shown)).status_code == 200


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
async def test_what_the_sdk_sends_again_after_a_lost_answer_is_there_once(
    compression: Compression,
    settings: Settings,
    service: Callable[[str, Settings], Service],
    stream: Stream,
    start: Start,
) -> None:
    async with (
        service("ingest", settings),
        proxied(settings.ingest.host, settings.ingest.port) as proxy,
    ):
        exporter = OTLPMetricExporter(f"http://127.0.0.1:{proxy.port}/v1/metrics", compression=compression, timeout=30)
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=math.inf)
        provider = MeterProvider([reader], Resource({"service.name": "boiler", "service.instance.id": "1"}))
        meter = provider.get_meter("plant", "2.0")
        meter.create_gauge("temperature", "Cel").set(71.5, {"room": "a"})
        meter.create_counter("turns").add(3, {"motor": "left"})
        meter.create_up_down_counter("queue").add(-2)
        latency = meter.create_histogram("latency", "s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
        for seconds in (0.05, 0.5, 5.0):
            latency.record(seconds)
        proxy.swallows = True
        sent = asyncio.create_task(asyncio.to_thread(provider.force_flush, 30_000))
        await eventually(lambda: written(stream, 1))
        proxy.cut()
        proxy.swallows = False
        assert await sent
        await eventually(lambda: written(stream, 2))
        await asyncio.to_thread(provider.shutdown)
    await start()
    await stored(settings, 10)
    ledger = await sql(settings.database, "select sum(rows) as rows from ingest_ledger")
    assert ledger[0]["rows"] == 10
    rows = await sql(
        settings.database,
        "select name, labels, value from sensor_data join sensors using (sensor_id) order by name, value",
    )
    shared = {
        "service.name": "boiler",
        "service.instance.id": "1",
        "otel.scope.name": "plant",
        "otel.scope.version": "2.0",
    }
    assert [(row["name"], own(json.loads(row["labels"]), shared), row["value"]) for row in rows] == [
        ("latency_bucket", {"le": "0.1"}, 1), ("latency_bucket", {"le": "1"}, 2), ("latency_bucket", {"le": "+Inf"}, 3),
        ("latency_count", {}, 3), ("latency_max", {}, 5), ("latency_min", {}, 0.05), ("latency_sum", {}, 5.55),
        ("queue", {}, -2), ("temperature", {"room": "a"}, 71.5), ("turns", {"motor": "left"}, 3),
    ]  # fmt: skip


async def written(stream: Stream, count: int) -> bool:
    return len(await entries(stream)) == count


def own(labels: dict[str, str], shared: dict[str, str]) -> dict[str, str]:
    assert shared.items() <= labels.items()
    return {name: text for name, text in labels.items() if name not in shared}
