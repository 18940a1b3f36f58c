"""The section `telemetry`."""

from pydantic import PositiveFloat

from .addresses import EndpointUrl
from .section import Section, setting

__all__ = ["TelemetrySettings"]


class TelemetrySettings(Section):
    """Traces and metrics. `/metrics` is always there."""

    otlp_endpoint: EndpointUrl | None = setting(None, "OTLP/HTTP base address, such as http://collector:4318.")
    sample_ratio: float = setting(
        0.01, "Share of requests that are traced, where there is an endpoint.", "", ge=0, le=1
    )
    metric_interval: PositiveFloat = setting(30.0, "Time between metric exports by OTLP.", "s")
