"""The same readings in each format are the same columns, with the same faults."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract import Columns
from services.ingest.formats import IN_PROCESS, arrow, parquet
from services.ingest.idempotency import digest
from services.ingest.limits.window import Limits
from services.ingest.readings import check
from services.platform.http.errors import Problem
from tests.support.bodies import ARROW, CSV, JSON, NDJSON, PARQUET, WRITERS, arrow_of, parquet_of, table_of

LIMITS = Limits(0, 4_102_444_800_000_000)
FORMATS: Mapping[str, Any] = {**IN_PROCESS, ARROW: arrow.LAYOUTS, PARQUET: parquet.LAYOUTS}
"""All in this process: none of these bodies is hostile."""
GOOD = {"sensor_id": "a", "timestamp": "2025-10-22T21:00:00Z", "value": 1.5}
WHEN = 1761166800000000
MICROSECOND = dt.timedelta(microseconds=1)

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
INSTANTS = st.integers(10**11, 4 * 10**15).map(
    lambda micros: dt.datetime.fromtimestamp(0, dt.UTC) + micros * MICROSECOND
)
VALUES = st.floats(-1e100, 1e100) | st.integers(-(2**53), 2**53).map(float)
PLAIN = st.fixed_dictionaries(
    {"sensor_id": st.sampled_from("abc") | TEXTS, "timestamp": INSTANTS.map(dt.datetime.isoformat), "value": VALUES}
)
LABELLED = st.fixed_dictionaries(
    {"name": TEXTS, "timestamp": INSTANTS.map(dt.datetime.isoformat), "value": VALUES},
    optional={"field": TEXTS, "labels": st.dictionaries(st.sampled_from(["room", "a.b", "é"]), TEXTS, max_size=2)},
)
BAD = st.sampled_from(
    [
        {**GOOD, "sensor_id": "x" * 129},
        {**GOOD, "sensor_id": "a\0"},
        {**GOOD, "value": 1e200},
        {**GOOD, "timestamp": "2025-10-22T21:00:00"},
        {**GOOD, "timestamp": "x"},
        {**GOOD, "timestamp": "1969-12-31T23:59:59Z"},
        {**GOOD, "timestamp": "2100-01-01T00:00:01Z"},
        {"timestamp": GOOD["timestamp"], "value": 1.0},
        {"sensor_id": "a", "value": 1.0},
        {"sensor_id": "a", "timestamp": GOOD["timestamp"]},
        {"name": "a", "labels": {"__name__": "a"}, "timestamp": GOOD["timestamp"], "value": 1.0},
        {"labels": {"room": "a"}, "timestamp": GOOD["timestamp"], "value": 1.0},
        {**GOOD, "name": "a"},
        {**GOOD, "field": "a"},
        {"name": "x" * 129, "timestamp": GOOD["timestamp"], "value": 1.0},
    ]
)


def told(columns: Columns) -> Any:
    return (
        columns.sensor_ids, columns.index.tolist(), columns.timestamps.tolist(), columns.values.tolist(),
        dict(columns.series), digest(columns),
    )  # fmt: skip


def decoded(media: str, body: bytes, layout: str = "rows") -> Any:
    """Return what a body comes to: columns and faults, or the problem that it is."""
    try:
        columns, faults, _ = check(FORMATS[media][layout](body, 1000), LIMITS, partial=True)
    except Problem as problem:
        errors: Any = problem.members.get("errors", [])
        return problem.code, [(error["index"], error["field"], error["code"]) for error in errors]
    return told(columns), [(fault.index, fault.field, fault.code) for fault in faults]


@pytest.mark.parametrize("media", [NDJSON, CSV, ARROW, PARQUET])
@given(records=st.lists(PLAIN | LABELLED | BAD, min_size=1, max_size=12))
def test_the_same_readings_are_the_same_columns_and_the_same_faults(media: str, records: list[dict[str, Any]]) -> None:
    assert decoded(media, WRITERS[media](records)) == decoded(JSON, WRITERS[JSON](records))


@given(
    records=st.lists(PLAIN, min_size=1, max_size=12),
    text=st.sampled_from([pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()),
                          pa.dictionary(pa.uint32(), pa.large_string())]),
    unit=st.sampled_from(["us", "ns"]),
    zone=st.sampled_from(["UTC", "+02:00", "Europe/Berlin"]),
    rows=st.integers(1, 12),
    options=st.sampled_from([{}, {"compression": "zstd"}, {"compression": "lz4"}]),
)  # fmt: skip
def test_arrow_brings_readings_in_whatever_types_and_batches(
    records: list[dict[str, Any]], text: pa.DataType, unit: str, zone: str, rows: int, options: dict[str, str]
) -> None:
    instants = [dt.datetime.fromisoformat(record["timestamp"]) for record in records]
    table = pa.table(
        {
            "value": pa.array([record["value"] for record in records], pa.float64()),
            "timestamp": pa.array(instants, pa.timestamp("us", "UTC")).cast(pa.timestamp(unit, zone)),
            "sensor_id": pa.array([record["sensor_id"] for record in records], pa.string()).cast(text),
        }
    )
    expected = decoded(JSON, WRITERS[JSON](records))
    assert decoded(ARROW, arrow_of(table, rows, **options)) == expected
    assert decoded(PARQUET, parquet_of(table, row_group_size=rows)) == expected


NUMBERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
           pa.float16(), pa.float32(), pa.float64()]  # fmt: skip


@pytest.mark.parametrize("kind", NUMBERS, ids=str)
def test_a_column_of_any_integers_or_floats_holds_values(kind: pa.DataType) -> None:
    values = pa.array(np.array([1, 2, 1], np.float16)) if kind == pa.float16() else pa.array([1, 2, 1]).cast(kind)
    table = table_of([GOOD] * 3).drop("value").append_column("value", values)
    assert decoded(ARROW, arrow_of(table))[0][3] == [1.0, 2.0, 1.0]
    if kind != pa.float16():
        encoded = table.set_column(2, "value", values.dictionary_encode())
        assert decoded(ARROW, arrow_of(encoded))[0][3] == [1.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("name", "values", "code"),
    [
        ("value", pa.array([True, False]), "wrong_type"),
        ("value", pa.array(["1", "2"]), "wrong_type"),
        ("value", pa.array([[1.0], [2.0]]), "wrong_type"),
        ("value", pa.array([{"a": 1.0}] * 2), "wrong_type"),
        ("value", pa.array([1, 2], pa.decimal128(20, 2)), "wrong_type"),
        ("value", pa.array([1, 2], pa.timestamp("us", "UTC")), "wrong_type"),
        ("value", pa.nulls(2), "missing"),
        ("timestamp", pa.array([WHEN, WHEN], pa.timestamp("us")), "naive"),
        ("timestamp", pa.array([WHEN, WHEN]), "wrong_type"),
        ("timestamp", pa.array([1, 2], pa.date32()), "wrong_type"),
        ("timestamp", pa.nulls(2), "missing"),
        ("sensor_id", pa.array([1, 2]), "wrong_type"),
        ("sensor_id", pa.array([b"a", b"b"]), "wrong_type"),
        ("sensor_id", pa.nulls(2), "missing"),
    ],
    ids=str,
)
@pytest.mark.parametrize(("media", "write"), [(ARROW, arrow_of), (PARQUET, parquet_of)])
def test_a_column_of_a_wrong_type_is_a_fault_of_each_row(
    name: str, values: pa.Array, code: str, media: str, write: Any
) -> None:
    table = table_of([GOOD] * 2)
    table = table.set_column(table.column_names.index(name), name, values)
    assert decoded(media, write(table)) == ("invalid_readings", [(0, name, code), (1, name, code)])


@pytest.mark.parametrize(
    ("unit", "count", "micros"),
    [("s", 1761166800, WHEN), ("ms", 1761166800001, WHEN + 1000), ("ns", 1761166800000001999, WHEN + 1),
     ("s", 2**63 - 1, "too_new"), ("ms", -(2**63), "too_old"), ("us", -(2**63), "too_old"), ("ns", -1, "too_old")],
)  # fmt: skip
def test_timestamps_of_any_unit_are_cut_to_microseconds_and_none_is_beyond_what_can_be_told(
    unit: str, count: int, micros: int | str
) -> None:
    table = table_of([GOOD]).drop("timestamp").append_column("timestamp", pa.array([count], pa.timestamp(unit, "UTC")))
    found = decoded(ARROW, arrow_of(table))
    assert found[0][2] == [micros] if isinstance(micros, int) else found[1] == [(0, "timestamp", micros)]


def test_nulls_among_columns_are_named_by_their_rows() -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 2, 0]), pa.array(["a", None, "b"]))
    plain = texts.cast(pa.string())
    table = pa.table(
        {
            "sensor_id": texts,
            "timestamp": pa.array([WHEN, WHEN, WHEN, None, WHEN], pa.timestamp("us", "UTC")),
            "value": pa.array([1, 2, 3, 4, None]),
        }
    )
    for media, body in ((ARROW, arrow_of(table)), (PARQUET, parquet_of(table.set_column(0, "sensor_id", plain)))):
        readings, faults = decoded(media, body)
        assert readings[3] == [1.0]
        assert faults == [(1, "sensor_id", "missing"), (2, "sensor_id", "missing"), (3, "timestamp", "missing"),
                          (4, "value", "missing")]  # fmt: skip


@given(
    cells=st.lists(
        st.tuples(INSTANTS, st.lists(st.none() | st.floats(-1e100, 1e100), min_size=3, max_size=3)),
        min_size=1, max_size=8,
    ),
    names=st.lists(TEXTS.filter(lambda name: name not in {"timestamp", "sensor_id", "field", "name"}
                                and not name.startswith("labels.")), min_size=3, max_size=3, unique=True),
)  # fmt: skip
def test_a_wide_table_is_the_readings_of_its_cells(
    cells: list[tuple[dt.datetime, list[float | None]]], names: list[str]
) -> None:
    rows = [
        {"sensor_id": name, "timestamp": instant.isoformat(), "value": value}
        for instant, values in cells
        for name, value in zip(names, values, strict=True)
        if value is not None
    ]
    columns = {name: pa.array([values[place] for _, values in cells], pa.float64()) for place, name in enumerate(names)}
    table = pa.table({"timestamp": pa.array([instant for instant, _ in cells], pa.timestamp("us", "UTC")), **columns})
    wide = [{"timestamp": instant.isoformat(), **dict(zip(names, values, strict=True))} for instant, values in cells]
    expected = decoded(JSON, WRITERS[JSON](rows))
    assert decoded(ARROW, arrow_of(table), "wide") == expected
    assert decoded(PARQUET, parquet_of(table), "wide") == expected
    assert decoded(CSV, WRITERS[CSV](wide), "wide") == expected


@pytest.mark.parametrize("media", [ARROW, PARQUET])
@pytest.mark.parametrize("layout", ["rows", "wide"])
def test_a_table_without_rows_or_with_too_many_is_refused(media: str, layout: str) -> None:
    assert decoded(media, WRITERS[media]([GOOD])[:0], layout)[0] == "malformed_body"
    table = table_of([GOOD])
    write = {ARROW: arrow_of, PARQUET: parquet_of}[media]
    assert decoded(media, write(table.slice(0, 0)), layout)[0] == "malformed_body"
    many = pa.table({name: pa.concat_arrays(table[name].chunks * 30_000) for name in table.column_names})
    assert decoded(media, write(many), layout)[0] == "too_many_rows"


LINES = [
    (b'{"sensor_id": "a", "timestamp": "2025-10-22T21:00:00Z", "value": 1} {"a": 1}', [(1, "sensor_id", "missing")]),
    (b'[]\n1\n\n{"sensor_id": "a", "sensor_id": "a"}', [(0, None, "not_an_object"), (1, None, "not_an_object"),
                                                        (2, "sensor_id", "duplicate_field")]),
    (b"\xef\xbb\xbf17", [(0, None, "not_an_object")]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "faults"), LINES)
def test_what_is_wrong_in_lines_is_named_as_in_an_array(body: bytes, faults: list[Any]) -> None:
    assert decoded(NDJSON, body)[1] == faults


@pytest.mark.parametrize("body", [b"", b"\n \n", b"{", b'{"a": 1},{"a": 1}', b"\xff", b"[" * 100_000, b"9" * 5000])
def test_what_are_no_lines_of_json_is_malformed(body: bytes) -> None:
    assert decoded(NDJSON, body) == ("malformed_body", [])


def test_more_lines_than_readings_are_refused_good_or_bad() -> None:
    assert decoded(NDJSON, WRITERS[NDJSON]([GOOD] * 1001))[0] == "too_many_rows"
    assert decoded(NDJSON, b"1\n" * 1001)[0] == "too_many_rows"
