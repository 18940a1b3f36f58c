"""Durations that are counted by ourselves are exported as OpenTelemetry's own histogram of them would be."""

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram, HistogramDataPoint, InMemoryMetricReader

from services.platform.runtime.durations import Durations, beside

BOUNDS = [0.001, 0.01, 0.1, 1.0]
RECORDED = st.lists(
    st.tuples(st.sampled_from([*BOUNDS, 0.0]) | st.floats(0, 100), st.sampled_from([200, 202, 204])), min_size=1
)


@given(RECORDED)
def test_what_is_exported_is_what_opentelemetry_would(recorded: list[tuple[float, int]]) -> None:
    reader = InMemoryMetricReader()
    with_sdk = MeterProvider([reader])
    theirs = with_sdk.get_meter("m").create_histogram("theirs", "s", "", explicit_bucket_boundaries_advisory=BOUNDS)
    ours = Durations("ours", "", BOUNDS)
    for seconds, status in recorded:
        theirs.record(seconds, {"status": status})
        ours.record(seconds, status)
    data = reader.get_metrics_data()
    assert data is not None
    [resource] = beside(data, "m", [ours, Durations("silent", "", BOUNDS)]).resource_metrics
    [scope] = resource.scope_metrics
    assert {metric.name: metric.unit for metric in scope.metrics} == {"theirs": "s", "ours": "s"}
    exported = {metric.name: metric.data for metric in scope.metrics}
    assert points(exported["ours"]) == points(exported["theirs"])
    assert beside(data, "another", [ours]) == data
    with_sdk.shutdown()


def points(found: object) -> dict[object, object]:
    """Return the points of a histogram by their status, without the instants."""
    assert isinstance(found, Histogram)
    return {(point.attributes or {})["status"]: told(point) for point in found.data_points}


def told(point: HistogramDataPoint) -> tuple[object, ...]:
    return point.count, point.sum, point.min, point.max, list(point.bucket_counts), list(point.explicit_bounds)
