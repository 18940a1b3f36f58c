"""Cursors and pages."""

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract.codec import TIMESTAMP_LIMITS
from services.query.columns import Readings
from services.query.cursor import CURSOR_PATTERN, CursorError, Page, Place, pack, unpack
from services.query.question import Question

START = datetime(2025, 10, 22, 21, tzinfo=UTC)
QUESTION = Question("sensor-1", START, START + timedelta(hours=1))
OTHERS = [
    Question("sensor-2", QUESTION.start, QUESTION.end),
    Question("sensor-1", QUESTION.start, QUESTION.end + timedelta(microseconds=1)),
    Question("sensor-1", QUESTION.start - timedelta(microseconds=1), QUESTION.end),
]
PLACES = st.builds(Place, st.integers(*TIMESTAMP_LIMITS), st.integers(-(2**63), 2**63 - 1))


@given(PLACES)
def test_a_cursor_leads_back_to_its_place(place: Place) -> None:
    cursor = pack(place, QUESTION)
    assert re.search(CURSOR_PATTERN, cursor)
    assert unpack(cursor, QUESTION) == place


@given(PLACES, st.sampled_from(OTHERS))
def test_a_cursor_fits_no_other_question(place: Place, other: Question) -> None:
    with pytest.raises(CursorError, match="another sensor or range"):
        unpack(pack(place, QUESTION), other)


@given(PLACES, st.integers(0, 31), st.sampled_from("Aa0_-"))
def test_a_damaged_cursor_is_refused(place: Place, position: int, letter: str) -> None:
    cursor = pack(place, QUESTION)
    damaged = cursor[:position] + letter + cursor[position + 1 :]
    if damaged != cursor:
        with pytest.raises(CursorError):
            unpack(damaged, QUESTION)


@given(st.text() | st.binary().map(lambda data: data.hex()))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(CursorError):
        unpack(text, QUESTION)


def test_a_place_outside_of_time_is_refused() -> None:
    with pytest.raises(CursorError):
        unpack(pack(Place(2**62, 1), QUESTION), QUESTION)


@given(st.lists(st.integers(1, 5), max_size=8), st.none() | st.integers(1, 20))
def test_a_page_ends_at_its_limit_and_knows_whether_more_follow(parts: list[int], limit: int | None) -> None:
    rows = list(range(sum(parts)))
    page = Page(limit)
    offered = rows if page.asked is None else rows[: page.asked]
    taken: list[int] = []
    for size in parts:
        ids, offered = np.array(offered[:size], np.int64), offered[size:]
        taken += page.take(Readings(ids, ids * 10, ids.astype(np.float64))).ids.tolist()
    assert taken == rows[:limit]
    assert page.more == (limit is not None and len(rows) > limit)
    assert page.last == (Place(taken[-1] * 10, taken[-1]) if taken else None)
