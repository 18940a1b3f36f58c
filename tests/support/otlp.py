"""Messages of OTLP by OpenTelemetry's own classes, and what is read of them."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2

__all__ = ["Message", "T", "as_json", "attributes", "gauge", "make", "number", "request"]

T = 1_761_166_800_123_456_000
"""An instant in nanoseconds."""

Message = Any
"""A message; its classes take dicts in the place of others, which their types do not say."""


def make(kind: str, /, **fields: Any) -> Message:
    """Return a message of `metrics.proto`."""
    return getattr(metrics_pb2, kind)(**fields)


def attributes(given: Mapping[str, Any]) -> list[Message]:
    """Return attributes whose values have the types that they have here."""
    key_value: Any = common_pb2.KeyValue
    return [key_value(key=name, value=_value(plain)) for name, plain in given.items()]


def number(plain: float, time: int = T, **labels: Any) -> Message:
    """Return a point of a gauge or a sum."""
    kind = "as_int" if isinstance(plain, int) else "as_double"
    return make("NumberDataPoint", time_unix_nano=time, attributes=attributes(labels), **{kind: plain})


def gauge(*points: Message, name: str = "temperature") -> Message:
    """Return a gauge of these points."""
    return make("Metric", name=name, gauge={"data_points": points})


def request(
    *metrics: Message, resource: Mapping[str, Any] | None = None, scope: Mapping[str, Any] | None = None
) -> Message:
    """Return a request of one resource, by its attributes, and one scope, by its fields."""
    of_scope = {"scope": scope or {}, "metrics": metrics}
    of_resource = {"resource": {"attributes": attributes(resource or {})}, "scope_metrics": [of_scope]}
    service: Any = metrics_service_pb2
    return service.ExportMetricsServiceRequest(resource_metrics=[of_resource])


def as_json(message: Message) -> bytes:
    """Return a message in JSON."""
    return json_format.MessageToJson(message, use_integers_for_enums=True, indent=None).encode()


def _value(plain: Any) -> Message:
    any_value: Any = common_pb2.AnyValue
    if isinstance(plain, list):
        return any_value(array_value={"values": [_value(item) for item in plain]})
    if isinstance(plain, dict):
        return any_value(kvlist_value={"values": attributes(plain)})
    fields = {bool: "bool_value", str: "string_value", int: "int_value", float: "double_value", bytes: "bytes_value"}
    return any_value() if plain is None else any_value(**{fields[type(plain)]: plain})
