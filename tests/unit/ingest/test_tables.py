"""Readings in tables: in rows and wide, of ids and of series, each fault named by its row and field."""

from typing import Any

import pytest

from services.ingest.formats import IN_PROCESS
from services.ingest.limits.window import Limits
from services.ingest.readings import Fault, check
from services.platform.http.errors import Problem

LIMITS = Limits(0, 4_102_444_800_000_000)
WHEN = "2025-10-22T21:00:00Z"
MICROS = 1761166800000000


def decode(
    body: str, layout: str = "rows", *, partial: bool = False, most: int = 1000
) -> tuple[list[Any], list[Fault]]:
    columns, faults, _ = check(IN_PROCESS["text/csv"][layout](body.encode(), most), LIMITS, partial=partial)
    ids = [columns.series.get(columns.sensor_ids[code], columns.sensor_ids[code]) for code in columns.index]
    called = [one if isinstance(one, str) else (one.name, one.field, dict(one.labels)) for one in ids]
    return list(zip(called, columns.timestamps.tolist(), columns.values.tolist(), strict=True)), faults


def named(body: str, layout: str = "rows") -> list[tuple[int, str | None, str]]:
    """Return the faults of a body, which must be the same where its good part is taken."""
    with pytest.raises(Problem) as caught:
        decode(body, layout)
    assert caught.value.code == "invalid_readings"
    errors: Any = caught.value.members["errors"]
    found = [(error["index"], error["field"], error["code"]) for error in errors]
    try:
        _, faults = decode(body, layout, partial=True)
    except Problem:
        return found
    assert [(fault.index, fault.field, fault.code) for fault in faults] == found
    return found


def refused(body: str, layout: str = "rows", most: int = 1000) -> str:
    with pytest.raises(Problem) as caught:
        decode(body, layout, partial=True, most=most)
    return caught.value.code


