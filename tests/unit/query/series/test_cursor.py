"""Cursors and pages of `/series`."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract.codec import TIMESTAMP_LIMITS
from services.query.keyset import CursorError
from services.query.series.cursor import CURSOR_PATTERN, Position, SeriesPage, identity, pack, unpack
from services.query.table import Column, Kind, Table

QUESTION = {"sensor_id": ["a", "b"], "start": "-6h", "tz": None, "limit": "3", "cursor": None}
INSTANTS = st.integers(*TIMESTAMP_LIMITS)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=128)
POSITIONS = st.builds(Position, INSTANTS, INSTANTS, st.integers(-(2**63), 2**63 - 1), TEXTS)


@given(POSITIONS)
def test_a_cursor_leads_back_to_its_position(position: Position) -> None:
    cursor = pack(position, identity(QUESTION))
    assert re.search(CURSOR_PATTERN, cursor)
    assert unpack(cursor, identity(QUESTION | {"limit": "9", "cursor": cursor})) == position


@given(POSITIONS, st.sampled_from([{"start": "-7h"}, {"tz": "UTC"}, {"sensor_id": ["a"]}]))
def test_a_cursor_fits_no_other_question(position: Position, other: dict[str, Any]) -> None:
    with pytest.raises(CursorError, match="another question"):
        unpack(pack(position, identity(QUESTION)), identity(QUESTION | other))


@given(POSITIONS, st.integers(0, 42), st.sampled_from("Aa0_-"))
def test_a_damaged_cursor_is_refused(position: Position, place: int, letter: str) -> None:
    cursor = pack(position, identity(QUESTION))
    damaged = cursor[:place] + letter + cursor[place + 1 :]
    if damaged != cursor and place < 42:
        with pytest.raises(CursorError):
            unpack(damaged, identity(QUESTION))


@given(st.text() | st.binary().map(lambda data: data.hex()))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(CursorError):
        unpack(text, identity(QUESTION))


def test_what_lies_outside_of_time_is_refused() -> None:
    for position in (Position(2**62, 0, 0, ""), Position(0, 2**62, 0, "")):
        with pytest.raises(CursorError):
            unpack(pack(position, ""), "")


@given(st.lists(st.integers(1, 5), max_size=6), st.integers(1, 6), st.booleans())
def test_pages_of_buckets_are_the_whole_in_its_order(parts: list[int], limit: int, descending: bool) -> None:
    """Each page is given all rows, as those of buckets are made anew for it."""
    many = sum(parts)
    rows = [(place % 3, place // 3) for place in range(many)]
    rows = sorted(rows, key=lambda row: (row[0], -row[1] if descending else row[1]))
    found: list[tuple[int, int]] = []
    after = None
    while True:
        page = SeriesPage(limit, after, now=5, descending=descending, keys=["sensor_id"])
        left = rows
        for size in parts:
            given_rows, left = left[:size], left[size:]
            sensor, at = (np.array(column, np.int64) for column in zip(*given_rows, strict=True))
            table = Table({
                "sensor_id": Column(Kind.TEXT, sensor, None, ("a", "b", "c")),
                "timestamp": Column(Kind.INSTANT, at),
            })  # fmt: skip
            if after:
                # The question of a page leaves out the sensors of those before.
                table = table.taken(np.flatnonzero(sensor >= "abc".index(after.sensor)))
            part = page.take(table)
            found += zip(part["sensor_id"].values.tolist(), part["timestamp"].values.tolist(), strict=True)
        cursor = page.following("")
        if cursor is None:
            break
        after = unpack(cursor, "")
        assert after.now == 5
    assert found == rows
