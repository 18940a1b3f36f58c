"""Cursors and pages."""

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract.codec import TIMESTAMP_LIMITS
from services.query.keyset import CURSOR_PATTERN, CursorError, Keyset, Page, pack, unpack
from services.query.plan import Question
from services.query.table import Column, Kind, Table

START = datetime(2025, 10, 22, 21, tzinfo=UTC)
RANGE = Question("sensor-1", START, START + timedelta(hours=1))
QUESTION = RANGE.identity()
OTHERS = [
    Question("sensor-2", RANGE.start, RANGE.end),
    Question("sensor-1", RANGE.start, RANGE.end + timedelta(microseconds=1)),
    Question("sensor-1", RANGE.start - timedelta(microseconds=1), RANGE.end),
]
KEYSETS = st.builds(Keyset, st.integers(*TIMESTAMP_LIMITS), st.integers(-(2**63), 2**63 - 1))


@given(KEYSETS)
def test_a_cursor_leads_back_to_its_key(keyset: Keyset) -> None:
    cursor = pack(keyset, QUESTION)
    assert re.search(CURSOR_PATTERN, cursor)
    assert unpack(cursor, QUESTION) == keyset


@given(KEYSETS, st.sampled_from(OTHERS))
def test_a_cursor_fits_no_other_question(keyset: Keyset, other: Question) -> None:
    with pytest.raises(CursorError, match="another sensor or range"):
        unpack(pack(keyset, QUESTION), other.identity())


@given(KEYSETS, st.integers(0, 31), st.sampled_from("Aa0_-"))
def test_a_damaged_cursor_is_refused(keyset: Keyset, position: int, letter: str) -> None:
    cursor = pack(keyset, QUESTION)
    damaged = cursor[:position] + letter + cursor[position + 1 :]
    if damaged != cursor:
        with pytest.raises(CursorError):
            unpack(damaged, QUESTION)


@given(st.text() | st.binary().map(lambda data: data.hex()))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(CursorError):
        unpack(text, QUESTION)


def test_a_key_outside_of_time_is_refused() -> None:
    with pytest.raises(CursorError):
        unpack(pack(Keyset(2**62, 1), QUESTION), QUESTION)


@given(st.lists(st.integers(1, 5), max_size=8), st.none() | st.integers(1, 20))
def test_a_page_ends_at_its_limit_and_knows_where_the_next_begins(parts: list[int], limit: int | None) -> None:
    rows = list(range(sum(parts)))
    page = Page(limit, QUESTION)
    offered = rows
    taken: list[int] = []
    for size in parts:
        ids, offered = np.array(offered[:size], np.int64), offered[size:]
        table = Table({"id": Column(Kind.INTEGER, ids), "timestamp": Column(Kind.INSTANT, ids * 10)})
        taken += page.take(table)["id"].values.tolist()
    assert taken == rows[:limit]
    more = limit is not None and len(rows) > limit
    assert page.following() == (pack(Keyset(taken[-1] * 10, taken[-1]), QUESTION) if more else None)
