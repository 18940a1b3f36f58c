"""OTLP: what points become, that JSON and the quick way read what the messages say, and that no bytes break it."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract import series_id, series_of
from services.ingest import naming
from services.ingest.doors.otlp import as_protobuf, gathering
from services.ingest.doors.otlp.decode import JSON, PROTOBUF, MetricsDecoder
from services.ingest.readings import Decoded
from services.platform.http.errors import Problem
from tests.support.otlp import Message, T, as_json, attributes, gauge, make, number, request
from tests.support.otlp_requests import requests

MICROS = T // 1000
Labels = dict[str, str]


def read(message: Message) -> Decoded:
    decoded = MetricsDecoder().decode(message.SerializeToString(), PROTOBUF)
    same(decoded, MetricsDecoder().decode(as_json(message), JSON))
    return decoded


def rows(decoded: Decoded) -> list[tuple[str, Labels, int, float]]:
    columns = decoded.columns()
    found = [columns.series[columns.sensor_ids[code]] for code in columns.index]
    names = [(series.name, dict(series.labels)) for series in found]
    times, values = columns.timestamps.tolist(), columns.values.tolist()
    return [(*name, *row) for name, *row in zip(names, times, values, strict=True)]


def same(one: Decoded, other: Decoded) -> None:
    assert rows(one) == rows(other)
    assert one.columns().sensor_ids == other.columns().sensor_ids
    assert one.columns().series == other.columns().series
    assert one.skipped == other.skipped
    assert one.faults == other.faults
    assert one.positions is not None
    assert other.positions is not None
    assert one.positions.tolist() == other.positions.tolist()


def test_gauges_and_sums_become_labelled_readings() -> None:
    message = request(
        gauge(number(1.5, room="a"), number(-2, room="b")),
        make("Metric", name="turns", sum={"data_points": [number(3)], "aggregation_temporality": 1}),
        resource={"service.name": "boiler"}, scope={"name": "plant", "version": "1"},
    )  # fmt: skip
    shared = {"otel.scope.name": "plant", "otel.scope.version": "1", "service.name": "boiler"}
    assert rows(read(message)) == [
        ("temperature", shared | {"room": "a"}, MICROS, 1.5),
        ("temperature", shared | {"room": "b"}, MICROS, -2.0),
        ("turns", shared, MICROS, 3.0),
    ]


def test_kinds_and_units_are_told_of_series_and_have_no_part_in_the_contracts_ids() -> None:
    message = request(
        make("Metric", name="g", unit="Cel", gauge={"data_points": [number(1)]}),
        make("Metric", name="u", unit="u" * 64, sum={"data_points": [number(1)]}),
        make("Metric", name="c", unit="1", sum={"data_points": [number(1)], "is_monotonic": True}),
        make("Metric", name="h", unit="s", histogram={"data_points": [{"time_unix_nano": T, "count": 1}]}),
        make("Metric", name="s", summary={"data_points": [{"time_unix_nano": T, "count": 1}]}),
    )
    for body, media in ((message.SerializeToString(), PROTOBUF), (as_json(message), JSON)):
        found = MetricsDecoder().decode(body, media).columns().series
        series = found.values()
        assert list(found) == [series_id(series_of(one.name, one.labels)) for one in series]
        assert {(one.name[0], one.kind, one.unit) for one in series} == {
            ("g", "gauge", "Cel"), ("u", "updowncounter", None), ("c", "counter", "1"),
            ("h", "histogram", "s"), ("s", "summary", None),
        }  # fmt: skip


def test_who_is_closer_to_the_reading_has_a_name_that_several_want() -> None:
    scope = {"attributes": attributes({"host": "scope", "zone": "scope", "scope.host": "literal"})}
    point = make(
        "HistogramDataPoint", time_unix_nano=T, count=1, attributes=attributes({"host": "point", "le": "mine"})
    )
    message = request(
        make("Metric", name="h", histogram={"data_points": [point]}),
        resource={"host": "resource", "zone": "", "__name__": "mine"},
        scope=scope,
    )
    bucket = rows(read(message))[0]
    assert bucket[:2] == ("h_bucket", {
        "le": "+Inf", "point.le": "mine", "host": "point", "scope.host": "scope", "scope.scope.host": "literal",
        "zone": "scope", "resource.host": "resource", "resource.__name__": "mine",
    })  # fmt: skip


@pytest.mark.parametrize(
    ("plain", "text"),
    [
        ("a", "a"), (True, "true"), (42, "42"), (1.5, "1.5"), (math.nan, "NaN"), (-math.inf, "-Infinity"),
        (b"\x00\xff", "AP8="), ([1, "a", None, math.inf], '[1,"a",null,"Infinity"]'),
        ({"b": {"c": [True]}, "a": 1}, '{"a":1,"b":{"c":[true]}}'),
    ],
)  # fmt: skip
def test_values_become_texts(plain: Any, text: str) -> None:
    [(_, labels, *_)] = rows(read(request(gauge(number(1.0, x=plain, empty="", none=None)))))
    assert labels == {"x": text}


def test_a_long_value_is_cut_and_those_that_begin_alike_stay_apart() -> None:
    found = rows(read(request(gauge(*(number(1.0, args="x" * 2000 + end) for end in "ab")))))
    one, two = (labels["args"] for _, labels, *_ in found)
    assert one != two
    assert {len(one), len(two)} == {1024}


def test_histograms_and_summaries_become_what_prometheus_makes_of_them() -> None:
    histogram = make(
        "HistogramDataPoint",
        time_unix_nano=T,
        count=6,
        sum=7.5,
        min=0.5,
        max=3,
        bucket_counts=[1, 2, 3],
        explicit_bounds=[0.005, 10],
    )
    summary = make(
        "SummaryDataPoint",
        time_unix_nano=T,
        count=2,
        sum=3,
        quantile_values=[{"quantile": 0.5, "value": 1}, {"quantile": 1, "value": 2}],
    )
    bare = make("HistogramDataPoint", time_unix_nano=T, count=4)
    message = request(
        make("Metric", name="h", histogram={"data_points": [histogram, bare]}),
        make("Metric", name="s", summary={"data_points": [summary]}),
    )
    assert [(name, labels, number) for name, labels, _, number in rows(read(message))] == [
        ("h_bucket", {"le": "0.005"}, 1), ("h_bucket", {"le": "10"}, 3), ("h_bucket", {"le": "+Inf"}, 6),
        ("h_sum", {}, 7.5), ("h_count", {}, 6), ("h_min", {}, 0.5), ("h_max", {}, 3),
        ("h_bucket", {"le": "+Inf"}, 4), ("h_count", {}, 4),
        ("s", {"quantile": "0.5"}, 1), ("s", {"quantile": "1"}, 2), ("s_sum", {}, 3), ("s_count", {}, 2),
    ]  # fmt: skip


def test_what_is_not_kept_is_counted() -> None:
    exponential = make(
        "ExponentialHistogramDataPoint", time_unix_nano=T, count=2, sum=3, max=2, positive={"bucket_counts": [2]}
    )
    exemplar = make("NumberDataPoint", time_unix_nano=T + 1, as_int=2, exemplars=[{"as_int": 2}])
    decoded = read(
        request(
            make("Metric", name="e", exponential_histogram={"data_points": [exponential]}),
            gauge(
                number(math.nan), number(math.inf), number(7, flags_after="x"), exemplar,
                make("NumberDataPoint", time_unix_nano=T, flags=1),
                make("NumberDataPoint", time_unix_nano=T, as_int=1, flags=1),
            ),
        )
    )  # fmt: skip
    assert [(name, number) for name, _, _, number in rows(decoded)] == [
        ("e_sum", 3), ("e_count", 2), ("e_max", 2), ("temperature", 7), ("temperature", 2)
    ]  # fmt: skip
    assert decoded.skipped == {
        "exponential_buckets": 1, "not_finite": 2, "no_recorded_value": 2, "exemplars": 1, "nanoseconds": 1
    }  # fmt: skip


def test_what_is_wrong_with_a_point_is_told_and_its_neighbours_are_taken() -> None:
    nested: Any = "x"
    for _ in range(34):
        nested = [nested]
    uneven = make("HistogramDataPoint", time_unix_nano=T, bucket_counts=[1], explicit_bounds=[1, 2])
    falling = make("HistogramDataPoint", time_unix_nano=T, bucket_counts=[1, 1, 1], explicit_bounds=[2, 1])
    no_quantile = make("SummaryDataPoint", time_unix_nano=T, quantile_values=[{"quantile": 2}])
    twice = make("NumberDataPoint", time_unix_nano=T, as_int=1, attributes=attributes({"a": 1}) * 2)
    decoded = read(
        request(
            make("Metric", name="h", histogram={"data_points": [uneven, falling]}),
            make("Metric", name="s", summary={"data_points": [no_quantile]}),
            gauge(number(1.0), number(1.0, time=0), twice, number(1.0, deep=nested), number(1.0, a="\0")),
            gauge(number(1.0), name=""),
            gauge(number(1.0), name="n" * 129),
        )
    )
    assert [number for *_, number in rows(decoded)] == [1.0]
    assert decoded.positions is not None
    assert decoded.positions.tolist() == [3]
    assert {(fault.index, fault.field) for fault in decoded.faults} == {
        (0, "bucket_counts"), (1, "explicit_bounds"), (2, "quantile_values"), (4, "time_unix_nano"),
        (5, "attributes"), (6, "attributes"), (7, "labels"), (8, "name"), (9, "name"),
    }  # fmt: skip


def test_a_resource_that_is_wrong_is_told_for_each_of_its_points() -> None:
    message = request(gauge(number(1.0), number(2.0)))
    message.resource_metrics[0].resource.attributes.extend(attributes({"a": "b"}) * 2)
    assert [fault.index for fault in read(message).faults] == [0, 1]


def test_json_may_say_numbers_as_texts_and_what_nobody_knows() -> None:
    point = {"timeUnixNano": T, "asDouble": "1.5", "attributes": [{"key": "a", "value": {"intValue": "7"}}], "new": {}}
    metric = {"name": "m", "sum": {"aggregationTemporality": "AGGREGATION_TEMPORALITY_DELTA", "dataPoints": [point]}}
    scope = {"scope": None, "metrics": [metric, {"name": "none"}, {"name": "new", "kind": {"dataPoints": [1]}}]}
    body = {"resourceMetrics": [{"resource": {}, "scopeMetrics": [scope], "schemaUrl": "x"}], "resource_metrics": 1}
    decoder = MetricsDecoder()
    for _ in range(2):
        assert rows(decoder.decode(json.dumps(body).encode(), JSON)) == [("m", {"a": "7"}, MICROS, 1.5)]
    for empty in ("{}", '{"resourceMetrics":null}', '{"resourceMetrics":[{"scopeMetrics":[{"metrics":[]}]}]}'):
        assert len(decoder.decode(empty.encode(), JSON)) == 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"timeUnixNano": "soon"}, r"resourceMetrics\[0\].*timeUnixNano"), ({"timeUnixNano": -1}, "64 bits"),
        ({"asInt": 2**63}, "64 bits"), ({"asDouble": "much"}, "asDouble"), ({"attributes": {}}, "array"),
        ({"attributes": [{"key": 1}]}, "key"),
        ({"attributes": [{"key": "k", "value": {"intValue": 2**70}}]}, "64 bits"),
    ],
)  # fmt: skip
def test_json_of_wrong_types_is_refused_by_place(wrong: dict[str, Any], told: str) -> None:
    point = {"timeUnixNano": "1", "asInt": 1} | wrong
    body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "gauge": {"dataPoints": [point]}}]}]}]}
    with pytest.raises(Problem, match=told) as refused:
        MetricsDecoder().decode(json.dumps(body).encode(), JSON)
    assert refused.value.code == "malformed_body"


@pytest.mark.parametrize("deep", ['{"a":' * 50_000, "[" * 50_000, '{"resourceMetrics":' + "[" * 50_000])
def test_no_depth_breaks_it(deep: str) -> None:
    nested = '{"arrayValue":{"values":[' * 250 + "{}" + "]}}" * 250
    body = as_json(request(gauge(number(1, deep="here")))).decode().replace('{"stringValue": "here"}', nested)
    [fault] = MetricsDecoder().decode(body.encode(), JSON).faults
    assert "nested deeper" in fault.message
    with pytest.raises(Problem, match=r"truncated|deep|Expected"):
        MetricsDecoder().decode(deep.encode(), JSON)


def test_labels_that_multiply_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (gathering, naming):
        monkeypatch.setattr(module, "MOST_LABEL_BYTES", 10_000)
    message = request(gauge(*(number(1.0, n=n) for n in range(100))), resource={"long": "x" * 1000})
    point = make("HistogramDataPoint", time_unix_nano=T, bucket_counts=[0] * 100, explicit_bounds=range(99))
    for body in (
        message,
        request(make("Metric", name="h", histogram={"data_points": [point]}), resource={"long": "x" * 1000}),
    ):
        with pytest.raises(Problem, match="MiB"):
            MetricsDecoder().decode(body.SerializeToString(), PROTOBUF)


def test_what_sdks_send_needs_no_message_for_a_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_protobuf, "NUMBER", None)
    started = make(
        "NumberDataPoint", start_time_unix_nano=1, time_unix_nano=T, as_int=-5, attributes=attributes({"a": "b"})
    )
    assert [number for *_, number in rows(read(request(gauge(number(0.0), started))))] == [0.0, -5.0]


def test_names_are_forgotten_where_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_MOST_REMEMBERED", 3)
    decoder = MetricsDecoder()
    for host in "abcdef":
        body = request(gauge(number(1.0, host=host))).SerializeToString()
        assert rows(decoder.decode(body, PROTOBUF))[0][1] == {"host": host}
    assert decoder._names[PROTOBUF]._size <= 6


def read_by_messages(body: bytes) -> Decoded:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(as_protobuf, "_TAGS", set())
        patched.setattr(as_protobuf, "_SHORT_TAGS", set())
        return MetricsDecoder().decode(body, PROTOBUF)


@given(requests())
def test_all_ways_read_the_same(message: Message) -> None:
    body = message.SerializeToString()
    decoder = MetricsDecoder()
    first = decoder.decode(body, PROTOBUF)
    same(first, read_by_messages(body))
    same(first, decoder.decode(body, PROTOBUF))
    same(first, decoder.decode(as_json(message), JSON))
    same(first, decoder.decode(as_json(message), JSON))


@given(requests(), st.data())
def test_changed_bytes_are_read_alike_or_refused(message: Message, data: st.DataObject) -> None:
    body = bytearray(message.SerializeToString() or b"\0")
    at = data.draw(st.integers(0, len(body) - 1))
    body[at : at + 1] = data.draw(st.binary(max_size=3))
    decoder = MetricsDecoder()
    decoder.decode(message.SerializeToString(), PROTOBUF)
    one, other = (
        outcome(lambda: decoder.decode(bytes(body), PROTOBUF)),
        outcome(lambda: read_by_messages(bytes(body))),
    )
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        same(one, other)


@given(requests(), st.data())
def test_changed_json_is_read_or_refused(message: Message, data: st.DataObject) -> None:
    body = bytearray(as_json(message))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at : at + 1] = data.draw(st.binary(max_size=3) | st.sampled_from([b"null", b"1", b'"', b"{}", b"[", b"-1"]))
    outcome(lambda: MetricsDecoder().decode(bytes(body), JSON))


@given(st.binary(max_size=80), st.sampled_from([PROTOBUF, JSON]))
def test_any_bytes_are_readings_or_refused(body: bytes, media: str) -> None:
    outcome(lambda: MetricsDecoder().decode(body, media))


def outcome(decode: Callable[[], Decoded]) -> Decoded | None:
    try:
        decoded = decode()
    except Problem as problem:
        assert problem.code == "malformed_body"
        return None
    rows(decoded)
    return decoded
