"""Arrow's stream against its own library, and others that read it."""

from datetime import datetime

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given

from services.contract.instants import EPOCH, MICROSECOND
from services.query.formats.arrow import ArrowEncoder
from services.query.table import Kind
from tests.support.tables import ANSWERS, CUTS, READINGS, Answer, written

from .rows import DEMO

TYPES = {
    Kind.INTEGER: pa.int64(),
    Kind.FLOAT: pa.float64(),
    Kind.INSTANT: pa.timestamp("us", "UTC"),
    Kind.TEXT: pa.string(),
}


@given(ANSWERS, CUTS)
def test_rows_read_back_as_they_were(answer: Answer, cuts: list[int]) -> None:
    with pa.ipc.open_stream(written(ArrowEncoder, answer, cuts)) as reader:
        found = reader.read_all()
    found.validate(full=True)
    same(found, answer)


def same(found: pa.Table, answer: Answer) -> None:
    kinds, rows = answer
    assert found.schema == pa.schema({name: TYPES[kind] for name, kind in kinds.items()})
    for place, (name, kind) in enumerate(kinds.items()):
        column = found[name].cast(pa.int64()) if kind is Kind.INSTANT else found[name]
        expected = [
            (row[place] - EPOCH) // MICROSECOND if isinstance(row[place], datetime) else row[place] for row in rows
        ]
        # By their forms: zero has two signs, and they are equal.
        assert list(map(repr, column.to_pylist())) == list(map(repr, expected))


def test_another_reader_finds_the_rows() -> None:
    assert pl.read_ipc_stream(written(ArrowEncoder, (READINGS, DEMO))).rows() == DEMO


@pytest.mark.parametrize("cut", [1, 8, 9, 400])
def test_a_stream_that_is_cut_off_has_no_end(cut: int) -> None:
    body = written(ArrowEncoder, (READINGS, DEMO))
    assert body.endswith(b"\xff\xff\xff\xff\0\0\0\0")
    assert not body[:-cut].endswith(b"\xff\xff\xff\xff\0\0\0\0")
