"""The JSON encoders against the standard library's."""

import json
from datetime import timedelta, timezone

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.contract.codec import TIMESTAMP_LIMITS
from services.contract.instants import EPOCH
from services.query.formats.json import ListEncoder, PageEncoder, RowEncoder, SeriesEncoder
from services.query.table import Column, Kind, Table
from tests.support.tables import ANSWERS, CUTS, READINGS, Answer, in_json, written

INSTANTS = st.integers(*TIMESTAMP_LIMITS) | st.integers(-3_000, 3_000).map(lambda second: second * 1_000_000)


@given(ANSWERS, CUTS)
def test_lists_read_back_as_they_were(answer: Answer, cuts: list[int]) -> None:
    assert json.loads(written(ListEncoder, answer, cuts)) == in_json(answer)


@given(ANSWERS, st.none() | st.text("abc_-", min_size=1))
def test_pages_read_back_as_they_were(answer: Answer, following: str | None) -> None:
    kinds, rows = answer
    encoder = PageEncoder(kinds)
    body = (encoder.rows(Table.of(kinds, rows)) if rows else b"") + encoder.end(following)
    page = json.loads(body)
    assert page.pop("next", None) == following
    assert page == {"data": in_json(answer)}


def test_a_reading_is_written_to_the_letter() -> None:
    at = EPOCH + timedelta(seconds=1_761_166_800)
    rows = [(1, at, "sensor-1", 25.3), (2, at + timedelta(microseconds=1), "sensor-1", 10.0)]
    assert written(PageEncoder, (READINGS, rows)) == (
        b'{"data":[{"id":1,"timestamp":"2025-10-22T21:00:00Z","sensor_id":"sensor-1","value":25.3},'
        b'{"id":2,"timestamp":"2025-10-22T21:00:00.000001Z","sensor_id":"sensor-1","value":10.0}]}'
    )


def test_the_only_row_is_an_object_by_itself() -> None:
    for value, text in [(10.0, b'{"min_value":10.0}'), (None, b'{"min_value":null}')]:
        assert written(RowEncoder, ({"min_value": Kind.FLOAT}, [(value,)])) == text


@given(st.lists(st.tuples(INSTANTS, st.integers(-23 * 60, 23 * 60)), min_size=1))
def test_instants_are_written_with_their_offsets(rows: list[tuple[int, int]]) -> None:
    at, minutes = np.array(rows, np.int64).T
    encoder = SeriesEncoder({"timestamp": Kind.INSTANT}, {"tz": "any"})
    body = encoder.rows(Table({"timestamp": Column(Kind.INSTANT, at, offsets=minutes)})) + encoder.end()
    expected = [(EPOCH + timedelta(microseconds=micros)).astimezone(timezone(timedelta(minutes=offset))).isoformat()
                for micros, offset in rows]  # fmt: skip
    assert json.loads(body) == {"data": [{"timestamp": each} for each in expected], "meta": {"tz": "any"}}


def test_a_series_without_rows_still_tells_of_itself() -> None:
    assert SeriesEncoder({"value": Kind.FLOAT}, {"bucket": None}).end() == b'{"data":[],"meta":{"bucket":null}}'
