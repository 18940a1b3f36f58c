import datetime as dt
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.formats.json import decode_json
from services.ingest.limits.window import Limits
from services.ingest.readings import Fault, check
from services.platform.http.errors import Problem

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
LIMITS = Limits(0, 4_102_444_800_000_000)
GOOD = {"sensor_id": "a", "timestamp": "2025-10-22T21:00:00Z", "value": 1.5}


def micros(when: dt.datetime) -> int:
    return (when - EPOCH) // dt.timedelta(microseconds=1)


def decode(items: Any, *, partial: bool = False) -> tuple[list[tuple[str, int, float]], list[Fault]]:
    body = items if isinstance(items, bytes) else json.dumps(items).encode()
    columns, faults, _ = check(decode_json(body, 1000), LIMITS, partial=partial)
    ids = [columns.sensor_ids[code] for code in columns.index]
    return list(zip(ids, columns.timestamps.tolist(), columns.values.tolist(), strict=True)), faults


def problem(items: Any, *, partial: bool = False) -> Problem:
    with pytest.raises(Problem) as caught:
        decode(items, partial=partial)
    return caught.value


def named(items: Any) -> list[tuple[int, str | None, str]]:
    errors: Any = problem(items).members["errors"]
    return [(error["index"], error["field"], error["code"]) for error in errors]


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


TWICE = [
    (b'{"sensor_id": "a", "timestamp": "2025-10-22T21:00:00Z", "value": 1, "value": 2}', "value"),
    (b'{"value": 1, "sensor_id": "a", "timestamp": "2025-10-22T21:00:00Z", "value": 1}', "value"),
    (b'{"sensor_id": "a", "sensor\\u005fid": "b", "timestamp": "2025-10-22T21:00:00Z", "value": 1}', "sensor_id"),
    (b'{"sensor_id": "\\"", "timestamp": "1", "timestamp": "2025-10-22T21:00:00Z", "value": 1}', "timestamp"),
    (b'{"sensor_id": "a\\\\", "sensor_id": "a\\\\", "timestamp": "2025-10-22T21:00:00Z", "value": 1}', "sensor_id"),
    (b'{"sensor_id": "a", "timestamp": "2025-10-22T21:00:00Z", "value": 1, "unit": 1, "unit": 1}', "unit"),
    (b'{"a": 1, "a": 1}', "a"),
]


@pytest.mark.parametrize(("item", "field"), TWICE)
def test_a_name_that_stands_twice_is_refused_by_name_and_no_value_of_it_taken(item: bytes, field: str) -> None:
    good = json.dumps(GOOD).encode()
    assert named(item) == [(0, field, "duplicate_field")]
    assert named(b"[%s,%s,%s]" % (good, item, good)) == [(1, field, "duplicate_field")]
    rows, faults = decode(b"[%s,%s]" % (good, item), partial=True)
    assert len(rows) == len(faults) == 1


IDS = st.lists(
    st.sampled_from(["a", '"', "\\", '\\"', "sensor_id", '"value":', "é", "\n"]), min_size=1, max_size=9
).map("".join)


@given(st.lists(st.tuples(IDS, st.booleans()), min_size=1, max_size=4), st.booleans())
def test_no_id_is_mistaken_for_a_name_that_stands_twice(made: list[tuple[str, bool]], ascii_only: bool) -> None:
    items = []
    for sensor_id, twice in made:
        text = json.dumps({**GOOD, "sensor_id": sensor_id}, ensure_ascii=ascii_only)
        items.append(text[:-1] + f', "sensor_id": {json.dumps(sensor_id)}}}' if twice else text)
    body = f"[{','.join(items)}]".encode()
    if any(twice for _, twice in made):
        assert named(body) == [
            (index, "sensor_id", "duplicate_field") for index, (_, twice) in enumerate(made) if twice
        ]
    else:
        assert [row[0] for row in decode(body)[0]] == [sensor_id for sensor_id, _ in made]


NUMBERS = st.integers(-(10**30), 10**30).map(str) | st.floats(-1e100, 1e100).map(repr) | st.from_regex(
    r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?", fullmatch=True, alphabet="0123456789.eE+-"
)  # fmt: skip


@given(NUMBERS, st.booleans())
def test_a_number_is_the_nearest_64_bit_float_whichever_way_it_is_read(text: str, beside_a_fault: bool) -> None:
    number = float(text)
    reading = b'{"sensor_id": "a", "timestamp": "2025-10-22T21:00:00Z", "value": %s}' % text.encode()
    body = b"[%s%s]" % (reading, b", 1" * beside_a_fault)
    if abs(number) > 1e100:
        assert problem(body).code == "invalid_readings"
    else:
        assert decode(body, partial=True)[0][0][2] == number


def test_all_bad_records_are_counted_and_the_first_hundred_named() -> None:
    bad = {**GOOD, "value": "x"}
    naive = {**GOOD, "timestamp": "2025-10-22T21:00:00"}
    found = problem([bad, naive] * 80)
    errors: Any = found.members["errors"]
    assert found.members["rejected"] == 160
    assert [error["index"] for error in errors] == list(range(100))


def test_a_refused_sensor_id_does_not_enter_the_dictionary() -> None:
    body = json.dumps([GOOD, {**GOOD, "sensor_id": "x" * 200}]).encode()
    columns = check(decode_json(body, 1000), LIMITS, partial=True).columns
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
        check(decode_json(body, 1000), LIMITS, partial=True)
    except Problem as found:
        assert found.kind.status in {413, 422}
