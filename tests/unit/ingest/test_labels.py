"""Readings by name and labels: the same rows as by the id that is made of them, and each fault by its name."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from services.contract import Columns, Series, readings, series_id, series_of
from services.contract.series import MAX_LABEL_NAME, MAX_LABEL_VALUE, MAX_LABELS, MAX_NAME
from services.ingest.formats.called import Identities, Identity
from services.ingest.formats.json import decode_json
from services.ingest.limits.window import Limits
from services.ingest.readings import Decoded, Fault, check
from services.platform.http.errors import Problem
from tests.unit.contract.test_codec import all_series

LIMITS = Limits(0, 4_102_444_800_000_000)
WHEN = {"timestamp": "2025-10-22T21:00:00Z", "value": 1.5}
PLAIN = {"sensor_id": "a", **WHEN}
HEAT = series_of("heat", [("room", "kitchen"), ("floor", "1")])
LABELLED = {"name": "heat", "labels": {"room": "kitchen", "floor": "1"}, **WHEN}


def decode(items: Any, *, partial: bool = False) -> tuple[Columns, list[Fault]]:
    body = items if isinstance(items, bytes) else json.dumps(items).encode()
    return check(decode_json(body, 1000), LIMITS, partial=partial)[:2]


def ids(columns: Columns) -> list[str]:
    return [columns.sensor_ids[code] for code in columns.index.tolist()]


def test_readings_by_id_and_by_labels_stand_in_one_batch() -> None:
    other_order = {**LABELLED, "labels": {"floor": "1", "room": "kitchen"}}
    columns, faults = decode([PLAIN, LABELLED, other_order, {"name": "heat", **WHEN}])
    bare = Series("heat", None, ())
    assert ids(columns) == ["a", series_id(HEAT), series_id(HEAT), series_id(bare)]
    assert columns.series == {series_id(HEAT): HEAT, series_id(bare): bare}
    assert faults == []
    assert decode(LABELLED)[0].series == {series_id(HEAT): HEAT}


def test_a_batch_without_labels_knows_of_none() -> None:
    assert decode([PLAIN, PLAIN])[0].series == {}


LONG = "x" * 2000
FAULTS = [
    ({**LABELLED, "sensor_id": "a"}, "name", "two_identities"),
    ({**PLAIN, "labels": {}}, "labels", "two_identities"),
    ({**PLAIN, "field": "f"}, "field", "two_identities"),
    *(
        ({**LABELLED, "labels": {label: "v"}}, "labels", "reserved")
        for label in ("__name__", "__field__", "__sensor_id__")
    ),
    (WHEN, "sensor_id", "missing"),
    ({"labels": {"room": "a"}, **WHEN}, "name", "missing"),
    ({"field": "f", **WHEN}, "name", "missing"),
    ({"name": "heat", "value": 1}, "timestamp", "missing"),
    ({**LABELLED, "unit": "K"}, "unit", "unknown_field"),
    ({**LABELLED, "name": ""}, "name", "empty"),
    ({**LABELLED, "name": LONG[: MAX_NAME + 1]}, "name", "too_long"),
    ({**LABELLED, "name": "a\0"}, "name", "nul"),
    ({**LABELLED, "name": None}, "name", "wrong_type"),
    ({**LABELLED, "field": ""}, "field", "empty"),
    ({**LABELLED, "field": LONG[: MAX_NAME + 1]}, "field", "too_long"),
    ({**LABELLED, "labels": None}, "labels", "wrong_type"),
    ({**LABELLED, "labels": [["a", "b"]]}, "labels", "wrong_type"),
    ({**LABELLED, "labels": {"floor": 1}}, "labels", "wrong_type"),
    ({**LABELLED, "labels": {"": "a"}}, "labels", "empty"),
    ({**LABELLED, "labels": {"a": ""}}, "labels", "empty"),
    ({**LABELLED, "labels": {LONG[: MAX_LABEL_NAME + 1]: "a"}}, "labels", "too_long"),
    ({**LABELLED, "labels": {"a": LONG[: MAX_LABEL_VALUE + 1]}}, "labels", "too_long"),
    ({**LABELLED, "labels": {"a": "\0"}}, "labels", "nul"),
    ({**LABELLED, "labels": {"\0": "a"}}, "labels", "nul"),
    ({**LABELLED, "labels": {"a": "\ud800"}}, "labels", "not_unicode"),
    ({**LABELLED, "labels": {str(n): "v" for n in range(MAX_LABELS + 1)}}, "labels", "too_many"),
    ({**LABELLED, "value": "1"}, "value", "wrong_type"),
]


@pytest.mark.parametrize(("item", "field", "code"), FAULTS)
def test_each_fault_names_its_record_field_and_code_and_only_it_is_left_out(item: Any, field: str, code: str) -> None:
    items = [LABELLED, item, PLAIN, {**LABELLED, "name": "wind"}]
    with pytest.raises(Problem) as caught:
        decode(items)
    errors: Any = caught.value.members["errors"]
    assert [(error["index"], error["field"], error["code"]) for error in errors] == [(1, field, code)]
    columns, faults = decode(items, partial=True)
    assert [(fault.index, fault.field, fault.code) for fault in faults] == [(1, field, code)]
    assert [sensor_id.split("#")[0] for sensor_id in ids(columns)] == ["heat", "a", "wind"]
    assert {series.name for series in columns.series.values()} == {"heat", "wind"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"name": "a", "name": "a", "timestamp": "2025-10-22T21:00:00Z", "value": 1}', "name"),
        (b'{"name": "a", "timestamp": "2025-10-22T21:00:00Z", "value": 1, "labels": {}, "labels": {}}', "labels"),
        (b'{"name": "a", "timestamp": "2025-10-22T21:00:00Z", "value": 1, "labels": {"b": "c", "b": "c"}}', "labels"),
        (b'{"name": "a", "labels": {"b": "\\"", "b": "c"}, "timestamp": "2025-10-22T21:00:00Z", "value": 1}', "labels"),
    ],
)
def test_what_stands_twice_is_refused_and_no_value_of_it_taken(body: bytes, field: str) -> None:
    # What was met before is remembered, and is no better for it.
    for _ in range(2):
        with pytest.raises(Problem) as caught:
            decode(body)
        errors: Any = caught.value.members["errors"]
        assert [(error["field"], error["code"]) for error in errors] == [(field, "duplicate_field")]


def test_of_series_no_more_is_remembered_than_some_bytes() -> None:
    identities = Identities()
    labels = {f"label-{number:02}": "x" * MAX_LABEL_VALUE for number in range(MAX_LABELS - 1)}
    met = set[int]()
    for first in range(0, 600, 20):
        rows: list[Identity] = [
            (UNSET, "heat", UNSET, json.dumps(labels | {"z": str(number)}).encode())
            for number in range(first, first + 20)
        ]
        called = identities.called(rows)
        assert [dict(called.known.named(number).series.labels)["z"] for number in called.numbers.tolist()] == [
            str(number) for number in range(first, first + 20)
        ]
        met.add(id(called.known))
    assert 1 < len(met) < 10


# Readings as JSON tell no kind and no unit.
called = all_series.map(lambda one: Series(one.name, one.field, one.labels))


@given(st.lists(called | st.just(None), min_size=1, max_size=5), st.booleans(), st.booleans())
def test_what_is_shown_of_readings_is_taken_for_the_same(
    series: list[Series | None], ascii_only: bool, beside_a_fault: bool
) -> None:
    items = [
        PLAIN
        if one is None
        else {"name": one.name, "labels": dict(one.labels), **WHEN} | ({"field": one.field} if one.field else {})
        for one in series
    ]
    body = json.dumps(items + [1] * beside_a_fault, ensure_ascii=ascii_only).encode()
    columns, faults = decode(body, partial=beside_a_fault)
    assert len(faults) == beside_a_fault
    assert columns.series == {series_id(one): one for one in series if one}
    assert ids(columns) == ["a" if one is None else series_id(one) for one in series]
    again, _ = decode(readings(columns))
    assert (ids(again), again.series) == (ids(columns), columns.series)


def test_batches_that_share_an_entry_keep_their_labels() -> None:
    first, second, third = (
        decode_json(json.dumps(item).encode(), 10) for item in (LABELLED, PLAIN, {**WHEN, "name": "n"})
    )
    columns = check(Decoded.joined([first, second, third]), LIMITS, partial=False).columns
    assert set(columns.series) == {series_id(HEAT), series_id(Series("n", None, ()))}
    assert ids(columns) == [series_id(HEAT), "a", series_id(Series("n", None, ()))]


def test_a_body_of_many_labels_and_one_fault_is_not_called_too_many_rows() -> None:
    labels = {str(number): "v" for number in range(MAX_LABELS)}
    items = [{**LABELLED, "labels": labels} for _ in range(999)]
    columns, faults = decode([*items, {}], partial=True)
    assert (len(columns), len(faults)) == (999, 1)


@given(st.lists(called, min_size=1, max_size=5), st.lists(st.integers(0, 4), max_size=20), st.data())
def test_many_readings_are_taken_as_few_are(series: list[Series], order: list[int], data: st.DataObject) -> None:
    written = [
        {"name": one.name, "labels": dict(one.labels), **WHEN} | ({"field": one.field} if one.field else {})
        for one in series
    ]
    some = [written[place % len(written)] for place in order] + [*written, LABELLED]
    places = st.integers(0, len(some) - 2)
    if data.draw(st.booleans()):
        wrong = {"timestamp": data.draw(st.sampled_from(["", "yesterday", "1900-01-01T00:00:00Z"]))}
        some[data.draw(places)] = some[0] | wrong
    if data.draw(st.booleans()):
        some[data.draw(places)] = PLAIN
    copies = 300 // len(some) + 1

    few, faults = _taken(some)
    many, many_faults = _taken(some * copies)
    assert many == few * copies
    assert [replace(fault, index=fault.index % len(some)) for fault in many_faults] == faults * copies


def _taken(items: list[dict[str, Any]]) -> tuple[list[tuple[str, int, float, Series | None]], list[Fault]]:
    columns, faults = decode(items, partial=True)
    rows = zip(ids(columns), columns.timestamps.tolist(), columns.values.tolist(), strict=True)
    return [(*row, columns.series.get(row[0])) for row in rows], faults
