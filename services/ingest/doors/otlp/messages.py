"""The messages of OTLP, as `opentelemetry/proto` numbers them; what is not named is skipped.

https://opentelemetry.io/docs/specs/otlp/. Resources, scopes, points that are numbers, and the attributes of points are
left packed: most have come before, and are known by these bytes. What is packed and comes once repeats here, for parts
of one message that lie apart are one, put together.
"""

from collections.abc import Mapping

from services.platform.protobuf import (
    BOOL,
    BYTES,
    DOUBLE,
    FIXED64,
    INT32,
    INT64,
    SFIXED64,
    STRING,
    UINT32,
    Field,
    messages,
)

__all__ = [
    "ATTRIBUTE",
    "BAD_REQUEST",
    "NUMBER",
    "NUMBER_PARTS",
    "REQUEST",
    "RESOURCE",
    "RESPONSE",
    "SCOPE",
    "STATUS",
]


def _points(of: str) -> Mapping[str, Field]:
    return {"data_points": Field(1, of, repeated=True)}


_MESSAGES = messages(
    "otlp_metrics",
    {
        "Request": {"resource_metrics": Field(1, "ResourceMetrics", repeated=True)},
        "ResourceMetrics": {
            "resource": Field(1, BYTES, repeated=True),
            "scope_metrics": Field(2, "ScopeMetrics", repeated=True),
        },
        "ScopeMetrics": {"scope": Field(1, BYTES, repeated=True), "metrics": Field(2, "Metric", repeated=True)},
        "Metric": {
            "name": Field(1, STRING),
            "unit": Field(3, STRING),
            "gauge": Field(5, "Numbers", oneof="data"),
            "sum": Field(7, "Sum", oneof="data"),
            "histogram": Field(9, "Histograms", oneof="data"),
            "exponential_histogram": Field(10, "ExponentialHistograms", oneof="data"),
            "summary": Field(11, "Summaries", oneof="data"),
        },
        "Numbers": {"data_points": Field(1, BYTES, repeated=True)},
        "Sum": {"data_points": Field(1, BYTES, repeated=True), "is_monotonic": Field(3, BOOL)},
        "Histograms": _points("Histogram"),
        "ExponentialHistograms": _points("ExponentialHistogram"),
        "Summaries": _points("Summary"),
        "Number": {
            "time_unix_nano": Field(3, FIXED64),
            "as_double": Field(4, DOUBLE, oneof="value"),
            "exemplars": Field(5, BYTES, repeated=True),
            "as_int": Field(6, SFIXED64, oneof="value"),
            "attributes": Field(7, BYTES, repeated=True),
            "flags": Field(8, UINT32),
        },
        # Repeated, so that it shows what is there, be it zero.
        "NumberParts": {
            "time_unix_nano": Field(3, FIXED64, repeated=True),
            "as_double": Field(4, DOUBLE, repeated=True),
            "exemplars": Field(5, BYTES, repeated=True),
            "as_int": Field(6, SFIXED64, repeated=True),
            "attributes": Field(7, BYTES, repeated=True),
            "flags": Field(8, UINT32, repeated=True),
        },
        "Histogram": {
            "time_unix_nano": Field(3, FIXED64),
            "count": Field(4, FIXED64),
            "sum": Field(5, DOUBLE, oneof="has_sum"),
            "bucket_counts": Field(6, FIXED64, repeated=True),
            "explicit_bounds": Field(7, DOUBLE, repeated=True),
            "exemplars": Field(8, BYTES, repeated=True),
            "attributes": Field(9, BYTES, repeated=True),
            "flags": Field(10, UINT32),
            "min": Field(11, DOUBLE, oneof="has_min"),
            "max": Field(12, DOUBLE, oneof="has_max"),
        },
        "ExponentialHistogram": {
            "attributes": Field(1, BYTES, repeated=True),
            "time_unix_nano": Field(3, FIXED64),
            "count": Field(4, FIXED64),
            "sum": Field(5, DOUBLE, oneof="has_sum"),
            "flags": Field(10, UINT32),
            "exemplars": Field(11, BYTES, repeated=True),
            "min": Field(12, DOUBLE, oneof="has_min"),
            "max": Field(13, DOUBLE, oneof="has_max"),
        },
        "Summary": {
            "time_unix_nano": Field(3, FIXED64),
            "count": Field(4, FIXED64),
            "sum": Field(5, DOUBLE),
            "quantile_values": Field(6, "ValueAtQuantile", repeated=True),
            "attributes": Field(7, BYTES, repeated=True),
            "flags": Field(8, UINT32),
        },
        "ValueAtQuantile": {"quantile": Field(1, DOUBLE), "value": Field(2, DOUBLE)},
        "Resource": {"attributes": Field(1, "KeyValue", repeated=True)},
        "Scope": {
            "name": Field(1, STRING),
            "version": Field(2, STRING),
            "attributes": Field(3, "KeyValue", repeated=True),
        },
        "Attributes": {"values": Field(1, "KeyValue", repeated=True)},
        "KeyValue": {"key": Field(1, STRING), "value": Field(2, "AnyValue")},
        "AnyValue": {
            "string_value": Field(1, STRING, oneof="value"),
            "bool_value": Field(2, BOOL, oneof="value"),
            "int_value": Field(3, INT64, oneof="value"),
            "double_value": Field(4, DOUBLE, oneof="value"),
            "array_value": Field(5, "ArrayValue", oneof="value"),
            "kvlist_value": Field(6, "Attributes", oneof="value"),
            "bytes_value": Field(7, BYTES, oneof="value"),
        },
        "ArrayValue": {"values": Field(1, "AnyValue", repeated=True)},
        "Response": {"partial_success": Field(1, "PartialSuccess")},
        "PartialSuccess": {"rejected_data_points": Field(1, INT64), "error_message": Field(2, STRING)},
        # google/rpc/status.proto and error_details.proto
        "Status": {"code": Field(1, INT32), "message": Field(2, STRING), "details": Field(3, "Any", repeated=True)},
        "Any": {"type_url": Field(1, STRING), "value": Field(2, BYTES)},
        "BadRequest": {"field_violations": Field(1, "FieldViolation", repeated=True)},
        "FieldViolation": {"field": Field(1, STRING), "description": Field(2, STRING)},
    },
)

REQUEST, RESOURCE, SCOPE, ATTRIBUTE = (_MESSAGES[name] for name in ("Request", "Resource", "Scope", "KeyValue"))
NUMBER, NUMBER_PARTS = _MESSAGES["Number"], _MESSAGES["NumberParts"]
RESPONSE, STATUS, BAD_REQUEST = (_MESSAGES[name] for name in ("Response", "Status", "BadRequest"))
