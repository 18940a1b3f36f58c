"""The JSON encoder against the standard library's."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.contract.codec import TIMESTAMP_LIMITS
from services.contract.instants import EPOCH
from services.query.formats.json import ListEncoder, PageEncoder, RowEncoder, SeriesEncoder
from services.query.table import Column, Kind, Table

INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
INSTANTS = st.integers(*TIMESTAMP_LIMITS) | st.integers(-3_000, 3_000).map(lambda second: second * 1_000_000)
SENSORS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=128)


def text(micros: int) -> str:
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    return instant.isoformat().replace("+00:00", "Z")


def readings(sensor: str, ids: Any, timestamps: Any, values: Any) -> Table:
    return Table(
        {
            "id": Column(Kind.INTEGER, ids),
            "timestamp": Column(Kind.INSTANT, timestamps),
            "sensor_id": Column.constant(sensor, len(ids)),
            "value": Column(Kind.FLOAT, values),
        }
    )


def hours(timestamps: Any, avg: Any, low: Any, high: Any, samples: Any) -> Table:
    floats = {name: Column(Kind.FLOAT, each) for name, each in [("avg", avg), ("min", low), ("max", high)]}
    return Table({"timestamp": Column(Kind.INSTANT, timestamps), **floats, "samples": Column(Kind.INTEGER, samples)})


def parted(rows: Sequence[tuple[float, ...]], cuts: list[int]) -> list[list[Any]]:
    """Return the rows' columns, cut into parts that are not empty."""
    edges = sorted({0, len(rows), *(cut % len(rows) for cut in cuts)}) if rows else []
    return [[np.array(column) for column in zip(*rows[a:b], strict=True)] for a, b in pairwise(edges)]


@given(
    SENSORS,
    st.lists(st.tuples(INTEGERS, INSTANTS, FLOATS), max_size=20),
    st.lists(st.integers(0, 100), max_size=3),
    st.none() | st.text("abc_-", min_size=1),
)
def test_readings_read_back_as_they_were(
    sensor: str, rows: list[tuple[int, int, float]], cuts: list[int], following: str | None
) -> None:
    encoder = PageEncoder()
    body = b"".join(encoder.rows(readings(sensor, *columns)) for columns in parted(rows, cuts))
    answer = json.loads(body + encoder.end(following))
    assert answer.pop("next", None) == following
    assert answer == {
        "data": [{"id": row, "timestamp": text(at), "sensor_id": sensor, "value": value} for row, at, value in rows]
    }


@given(
    st.lists(st.tuples(INSTANTS, FLOATS, FLOATS, FLOATS, INTEGERS), max_size=20),
    st.lists(st.integers(0, 100), max_size=3),
)
def test_hours_read_back_as_they_were(rows: list[tuple[int, float, float, float, int]], cuts: list[int]) -> None:
    encoder = ListEncoder()
    body = b"".join(encoder.rows(hours(*columns)) for columns in parted(rows, cuts))
    assert json.loads(body + encoder.end()) == [
        {"timestamp": text(at), "avg": avg, "min": low, "max": high, "samples": samples}
        for at, avg, low, high, samples in rows
    ]


def test_a_reading_is_written_to_the_letter() -> None:
    at = np.array([1_761_166_800_000_000, 1_761_166_800_000_001])
    encoder = PageEncoder()
    body = encoder.rows(readings("sensor-1", np.array([1, 2]), at, np.array([25.3, 10.0]))) + encoder.end()
    assert body == (
        b'{"data":[{"id":1,"timestamp":"2025-10-22T21:00:00Z","sensor_id":"sensor-1","value":25.3},'
        b'{"id":2,"timestamp":"2025-10-22T21:00:00.000001Z","sensor_id":"sensor-1","value":10.0}]}'
    )


@given(
    st.lists(st.tuples(st.none() | SENSORS, st.none() | INSTANTS, st.none() | FLOATS, st.none() | INTEGERS), min_size=1)
)
def test_any_columns_read_back_as_they_were_nulls_and_texts_among_them(rows: list[tuple[Any, ...]]) -> None:
    kinds = {"it's \"": Kind.TEXT, "at": Kind.INSTANT, "value": Kind.FLOAT, "samples": Kind.INTEGER}
    items = [[None if at is None else EPOCH + timedelta(microseconds=at) if place == 1 else at
              for place, at in enumerate(row)] for row in rows]  # fmt: skip
    encoder = ListEncoder()
    body = encoder.rows(Table.of(kinds, items)) + encoder.end()
    assert json.loads(body) == [
        dict(zip(kinds, (sensor, None if at is None else text(at), value, samples), strict=True))
        for sensor, at, value, samples in rows
    ]


def test_the_only_row_is_an_object_by_itself() -> None:
    for value, written in [(10.0, b'{"min_value":10.0}'), (None, b'{"min_value":null}')]:
        encoder = RowEncoder()
        assert encoder.rows(Table.of({"min_value": Kind.FLOAT}, [(value,)])) + encoder.end() == written


@given(st.lists(st.tuples(INSTANTS, st.integers(-23 * 60, 23 * 60)), min_size=1))
def test_instants_are_written_with_their_offsets(rows: list[tuple[int, int]]) -> None:
    at, minutes = np.array(rows, np.int64).T
    encoder = SeriesEncoder({"tz": "any"})
    body = encoder.rows(Table({"timestamp": Column(Kind.INSTANT, at, offsets=minutes)})) + encoder.end()
    expected = [(EPOCH + timedelta(microseconds=micros)).astimezone(timezone(timedelta(minutes=offset))).isoformat()
                for micros, offset in rows]  # fmt: skip
    assert json.loads(body) == {"data": [{"timestamp": each} for each in expected], "meta": {"tz": "any"}}


def test_a_series_without_rows_still_tells_of_itself() -> None:
    assert SeriesEncoder({"bucket": None}).end() == b'{"data":[],"meta":{"bucket":null}}'
