"""NDJSON against the standard library's JSON."""

import io
import json

import polars as pl
from hypothesis import given

from services.query.formats.ndjson import LinesEncoder
from tests.support.tables import ANSWERS, CUTS, READINGS, Answer, in_json, written

from .rows import DEMO


@given(ANSWERS, CUTS)
def test_each_line_is_an_object_of_json(answer: Answer, cuts: list[int]) -> None:
    *lines, behind = written(LinesEncoder, answer, cuts).split(b"\n")
    assert behind == b""
    assert [json.loads(line) for line in lines] == in_json(answer)


def test_a_real_reader_finds_the_rows() -> None:
    assert pl.read_ndjson(io.BytesIO(written(LinesEncoder, (READINGS, DEMO)))).rows(named=True) == in_json(
        (READINGS, DEMO)
    )
