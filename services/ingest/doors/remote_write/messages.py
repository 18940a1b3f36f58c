"""The messages of remote write, as Prometheus' `remote.proto` and `io/prometheus/write/v2/types.proto` number them.

https://prometheus.io/docs/specs/prw/remote_write_spec/ and .../remote_write_spec_2_0/; what is not named is skipped.
Labels are left packed: most series have come before, and are known by these bytes.
"""

from services.platform.protobuf import BYTES, DOUBLE, INT32, INT64, STRING, UINT32, Field, messages

__all__ = ["LABEL", "LABELS", "REQUEST_1", "REQUEST_2"]

_MESSAGES = messages(
    "remote_write",
    {
        "Label": {"name": Field(1, STRING), "value": Field(2, STRING)},
        "Labels": {
            "labels": Field(1, BYTES, repeated=True),
            "samples": Field(2, BYTES, repeated=True),
            "exemplars": Field(3, BYTES, repeated=True),
            "histograms": Field(4, BYTES, repeated=True),
        },
        "Sample": {"value": Field(1, DOUBLE), "timestamp": Field(2, INT64)},
        "TimeSeries1": {
            "labels": Field(1, BYTES, repeated=True),
            "samples": Field(2, "Sample", repeated=True),
            "exemplars": Field(3, BYTES, repeated=True),
            "histograms": Field(4, BYTES, repeated=True),
        },
        "Request1": {
            "timeseries": Field(1, "TimeSeries1", repeated=True),
            "metadata": Field(3, "Metadata1", repeated=True),
        },
        "Metadata1": {"type": Field(1, INT32), "metric_family_name": Field(2, STRING), "unit": Field(5, STRING)},
        "TimeSeries2": {
            "labels_refs": Field(1, UINT32, repeated=True),
            "samples": Field(2, "Sample", repeated=True),
            "histograms": Field(3, BYTES, repeated=True),
            "exemplars": Field(4, BYTES, repeated=True),
            "metadata": Field(5, "Metadata2"),
        },
        "Metadata2": {"type": Field(1, INT32), "unit_ref": Field(4, UINT32)},
        "Request2": {
            "symbols": Field(4, STRING, repeated=True),
            "timeseries": Field(5, "TimeSeries2", repeated=True),
        },
    },
)

LABEL, LABELS = _MESSAGES["Label"], _MESSAGES["Labels"]
REQUEST_1, REQUEST_2 = _MESSAGES["Request1"], _MESSAGES["Request2"]
