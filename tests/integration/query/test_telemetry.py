"""What can be seen of the questions: metrics by route, and a span that continues the caller's trace."""

from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.platform.settings import Settings
from tests.support import Service, TestDatabase
from tests.support.query import asking, insert, owner, query_settings

RANGE = "sensor_id=sensor-1&start=2025-10-22T21:00:00Z&end=2025-10-22T22:00:00Z"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_metrics_count_questions_and_rows_by_route(
    database: TestDatabase, service: Callable[[str, Settings], Service]
) -> None:
    async with owner(database) as connection:
        await insert(connection, "sensor-1", [(timedelta(minutes=minute), 1.0) for minute in range(5)])
    async with service("query", query_settings(database)) as query, httpx.AsyncClient(base_url=query.url) as client:
        for path in ["/get_range", "/min", "/hourly", "/hourly"]:
            assert (await client.get(f"{path}?{RANGE}")).status_code == 200
        shown = (await client.get("/metrics")).text
    values = dict(line.rsplit(" ", 1) for line in shown.splitlines() if not line.startswith("#"))

    def of(name: str, route: str) -> float:
        return next(float(value) for key, value in values.items() if name in key and f'route="{route}"' in key)

    assert [of("millrace_query_seconds_count", path) for path in ["/get_range", "/min", "/hourly"]] == [1, 1, 2]
    assert [of("millrace_query_rows_total", path) for path in ["/get_range", "/hourly"]] == [5, 2]


async def test_a_question_continues_the_trace_it_comes_from(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr("services.platform.runtime.telemetry.tracer", provider.get_tracer("test"))
    async with asking(query_settings(database)) as client:
        header = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        await client.get(f"/get_range?{RANGE}", headers=header)
        await client.get("/min", headers={"traceparent": "no such thing"})
        await client.get("/min", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-00"})
    first, second = spans.get_finished_spans()
    assert (first.name, f"{first.context.trace_id:032x}") == ("GET /get_range", TRACE)
    assert first.attributes
    assert first.attributes["http.response.status_code"] == 200
    assert f"{second.context.trace_id:032x}" != TRACE
    assert second.attributes
    assert second.attributes["http.response.status_code"] == 422
