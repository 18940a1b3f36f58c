import datetime as dt
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.decoders import Fault, Limits, decode_json
from services.ingest.decoders.timestamps import INVALID, parse_timestamps
from services.platform.errors import Problem

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
LIMITS = Limits(1000, 0, 4_102_444_800_000_000)
GOOD = {"sensor_id": "a", "timestamp": "2025-10-22T21:00:00Z", "value": 1.5}


def micros(when: dt.datetime) -> int:
    return (when - EPOCH) // dt.timedelta(microseconds=1)


def decode(items: Any, *, partial: bool = False) -> tuple[list[tuple[str, int, float]], list[Fault]]:
    body = items if isinstance(items, bytes) else json.dumps(items).encode()
    columns, faults = decode_json(body, LIMITS, partial=partial)
    ids = [columns.sensor_ids[code] for code in columns.index]
    return list(zip(ids, columns.timestamps.tolist(), columns.values.tolist(), strict=True)), faults


def problem(items: Any, *, partial: bool = False) -> Problem:
    with pytest.raises(Problem) as caught:
        decode(items, partial=partial)
    return caught.value


def named(items: Any) -> list[tuple[int, str | None, str]]:
    errors: Any = problem(items).members["errors"]
    return [(error["index"], error["field"], error["code"]) for error in errors]