@pytest.mark.parametrize("order", ["sensor_id,timestamp,value", "value,sensor_id,timestamp"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_columns_stand_in_any_order_with_any_ends_of_lines(order: str, end: str, mark: str) -> None:
    cells = {"sensor_id": '"a,""b""\n"', "timestamp": WHEN, "value": "-1.5e1"}
    line = ",".join(cells[name] for name in order.split(","))
    assert decode(mark + end.join([order, line, "", line, ""])) == ([('a,"b"\n', MICROS, -15.0)] * 2, [])


def test_a_table_may_have_sensors_with_ids_and_series_beside_each_other() -> None:
    body = (
        "labels.room,name,timestamp,field,value,sensor_id,labels.floor\n"
        f"kitchen,heat,{WHEN},,1,,1\n,,{WHEN},,2,a,\n,heat,{WHEN},mean,3,,\nkitchen,heat,{WHEN},,4,,1\n"
    )
    kitchen = ("heat", None, {"room": "kitchen", "floor": "1"})
    rows, _ = decode(body)
    assert rows == [
        (kitchen, MICROS, 1.0), ("a", MICROS, 2.0), (("heat", "mean", {}), MICROS, 3.0), (kitchen, MICROS, 4.0),
    ]  # fmt: skip


def test_a_wide_table_has_a_column_for_each_sensor_and_an_empty_cell_is_no_reading() -> None:
    body = f"a,timestamp,b c\n1,{WHEN},\n,{WHEN},\n2,{WHEN},3\n"
    assert decode(body, "wide") == ([("a", MICROS, 1.0), ("a", MICROS, 2.0), ("b c", MICROS, 3.0)], [])


def test_a_wide_table_with_a_name_has_a_column_for_each_field() -> None:
    body = f"timestamp,name,labels.room,min,max\n{WHEN},heat,kitchen,1,2\n{WHEN},heat,,3,\n"
    kitchen = {"room": "kitchen"}
    assert decode(body, "wide")[0] == [
        (("heat", "min", kitchen), MICROS, 1.0),
        (("heat", "max", kitchen), MICROS, 2.0),
        (("heat", "min", {}), MICROS, 3.0),
    ]


GOOD = f"a,{WHEN},1"
ROW_FAULTS = [
    (f"a,{WHEN},", "value", "missing"),
    (f"a,{WHEN},x", "value", "wrong_type"),
    (f"a,{WHEN},1_0", "value", "wrong_type"),
    (f"a,{WHEN},٣", "value", "wrong_type"),
    (f"a,{WHEN},0x1", "value", "wrong_type"),
    (f"a,{WHEN},1-1", "value", "wrong_type"),
    (f"a,{WHEN},true", "value", "wrong_type"),
    (f"a,{WHEN},NaN", "value", "not_finite"),
    (f"a,{WHEN},-Infinity", "value", "not_finite"),
    (f"a,{WHEN},1e999", "value", "not_finite"),
    (f"a,{WHEN},1e101", "value", "too_large"),
    (f",{WHEN},1", "sensor_id", "missing"),
    (f"{'x' * 129},{WHEN},1", "sensor_id", "too_long"),
    (f"a\0,{WHEN},1", "sensor_id", "nul"),
    ("a,,1", "timestamp", "missing"),
    ("a,2025-10-22T21:00:00,1", "timestamp", "naive"),
    ("a,1761166800,1", "timestamp", "not_rfc3339"),
    ("a,1969-12-31T23:59:59Z,1", "timestamp", "too_old"),
    ("a,2100-01-01T00:00:01Z,1", "timestamp", "too_new"),
    (f"a,{WHEN}", None, "field_count"),
    (f"a,{WHEN},1,2", None, "field_count"),
]


@pytest.mark.parametrize(("line", "field", "code"), ROW_FAULTS)
def test_each_fault_names_its_row_field_and_code(line: str, field: str | None, code: str) -> None:
    assert named(f"sensor_id,timestamp,value\n{GOOD}\n{line}\n{GOOD}") == [(1, field, code)]


def test_rows_are_counted_whatever_stands_between_them() -> None:
    body = "\n".join(["sensor_id,timestamp,value", "a", "", GOOD, f"a,{WHEN},x", "", GOOD, "a,yesterday,1"])
    assert named(body) == [(0, None, "field_count"), (2, "value", "wrong_type"), (4, "timestamp", "not_rfc3339")]


HEADERS = [
    ("sensor_id,timestamp,value,unit", "unit", "unknown_field"),
    ("sensor_id,timestamp,value,Value", "Value", "unknown_field"),
    ("sensor_id,timestamp,value,value", "value", "duplicate_field"),
    ("sensor_id,value,name,field", "timestamp", "missing"),
    ("sensor_id,timestamp,name,field", "value", "missing"),
    ("timestamp,value,a,b", "sensor_id", "missing"),
]


@pytest.mark.parametrize(("header", "field", "code"), HEADERS)
def test_a_column_that_is_missing_twice_there_or_unknown_is_a_fault_of_each_row(
    header: str, field: str, code: str
) -> None:
    assert named(f"{header}\na,b,c,d\ne,f,g,h\n") == [(0, field, code), (1, field, code)]


def test_what_makes_a_series_holds_to_its_limits_in_each_row() -> None:
    body = "name,field,labels.,labels.room,sensor_id,timestamp,value\n" + "".join(
        f"{line},{WHEN},1\n" for line in ["heat,,,,", ",,,kitchen,", "heat,,,,a", f"heat,,,{'x' * 1025},", "heat,,x,,"]
    )
    assert named(body) == [
        (1, "name", "missing"), (2, "name", "two_identities"), (3, "labels", "too_long"), (4, "labels", "empty"),
    ]  # fmt: skip


def test_each_cell_of_a_wide_table_is_named_by_its_row_and_column() -> None:
    long = "x" * 129
    body = "\n".join(
        [f"timestamp,a,{long},b", f"{WHEN},1,,", f"{WHEN},x,,2", f"{WHEN},NaN,,1e999", f"{WHEN},3,4,-1e300",
         "yesterday,5,,6", ",7,,8"]
    )  # fmt: skip
    assert named(body, "wide") == [
        (1, "a", "wrong_type"),
        (2, "a", "not_finite"),
        (2, "b", "not_finite"),
        (3, long[:64], "too_long"),
        (3, "b", "too_large"),
        (4, "timestamp", "not_rfc3339"),
        (5, "timestamp", "missing"),
    ]
    rows, _ = decode(body, "wide", partial=True)
    assert [(sensor, value) for sensor, _, value in rows] == [("a", 1.0), ("b", 2.0), ("a", 3.0)]


def test_each_field_of_a_wide_table_is_named_by_its_row_and_column() -> None:
    body = f"timestamp,name,labels.room,min,{'x' * 129}\n{WHEN},heat,a,1,\n{WHEN},,b,2,\n{WHEN},heat,c,1e200,4\n"
    assert named(body, "wide") == [(1, "name", "missing"), (2, "field", "too_long"), (2, "min", "too_large")]


@pytest.mark.parametrize(
    ("header", "field", "code"),
    [
        ("timestamp,sensor_id,value", "sensor_id", "unknown_field"),
        ("timestamp,field,name", "field", "unknown_field"),
        ("time,a,b", "timestamp", "missing"),
        ("timestamp,labels.room,a", "name", "missing"),
        ("timestamp,labels.room,name", "value", "missing"),
        ("timestamp,a,a", "a", "duplicate_field"),
    ],
)
def test_a_wide_table_without_its_columns_is_refused_by_name(header: str, field: str, code: str) -> None:
    assert named(f"{header}\n{WHEN},1,2", "wide") == [(0, field, code)]


@pytest.mark.parametrize("layout", ["rows", "wide"])
@pytest.mark.parametrize(
    "body",
    ["", "\n", "sensor_id,timestamp,value\n", '"sensor_id', 'timestamp,a\n"x"y,1', "timestamp,a\n,", "a" * 200_000],
)
def test_what_is_no_table_of_readings_is_malformed(body: str, layout: str) -> None:
    assert refused(body, layout) in {"malformed_body", "invalid_readings"}


def test_bytes_that_are_no_utf_8_are_malformed() -> None:
    with pytest.raises(Problem, match=r"not UTF-8: .* at byte 27"):
        IN_PROCESS["text/csv"]["rows"](b"sensor_id,timestamp,value\na\xff,b,c", 10)


def test_too_many_readings_are_refused_good_or_bad() -> None:
    assert refused("sensor_id,timestamp,value\n" + f"{GOOD}\n" * 11, most=10) == "too_many_rows"
    assert refused("sensor_id,timestamp,value\n" + "x\n" * 11, most=10) == "too_many_rows"
    assert refused("sensor_id,timestamp,value\n" + "\n" * 21, most=10) == "too_many_rows"
    assert refused(f"timestamp,a,b\n{WHEN},1,2\n" * 6, "wide", most=10) == "too_many_rows"
    assert refused("," * 2000, "wide", most=10) == "too_many_rows"
