"""Remote write: what requests say, and that the walk through their bytes reads nothing otherwise than as messages."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract import series_of
from services.ingest.doors.remote_write import decode
from services.ingest.doors.remote_write.decode import SamplesDecoder
from services.ingest.doors.remote_write.messages import LABEL, REQUEST_1, REQUEST_2
from services.ingest.readings import Decoded
from services.platform.http.errors import Problem

T = 1_761_166_800_123
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
Series = tuple[dict[str, str], list[tuple[int, float]]]


def version_1(*series: Series, **members: Any) -> bytes:
    made = [
        {
            "labels": [LABEL(name=name, value=value).SerializeToString() for name, value in labels.items()],
            "samples": [{"timestamp": timestamp, "value": value} for timestamp, value in samples],
        }
        for labels, samples in series
    ]
    return bytes(REQUEST_1(timeseries=made, **members).SerializeToString())


def version_2(*series: Series) -> bytes:
    words = [word for labels, _ in series for pair in labels.items() for word in pair]
    symbols = ["", *dict.fromkeys(words)]
    made = [
        {
            "labels_refs": [symbols.index(word) for pair in labels.items() for word in pair],
            "samples": [{"timestamp": timestamp, "value": value} for timestamp, value in samples],
        }
        for labels, samples in series
    ]
    return bytes(REQUEST_2(symbols=symbols, timeseries=made).SerializeToString())


def rows(decoded: Decoded) -> list[tuple[Any, ...]]:
    columns = decoded.columns()
    ids = [columns.sensor_ids[code] for code in columns.index]
    times, values = columns.timestamps.tolist(), columns.values.tolist()
    return [(columns.series[sensor_id], *row) for sensor_id, *row in zip(ids, times, values, strict=True)]


UP = {"__name__": "up", "job": "a", "instance": "h:1"}


@pytest.mark.parametrize(("version", "request_of"), [(1, version_1), (2, version_2)])
def test_samples_become_labelled_readings(version: int, request_of: Any) -> None:
    body = request_of((UP, [(T, 1.0)]), ({**UP, "instance": "h:2", "empty": ""}, [(T, 0.0), (T + 1, 2.5)]))
    one, two = ([("job", "a"), ("instance", host)] for host in ("h:1", "h:2"))
    assert rows(SamplesDecoder().decode(body, version)) == [
        (series_of("up", one), T * 1000, 1.0),
        (series_of("up", two), T * 1000, 0.0),
        (series_of("up", two), (T + 1) * 1000, 2.5),
    ]


@pytest.mark.parametrize(("version", "request_of"), [(1, version_1), (2, version_2)])
def test_what_is_no_number_is_counted_and_left_out(version: int, request_of: Any) -> None:
    body = request_of(*((UP, [(T, value)]) for value in (STALE, float("nan"), float("inf"), 1.0)))
    decoded = SamplesDecoder().decode(body, version)
    assert [value for *_, value in rows(decoded)] == [1.0]
    assert decoded.skipped == {"stale_markers": 1, "not_finite": 2}


@pytest.mark.parametrize(("version", "request_of"), [(1, version_1), (2, version_2)])
@pytest.mark.parametrize(
    ("labels", "field", "told"),
    [
        ({"job": "a"}, "name", "__name__ is missing"), ({"__name__": ""}, "name", "__name__ is missing"),
        ({"__name__": "n" * 129}, "name", "129 characters"),
        ({"__name__": "n", "l": "v" * 1025}, "labels", "1025 characters"),
    ],
)  # fmt: skip
def test_a_series_that_is_none_is_told_and_its_neighbours_are_taken(
    version: int, request_of: Any, labels: dict[str, str], field: str, told: str
) -> None:
    decoded = SamplesDecoder().decode(request_of((UP, [(T, 1.0)]), (labels, [(T, 1.0)])), version)
    assert len(decoded) == 1
    [fault] = decoded.faults
    assert (fault.index, fault.field) == (1, field)
    assert told in fault.message


def test_native_histograms_are_told_and_exemplars_counted() -> None:
    series = {
        "labels": [LABEL(name="__name__", value="h").SerializeToString()],
        "histograms": [b""],
        "exemplars": [b""],
    }
    decoded = SamplesDecoder().decode(bytes(REQUEST_1(timeseries=[series]).SerializeToString()), 1)
    [fault] = decoded.faults
    assert "native histograms are not kept" in fault.message
    assert decoded.skipped == {"exemplars": 1}


def told(decoded: Decoded) -> set[tuple[str, str | None, str | None]]:
    return {(one.name, one.kind, one.unit) for one in decoded.columns().series.values()}


def test_metadata_tell_of_series_that_come_in_other_requests_and_may_change() -> None:
    names = ("up", "work_total", "work_seconds_bucket", "work_seconds_sum", "other")
    series = version_1(*(({"__name__": name}, [(T, 1.0)]) for name in names))
    decoder = SamplesDecoder()
    assert told(decoder.decode(series, 1)) == {(name, None, None) for name in names}
    for unit in ("s", "", "u" * 64, "ms"):
        metadata = [
            {"metric_family_name": "up", "type": 2},
            {"metric_family_name": "work", "type": 1},
            {"metric_family_name": "work_seconds", "type": 3, "unit": unit},
            {"metric_family_name": "other", "type": 99},
        ]
        heard = decoder.decode(version_1(metadata=metadata), 1)
        assert (len(heard), heard.faults, heard.skipped) == (0, [], {})
        kept = unit if unit in ("s", "ms") else None
        for _ in range(2):
            assert told(decoder.decode(series, 1)) == {
                ("up", "gauge", None), ("work_total", "counter", None), ("work_seconds_bucket", "histogram", kept),
                ("work_seconds_sum", "histogram", kept), ("other", None, None),
            }  # fmt: skip


def test_what_metadata_tell_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_MOST_TOLD", 2)
    decoder = SamplesDecoder()
    for number in range(10):
        decoder.decode(version_1(metadata=[{"metric_family_name": f"m{number}", "type": 2}]), 1)
    decoder.decode(version_1(metadata=[{"metric_family_name": "m" * 129, "type": 2}]), 1)
    assert len(decoder._known.told) <= 3
    assert "m9" in decoder._known.told


def test_the_second_version_tells_with_each_series() -> None:
    symbols = ["", "__name__", "a", "b", "c", "s"]
    series = [
        {"labels_refs": [1, name], "samples": [{"timestamp": T, "value": 1.0}], "metadata": metadata}
        for name, metadata in ((2, {"type": 1, "unit_ref": 5}), (3, {"type": 7}), (4, {"type": -1, "unit_ref": 6}))
    ]
    decoded = SamplesDecoder().decode(bytes(REQUEST_2(symbols=symbols, timeseries=series).SerializeToString()), 2)
    assert told(decoded) == {("a", "counter", "s"), ("b", "stateset", None), ("c", None, None)}


def test_exemplars_are_told_by_the_second_version_beside_the_samples_that_are_taken() -> None:
    series = {"labels_refs": [1, 2], "samples": [{"value": 1.0, "timestamp": T}], "exemplars": [b""]}
    body = bytes(REQUEST_2(symbols=["", "__name__", "up"], timeseries=[series]).SerializeToString())
    decoded = SamplesDecoder().decode(body, 2)
    [fault] = decoded.faults
    assert "exemplars are not kept" in fault.message
    assert (len(decoded), decoded.skipped) == (1, {"exemplars": 1})


def test_references_past_the_symbols_are_told() -> None:
    for refs in ([1], [0, 9]):
        body = REQUEST_2(symbols=["", "a"], timeseries=[{"labels_refs": refs}]).SerializeToString()
        [fault] = SamplesDecoder().decode(bytes(body), 2).faults
        assert "labels_refs" in fault.message
    with pytest.raises(Problem, match="first symbol"):
        SamplesDecoder().decode(bytes(REQUEST_2(symbols=["a"]).SerializeToString()), 2)


TIMES = st.integers(T - 1000, T + 1000) | st.sampled_from([0, -5, 2**42 - 1, 2**42, 2**63 - 1, -(2**63), 1 << 35, 127])
VALUES = st.floats() | st.just(STALE)
NAMES = st.sampled_from(["up", "cpu", "", "é", "x" * 129])
LABELS = st.builds(
    lambda name, others: {"__name__": name, **others},
    NAMES,
    st.dictionaries(st.sampled_from(["a", "b", "z" * 20]), st.sampled_from(["1", "", "2" * 200]), max_size=3),
)
SERIES = st.tuples(LABELS, st.lists(st.tuples(TIMES, VALUES), min_size=1, max_size=1)) | st.tuples(
    LABELS, st.lists(st.tuples(TIMES, VALUES), max_size=2)
)


def same(body: bytes, decoder: SamplesDecoder) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decode, "_walked", lambda *_: None)
        plain = SamplesDecoder().decode(body, 1)
    quick = decoder.decode(body, 1)
    assert rows(quick) == rows(plain)
    assert quick.columns().series == plain.columns().series
    assert quick.skipped == plain.skipped
    assert quick.faults == plain.faults
    assert quick.positions is not None
    assert plain.positions is not None
    assert quick.positions.tolist() == plain.positions.tolist()


@given(st.lists(SERIES, max_size=5))
def test_the_walk_reads_what_the_messages_say(series: list[Series]) -> None:
    decoder = SamplesDecoder()
    for _ in range(2):
        same(version_1(*series), decoder)


@given(st.lists(st.tuples(LABELS, st.just([(T, 1.5)])), min_size=1, max_size=4), st.data())
def test_a_changed_byte_is_read_alike_or_refused(series: list[Series], data: st.DataObject) -> None:
    body = bytearray(version_1(*series))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    decoder = SamplesDecoder()
    decoder.decode(version_1(*series), 1)
    try:
        same(bytes(body), decoder)
    except Problem as problem:
        assert problem.code == "malformed_body"


def test_what_prometheus_sends_is_walked() -> None:
    decoder = SamplesDecoder()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decode, "_version_1", None)
        assert len(decoder.decode(version_1(*(({**UP, "n": str(n)}, [(T, 1.0)]) for n in range(50))), 1)) == 50


@given(st.binary(max_size=80), st.sampled_from([1, 2]))
def test_any_bytes_are_samples_or_refused(body: bytes, version: int) -> None:
    try:
        rows(SamplesDecoder().decode(body, version))
    except Problem as problem:
        assert problem.code == "malformed_body"


def test_labels_that_symbols_multiply_beyond_all_bounds_are_refused() -> None:
    names = [f"l{number}" for number in range(60)]
    symbols = ["", "__name__", "n", "v" * 1024, *names, *(str(number) for number in range(2_000))]
    shared = [reference for at in range(60) for reference in (4 + at, 3)]
    series = [{"labels_refs": [1, 2, *shared[:-1], 64 + number]} for number in range(2_000)]
    body = bytes(REQUEST_2(symbols=symbols, timeseries=series).SerializeToString())
    assert len(body) < 1_000_000
    with pytest.raises(Problem, match="more than 100 MiB"):
        SamplesDecoder().decode(body, 2)
