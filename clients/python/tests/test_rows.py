"""Rows of an answer, however its bytes come, and answers that are cut."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from millrace_client.errors import BrokenAnswerError
from millrace_client.rows import RowReader

VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=9)
ROWS = st.lists(st.dictionaries(st.text(max_size=5), VALUES | st.dictionaries(st.text(max_size=3), VALUES)) | st.text())


def read(parts: list[bytes]) -> tuple[list[Any], RowReader]:
    reader = RowReader()
    rows = [row for part in parts for row in reader.feed(part)]
    reader.finish()
    return rows, reader


@given(ROWS, st.booleans(), st.booleans(), st.lists(st.integers(0, 400)))
def test_any_division_into_parts_gives_the_same_rows(
    rows: list[Any], ascii_: bool, wide: bool, cuts: list[int]
) -> None:
    answer = {"data": rows, "meta": {"tz": "UTC", "]": "}"}, "next": "abc"}
    body = json.dumps(answer, ensure_ascii=ascii_, separators=None if wide else (",", ":")).encode()
    places = sorted({0, *(cut for cut in cuts if cut < len(body)), len(body)})
    found, reader = read([body[first:last] for first, last in pairwise(places)])
    assert (found, reader.meta, reader.next) == (rows, answer["meta"], "abc")


@given(ROWS, st.data())
def test_an_answer_that_is_cut_is_never_whole(rows: list[Any], data: st.DataObject) -> None:
    body = json.dumps({"data": rows, "meta": {"tz": "UTC"}}).encode()
    with pytest.raises(BrokenAnswerError):
        read([body[: data.draw(st.integers(0, len(body) - 1))]])


@pytest.mark.parametrize("body", [b"<html>" * 50, b"[]" * 60, b'{"data": \xff'])
def test_what_is_no_answer_is_said_so(body: bytes) -> None:
    with pytest.raises(BrokenAnswerError):
        read([body])