@given(
    st.lists(
        st.tuples(
            st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 12, 30)),  # noqa: DTZ001
            st.builds(lambda m: dt.timezone(dt.timedelta(minutes=m)), st.integers(-1439, 1439)),
            st.integers(0, 9),
            st.booleans(),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_timestamps_agree_with_the_standard_library(made: list[tuple[dt.datetime, dt.timezone, int, bool]]) -> None:
    texts, wanted = [], []
    for naive, zone, digits, zulu in made:
        when = naive.replace(tzinfo=dt.UTC if zulu else zone)
        kept = min(digits, 6)
        fraction = f"{naive.microsecond:06}"[:kept] + "9" * (digits - kept)
        offset = "Z" if zulu else when.isoformat()[-6:]
        texts.append(
            naive.strftime("%Y").rjust(4, "0")
            + naive.strftime("-%m-%dT%H:%M:%S")
            + (f".{fraction}" if digits else "")
            + offset
        )
        cut = naive.microsecond // 10 ** (6 - kept) * 10 ** (6 - kept)
        wanted.append(micros(when.replace(microsecond=cut)))
    assert parse_timestamps(texts).tolist() == wanted


@pytest.mark.parametrize(
    "text",
    [
        "", "2025-10-22", "2025-10-22T21:00:00", "2025-10-22T21:00Z", "2025-02-29T00:00:00Z", "2025-13-01T00:00:00Z",
        "2025-00-01T00:00:00Z", "2025-01-00T00:00:00Z", "2025-10-22T24:00:00Z", "2025-10-22T21:60:00Z",
        "2025-10-22T21:00:60Z", "2025-10-22T21:00:00.Z", "2025-10-22T21:00:00.1234567890Z", "2025-10-22T21:00:00+24:00",
        "2025-10-22T21:00:00+0100", "2025-10-22T21:00:00+01:60", "2025/10/22T21:00:00Z", "2025-10-22_21:00:00Z",
        "+025-10-22T21:00:00Z", "2025-10-22T21:00:0 Z", "\uff12025-10-22T21:00:00Z", "0000-01-01T00:00:00Z",
        "1761166800",
    ],
)  # fmt: skip
def test_what_is_no_rfc_3339_timestamp_is_invalid_and_spoils_no_neighbour(text: str) -> None:
    good = "2025-10-22T21:00:00Z"
    found = parse_timestamps([good, text, good])
    assert found.tolist() == [1761166800000000, INVALID, 1761166800000000]


@given(st.lists(st.text(max_size=40), max_size=20))
def test_any_text_parses_or_is_invalid(texts: list[str]) -> None:
    assert len(parse_timestamps(texts)) == len(texts)


def test_an_array_and_a_single_object_are_taken() -> None:
    row = ("a", 1761166800000000, 1.5)
    assert decode([GOOD, GOOD]) == ([row, row], [])
    assert decode(GOOD) == ([row], [])
    assert decode(b" \n" + json.dumps(GOOD).encode()) == ([row], [])


FAULTS = [
    ({**GOOD, "value": "1"}, "value", "wrong_type"),
    ({**GOOD, "value": True}, "value", "wrong_type"),
    ({**GOOD, "value": None}, "value", "wrong_type"),
    ({**GOOD, "value": math.nan}, "value", "not_finite"),
    ({**GOOD, "value": -math.inf}, "value", "not_finite"),
    ({**GOOD, "value": 10**400}, "value", "not_finite"),
    ({**GOOD, "value": 1.1e100}, "value", "too_large"),
    ({**GOOD, "value": -1e308}, "value", "too_large"),
    ({**GOOD, "sensor_id": ""}, "sensor_id", "empty"),
    ({**GOOD, "sensor_id": "x" * 129}, "sensor_id", "too_long"),
    ({**GOOD, "sensor_id": "a\0"}, "sensor_id", "nul"),
    ({**GOOD, "sensor_id": 7}, "sensor_id", "wrong_type"),
    ({**GOOD, "sensor_id": "\ud800"}, "sensor_id", "not_unicode"),
    ({**GOOD, "timestamp": "2025-10-22T21:00:00"}, "timestamp", "naive"),
    ({**GOOD, "timestamp": "yesterday"}, "timestamp", "not_rfc3339"),
    ({**GOOD, "timestamp": 1761166800}, "timestamp", "wrong_type"),
    ({**GOOD, "timestamp": "1969-12-31T23:59:59Z"}, "timestamp", "too_old"),
    ({**GOOD, "timestamp": "2100-01-01T00:00:01Z"}, "timestamp", "too_new"),
    ({**GOOD, "unit": "C"}, "unit", "unknown_field"),
    ({**GOOD, "\ud800x": "C"}, "\\ud800x", "unknown_field"),
    ({"sensor_id": "a", "value": 1}, "timestamp", "missing"),
    (17, None, "not_an_object"),
    (None, None, "not_an_object"),
]


@pytest.mark.parametrize(("item", "field", "code"), FAULTS)
def test_each_fault_names_its_record_field_and_code(item: Any, field: str | None, code: str) -> None:
    assert named([GOOD, item, GOOD]) == [(1, field, code)]
    rows, faults = decode([GOOD, item, GOOD], partial=True)
    assert len(rows) == 2
    assert [(fault.index, fault.field, fault.code) for fault in faults] == [(1, field, code)]


def test_all_bad_records_are_counted_and_the_first_hundred_named() -> None:
    bad = {**GOOD, "value": "x"}
    naive = {**GOOD, "timestamp": "2025-10-22T21:00:00"}
    found = problem([bad, naive] * 80)
    errors: Any = found.members["errors"]
    assert found.members["rejected"] == 160
    assert [error["index"] for error in errors] == list(range(100))


def test_a_refused_sensor_id_does_not_enter_the_dictionary() -> None:
    columns, _ = decode_json(json.dumps([GOOD, {**GOOD, "sensor_id": "x" * 200}]).encode(), LIMITS, partial=True)
    assert columns.sensor_ids == ["a"]


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"[]", b"nonsense", b"[1", b"\xff\xfe", b'"text"', b"7", b"null", b"[" * 100_000,
     b'{"sensor_id":"a"},{"sensor_id":"b"}', b"[" + b"9" * 5000 + b"]", b'[{"a":1}]garbage',
     json.dumps(GOOD).encode("utf-16"), json.dumps([GOOD]).encode("utf-32-le")],
)  # fmt: skip
def test_what_is_no_array_of_readings_is_malformed(body: bytes) -> None:
    assert problem(body, partial=True).code == "malformed_body"


def test_too_many_readings_are_refused_good_or_bad() -> None:
    assert problem([GOOD] * 1001).code == "too_many_rows"
    assert problem([1] * 1001).code == "too_many_rows"
    assert problem(b"[" + b"[]," * 20_000 + b"[]]").code == "too_many_rows"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)
RECORD = st.fixed_dictionaries(
    {"sensor_id": JSON | st.just("a"), "timestamp": JSON | st.just(GOOD["timestamp"]), "value": JSON | st.floats()}
)


@given(JSON | st.lists(RECORD, max_size=6), st.booleans())
def test_any_json_is_taken_or_named_and_nothing_is_miscounted(items: Any, partial: bool) -> None:
    count = len(items) if isinstance(items, list) else 1
    try:
        rows, faults = decode(items, partial=partial)
    except Problem as found:
        assert found.code in {"malformed_body", "invalid_readings"}
    else:
        assert len(rows) + len(faults) == count
        assert all(np.isfinite(row[2]) for row in rows)


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    try:
        decode_json(body, LIMITS, partial=True)
    except Problem as found:
        assert found.kind.status in {413, 422}
