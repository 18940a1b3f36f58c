"""Parquet against Arrow's own library, and others that read it."""

import io
import threading
from pathlib import Path
from unittest.mock import patch

import duckdb
import polars as pl
import pyarrow.parquet
import pytest
from hypothesis import given

from services.query.formats import arrow, parquet
from services.query.formats.parquet import ParquetEncoder
from services.query.table import Kind, Table
from tests.support.tables import ANSWERS, CUTS, READINGS, Answer, written

from .rows import DEMO
from .test_arrow import same


@given(ANSWERS, CUTS)
def test_rows_read_back_as_they_were(answer: Answer, cuts: list[int]) -> None:
    same(pyarrow.parquet.read_table(io.BytesIO(written(ParquetEncoder, answer, cuts))), answer)


def test_other_readers_find_the_rows(tmp_path: Path) -> None:
    file = tmp_path / "readings.parquet"
    file.write_bytes(written(ParquetEncoder, (READINGS, DEMO)))
    assert pl.read_parquet(file).rows() == DEMO
    rows = duckdb.connect().execute(
        "select id, epoch_us(timestamp), sensor_id, value from read_parquet(?)", [str(file)]
    )
    assert rows.fetchall() == [
        (row, round(at.timestamp() * 1_000_000), sensor, value) for row, at, sensor, value in DEMO
    ]


def test_a_row_group_goes_out_before_the_next_rows_are_there() -> None:
    encoder = ParquetEncoder(READINGS)
    rows = [(number, at, sensor, value * number) for number, (_, at, sensor, value) in enumerate(DEMO * 100)]
    with patch.object(arrow, "BATCH", len(rows)):
        first, second = (encoder.rows(Table.of(READINGS, rows)) for _ in range(2))
    assert first.startswith(b"PAR1")
    assert second
    rest = encoder.end()
    encoder.close()
    file = pyarrow.parquet.ParquetFile(io.BytesIO(first + second + rest))
    assert [file.metadata.row_group(number).num_rows for number in range(2)] == [len(rows)] * 2


def test_what_is_given_up_leaves_no_thread() -> None:
    before = threading.active_count()
    for rows in ([], DEMO):
        encoder = ParquetEncoder(READINGS)
        if rows:
            with patch.object(arrow, "BATCH", 1):
                encoder.rows(Table.of(READINGS, rows))
        encoder.close()
    assert threading.active_count() == before


def test_a_failure_of_the_writer_reaches_who_gives_it_rows() -> None:
    encoder = ParquetEncoder({"value": Kind.FLOAT})
    with (
        patch.object(encoder._sink, "write", side_effect=OSError("full")),
        pytest.raises(RuntimeError, match="Parquet"),
    ):
        encoder.end()
    encoder.close()


def test_a_writer_that_stands_still_costs_its_answer_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()

    def stand_still(*_: object, **__: object) -> None:
        free.wait()

    monkeypatch.setattr(parquet, "write_parquet", stand_still)
    monkeypatch.setattr(parquet, "_PATIENCE", 0.05)
    encoder = ParquetEncoder(READINGS)
    try:
        with pytest.raises(RuntimeError, match="stands still"):
            encoder.end()
        encoder.close()
    finally:
        free.set()
