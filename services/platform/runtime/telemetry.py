"""Traces and metrics by OpenTelemetry: Prometheus form at `/metrics`, OTLP/HTTP where an endpoint is set."""

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import DEFAULT_ON
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services import __version__

from ..settings import TelemetrySettings
from .durations import beside
from .metrics import DURATIONS, METER

__all__ = ["BY_OURSELVES", "carried", "current_traceparent", "is_sampled", "request_span", "telemetry", "tracer"]

_propagator = TraceContextTextMapPropagator()

tracer = trace.get_tracer("millrace", __version__)

BY_OURSELVES: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
"""What each app gives FastAPI: its own spans come for every request, whatever the ratio, probes and query strings
included, and whoever puts an API key there would find it in the traces."""

_NOT_SAMPLED = nullcontext(trace.INVALID_SPAN)
_sampled = {"share": 0.0}


class _DurationsToo(MetricReader):
    """Reads the histograms that count by themselves beside OpenTelemetry's own instruments."""

    def _receive_metrics(self, metrics_data: MetricsData | None, *arguments: Any, **named: Any) -> None:
        data = None if metrics_data is None else beside(metrics_data, METER, DURATIONS)
        super()._receive_metrics(data, *arguments, **named)  # type: ignore[safe-super, arg-type]


class _PrometheusReader(_DurationsToo, PrometheusMetricReader):
    pass


class _PeriodicReader(_DurationsToo, PeriodicExportingMetricReader):
    pass


@contextmanager
def telemetry(settings: TelemetrySettings, service: str) -> Iterator[None]:
    """Set up the process's providers, and flush them at the end."""
    # A span that nobody is told of costs as much as one that somebody is.
    _sampled["share"] = settings.sample_ratio if settings.otlp_endpoint else 0.0
    resource = Resource.create({"service.name": f"millrace-{service}", "service.version": __version__})
    readers: list[MetricReader] = [_PrometheusReader()]
    tracing = TracerProvider(resource=resource, sampler=DEFAULT_ON)
    if settings.otlp_endpoint:
        # Here, for they take each process some MiB, and most have no endpoint.
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        base = settings.otlp_endpoint.get_secret_value().rstrip("/")
        tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{base}/v1/traces")))
        readers.append(_PeriodicReader(OTLPMetricExporter(f"{base}/v1/metrics"), settings.metric_interval * 1000))
    metering = MeterProvider(readers, resource)
    trace.set_tracer_provider(tracing)
    metrics.set_meter_provider(metering)
    try:
        yield
    finally:
        tracing.shutdown()
        metering.shutdown()


def is_sampled(traceparent: str | None) -> bool:
    """Tell whether a request is traced, as its traceparent or else the ratio decides: asked once a request."""
    return not traceparent.endswith("-00") if traceparent else random.random() < _sampled["share"]  # noqa: S311


def request_span(
    name: str, traceparent: str | None, kind: trace.SpanKind = trace.SpanKind.INTERNAL, *, sampled: bool
) -> AbstractContextManager[trace.Span]:
    """Return the span of a request where it is sampled.

    The draw comes before the span is made: one that is made and then not sampled costs as much as the work.
    """
    return tracer.start_as_current_span(name, carried(traceparent), kind) if sampled else _NOT_SAMPLED


def current_traceparent() -> str | None:
    """Return the W3C traceparent of the span in hand, None where it is not sampled."""
    if not trace.get_current_span().get_span_context().trace_flags.sampled:
        return None
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def carried(traceparent: str | None) -> Context | None:
    """Return the context that a traceparent names; None, and so a root span, where there is none."""
    return _propagator.extract({"traceparent": traceparent}) if traceparent else None
