"""The whole way with real processes: request, stream, worker, table, question; its trace and its metrics."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from services.platform.settings import Settings
from tests.support import Service, eventually, free_port
from tests.support.canaries import Collector, collecting
from tests.support.otlp import as_json, make, number, request
from tests.support.readings import sql

Make = Callable[[str, Settings], Service]
DEMO = [
    ("2025-10-22T21:00:00Z", 25.3),
    ("2025-10-22T21:01:00Z", 26.7),
    ("2025-10-22T21:05:00Z", 30.7),
    ("2025-10-22T22:00:00Z", 10.0),
    ("2025-10-22T22:06:00Z", 12.0),
    ("2025-10-22T22:06:00Z", 114.0),
]
TURNS = 5
READINGS = [{"sensor_id": "sensor-1", "timestamp": timestamp, "value": value} for timestamp, value in DEMO]
RANGE = '{"data":[{"id":1,"timestamp":"2025-10-22T21:00:00Z","sensor_id":"sensor-1","value":25.3}]}'
HOURS = (
    '[{"timestamp":"2025-10-22T21:00:00Z","avg":27.566666666666666,"min":25.3,"max":30.7,"samples":3},'
    '{"timestamp":"2025-10-22T22:00:00Z","avg":45.333333333333336,"min":10.0,"max":114.0,"samples":3}]'
)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


async def test_a_reading_goes_the_whole_way_and_its_trace_and_counts_follow(
    settings: Settings, service: Make, collector: Collector
) -> None:
    telemetry = {"otlp_endpoint": f"http://127.0.0.1:{collector.server_port}", "sample_ratio": 0.0}
    traced = settings.model_copy(update={"telemetry": settings.telemetry.model_copy(update=telemetry)})
    trace_id = uuid.uuid4().hex
    async with AsyncExitStack() as stack:
        ingest, worker, query = [
            await stack.enter_async_context(service(name, traced)) for name in ("ingest", "worker", "query")
        ]
        client = await stack.enter_async_context(httpx.AsyncClient())
        headers = {"traceparent": f"00-{trace_id}-{'1' * 16}-01"}
        stored = await client.post(f"{ingest.url}/ingest?ack=stored", json=READINGS, headers=headers)
        assert stored.status_code == 200
        batch_id = stored.json()["batch_id"]
        assert (await client.get(f"{ingest.url}/batches/{batch_id}")).json()["status"] == "stored"
        asked = {"sensor_id": "sensor-1", "start": "2025-10-22T21:00:00Z"}
        found = await client.get(f"{query.url}/get_range", params={**asked, "end": "2025-10-22T21:00:01Z"})
        assert found.text == RANGE
        least = await client.get(f"{query.url}/min", params={**asked, "end": "2026-10-22T21:00:01Z"})
        assert least.json() == {"min_value": 10.0}
        assert (await client.get(f"{query.url}/hourly", params={"sensor_id": "sensor-1"})).text == HOURS
        assert await counted(client, ingest, "millrace_rows_accepted") == 6
        assert await counted(client, worker, "millrace_rows_written") == 6
        assert await counted(client, ingest, "millrace_entries_added") == 1

        async def drained() -> bool:
            return await counted(client, ingest, "millrace_backlog_rows") == 0

        await eventually(drained)
    spans = [span for batch in traces(collector) for scope in batch.scope_spans for span in scope.spans]
    assert {span.trace_id.hex() for span in spans} == {trace_id}, "what was not sampled is traced"
    names = {span.name: {item.key: item.value.string_value for item in span.attributes} for span in spans}
    assert set(names) == {"ingest", "store"}
    assert names["store"]["millrace.batch_id"] == batch_id


def traces(collector: Collector) -> Iterator[Any]:
    for path, _, body in collector.kept:
        if path == "/v1/traces":
            yield from ExportTraceServiceRequest.FromString(body).resource_spans


async def counted(client: httpx.AsyncClient, process: Service, name: str) -> float:
    text = (await client.get(f"{process.url}/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return sum(sample.value for sample in families[name].samples if not sample.name.endswith("_created"))


async def test_what_an_agent_says_of_a_series_goes_the_whole_way(settings: Settings, service: Make) -> None:
    told = make("Metric", name="turns", unit="1", sum={"data_points": [number(3)], "is_monotonic": True})
    async with AsyncExitStack() as stack:
        ingest, _, query = [
            await stack.enter_async_context(service(name, settings)) for name in ("ingest", "worker", "query")
        ]
        client = await stack.enter_async_context(httpx.AsyncClient())
        headers = {"Content-Type": "application/json"}
        sent = await client.post(f"{ingest.url}/v1/metrics", content=as_json(request(told)), headers=headers)
        assert sent.status_code == 200

        async def catalogued() -> Any:
            return (await client.get(f"{query.url}/sensors")).json()["data"]

        [sensor] = await eventually(catalogued)
        assert (sensor["name"], sensor["kind"], sensor["unit"]) == ("turns", "counter", "1")


async def test_services_say_what_they_lack_and_go_on_when_it_is_there(settings: Settings, service: Make) -> None:
    nowhere = settings.redis.model_copy(update={"url": type(settings.redis.url)(f"redis://127.0.0.1:{free_port()}/0")})
    lost = service("ingest", settings.model_copy(update={"redis": nowhere}))
    lost.start()
    async with httpx.AsyncClient() as client:

        async def reason() -> str:
            try:
                response = await client.get(f"{lost.url}/readyz")
            except httpx.TransportError:
                return ""
            return str(response.json()["reasons"].get("stream", ""))

        async def away() -> bool:
            return "cannot be reached" in await reason()

        await eventually(away)
        refused = await client.post(f"{lost.url}/ingest", json=READINGS)
        assert (refused.status_code, refused.json()["code"]) == (503, "stream_unavailable")
        assert refused.headers["retry-after"] == "1"
        assert (await client.get(f"{lost.url}/healthz")).status_code == 200
    assert lost.terminate() == 0


@pytest.mark.parametrize("ack", ["durable", "stored"])
async def test_of_several_bodies_that_race_for_one_key_only_the_stored_one_is_acknowledged(
    settings: Settings, service: Make, ack: str
) -> None:
    async with service("worker", settings), service("ingest", settings) as ingest, httpx.AsyncClient() as client:

        async def post(number: int, key: str) -> tuple[int, int]:
            reading = {**READINGS[0], "value": number}
            headers = {"Idempotency-Key": key}
            answer = await client.post(f"{ingest.url}/ingest?ack={ack}", json=reading, headers=headers)
            return number, answer.status_code

        for turn in range(TURNS):
            key = f"{ack}-{turn}"
            answers = await asyncio.gather(*(post(number % 4, f"{key}") for number in range(24)))
            acknowledged = {number for number, status in answers if status == 200}
            assert {status for _, status in answers} <= {200, 422}, answers
            assert len(acknowledged) == 1, answers

            async def all_settled() -> bool:
                return await counted(client, ingest, "millrace_backlog_rows") == 0

            await eventually(all_settled)
        values = [row[0] for row in await sql(settings.database, "select value from sensor_data")]
        assert len(values) == TURNS
