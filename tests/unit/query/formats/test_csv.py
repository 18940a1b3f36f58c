"""CSV against the standard library's reader, and real ones."""

import csv
import io
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.csv
from hypothesis import given

from services.query.formats.csv import CsvEncoder
from services.query.table import Kind
from tests.support.tables import ANSWERS, CUTS, READINGS, Answer, written

from .rows import DEMO

READ: dict[Kind, Any] = {
    Kind.INTEGER: int,
    Kind.FLOAT: float,
    Kind.INSTANT: datetime.fromisoformat,
    Kind.TEXT: str,
}


@given(ANSWERS, CUTS)
def test_rows_read_back_as_they_were(answer: Answer, cuts: list[int]) -> None:
    kinds, rows = answer
    header, *lines = csv.reader(io.StringIO(written(CsvEncoder, answer, cuts).decode(), newline=""), strict=True)
    assert header == list(kinds)
    found = [
        tuple(READ[kind](field) if field else None for field, kind in zip(line, kinds.values(), strict=True))
        for line in lines
    ]
    # By their forms: zero has two signs, and they are equal.
    assert list(map(repr, found)) == list(map(repr, rows))


def test_a_reading_is_written_to_the_letter() -> None:
    rows = [(1, datetime.fromisoformat("2025-10-22T21:00:00Z"), text, 25.0) for text in ('a "b", c', "x-1")]
    assert written(CsvEncoder, (READINGS, rows)) == (
        b"id,timestamp,sensor_id,value\r\n"
        b'1,2025-10-22T21:00:00.000000Z,"a ""b"", c",25.0\r\n'
        b"1,2025-10-22T21:00:00.000000Z,x-1,25.0\r\n"
    )


def test_null_is_told_from_an_empty_text_and_what_is_not_finite_is_null() -> None:
    kinds = {"text": Kind.TEXT, "value": Kind.FLOAT}
    rows = [("", float("nan")), (None, float("inf")), ("x", None), ("y", 1e100)]
    assert written(CsvEncoder, (kinds, rows)) == b'text,value\r\n"",\r\n,\r\nx,\r\ny,1e+100\r\n'


def test_real_readers_find_the_rows(tmp_path: Path) -> None:
    body = written(CsvEncoder, (READINGS, DEMO))
    file = tmp_path / "readings.csv"
    file.write_bytes(body)
    by_polars = pl.read_csv(body, try_parse_dates=True).with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))
    assert by_polars.rows() == DEMO
    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    by_arrow = pyarrow.csv.read_csv(io.BytesIO(body), parse_options=options).to_pylist()
    assert [tuple(row.values()) for row in by_arrow] == DEMO
    by_duckdb = duckdb.connect().execute(
        "select id, epoch_us(timestamp), sensor_id, value from read_csv(?)", [str(file)]
    )
    assert by_duckdb.fetchall() == [
        (row, round(at.timestamp() * 1_000_000), sensor, value) for row, at, sensor, value in DEMO
    ]
