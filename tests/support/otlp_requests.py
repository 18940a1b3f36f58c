"""Requests of OTLP of all that its messages can say, right or wrong, for hypothesis."""

from typing import Any

from hypothesis import strategies as st

from .otlp import Message, T, attributes, make, request

__all__ = ["requests"]

NAMES = st.sampled_from(["m", "room", "le", "quantile", "", "é", "scope.room", "x" * 129])
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=3)
)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
)
ATTRIBUTES = st.dictionaries(NAMES, VALUES | st.text(max_size=2), max_size=3).map(attributes)
UNITS = st.sampled_from(["", "Cel", "1", "s" * 64, "\0"])
TIMES = st.sampled_from([0, 1, T, T + 1, 2**64 - 1])
UNSIGNED = st.integers(0, 2**64 - 1) | st.integers(0, 9)
FLAGS = st.sampled_from([0, 0, 0, 1, 2, 3])
EXEMPLARS = st.sampled_from([[], [], [{"as_int": 1}]])
SHARED: dict[str, st.SearchStrategy[Any]] = {
    "attributes": ATTRIBUTES, "time_unix_nano": TIMES, "start_time_unix_nano": TIMES, "flags": FLAGS,
}  # fmt: skip
MAYBE = st.none() | st.floats()
BOUNDS = st.lists(st.floats(), max_size=3) | st.just([-0.0, 1.5, 1e22])
NUMBERS = st.builds(
    make, st.just("NumberDataPoint"), as_int=st.integers(-(2**63), 2**63 - 1), exemplars=EXEMPLARS, **SHARED
) | st.builds(make, st.just("NumberDataPoint"), as_double=MAYBE, exemplars=EXEMPLARS, **SHARED)
HISTOGRAMS = st.builds(
    make, st.just("HistogramDataPoint"), count=UNSIGNED, sum=MAYBE, min=MAYBE, max=MAYBE, exemplars=EXEMPLARS,
    bucket_counts=st.lists(UNSIGNED, max_size=4), explicit_bounds=BOUNDS, **SHARED,
)  # fmt: skip
EXPONENTIAL = st.builds(
    make,
    st.just("ExponentialHistogramDataPoint"),
    count=UNSIGNED,
    sum=MAYBE,
    min=MAYBE,
    max=MAYBE,
    exemplars=EXEMPLARS,
    **SHARED,
)
QUANTILES = st.fixed_dictionaries({"quantile": st.floats() | st.floats(0, 1), "value": st.floats()})
SUMMARIES = st.builds(
    make,
    st.just("SummaryDataPoint"),
    count=UNSIGNED,
    sum=st.floats(),
    quantile_values=st.lists(QUANTILES, max_size=2),
    **SHARED,
)


def metric(kind: str, points: st.SearchStrategy[Any]) -> st.SearchStrategy[Message]:
    return st.builds(
        lambda name, unit, data, found: make("Metric", name=name, unit=unit, **{kind: {"data_points": found, **data}}),
        NAMES,
        UNITS,
        st.fixed_dictionaries({"is_monotonic": st.booleans()} if kind == "sum" else {}),
        st.lists(points, max_size=3),
    )


METRICS = (
    metric("gauge", NUMBERS) | metric("sum", NUMBERS) | metric("histogram", HISTOGRAMS)
    | metric("exponential_histogram", EXPONENTIAL) | metric("summary", SUMMARIES)
    | st.builds(make, st.just("Metric"), name=NAMES)
)  # fmt: skip
SCOPES = st.fixed_dictionaries({"name": NAMES, "version": NAMES, "attributes": ATTRIBUTES})


@st.composite
def requests(draw: st.DrawFn) -> Message:
    """Return requests of two resources at the most."""
    made = request()
    for _ in range(draw(st.integers(0, 2))):
        of_resource = made.resource_metrics.add(resource={"attributes": draw(ATTRIBUTES)})
        for _ in range(draw(st.integers(0, 2))):
            of_resource.scope_metrics.add(scope=draw(SCOPES), metrics=draw(st.lists(METRICS, max_size=3)))
    return made
