"""Files are read batch by batch, and what is wrong in them is told with its line."""

import io
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.sender.files import ReadError, format_of, read

CSV = "sensor_id,timestamp,value\na,2026-01-01T00:00:00Z,1.5\nb,2026-01-01T00:00:01Z,-2e3\n"
READINGS = [
    {"sensor_id": "a", "timestamp": "2026-01-01T00:00:00Z", "value": 1.5},
    {"sensor_id": "b", "timestamp": "2026-01-01T00:00:01Z", "value": -2000.0},
]


def named(text: str | bytes, name: str = "some.csv") -> io.TextIOWrapper:
    raw = io.BytesIO(text.encode() if isinstance(text, str) else text)
    raw.name = name
    return io.TextIOWrapper(raw, encoding="utf-8", newline="")


def all_of(text: str | bytes, form: str, size: int = 100) -> list[Any]:
    return [reading for batch in read(named(text), form, size) for reading in orjson.loads(batch.body)]


def test_csv_becomes_readings() -> None:
    assert all_of(CSV, "csv") == READINGS


def test_csv_columns_may_stand_in_another_order() -> None:
    assert all_of("value,sensor_id,timestamp\n1.5,a,2026-01-01T00:00:00Z\n", "csv") == READINGS[:1]


def test_quoted_ids_keep_commas_quotes_and_letters() -> None:
    text = 'sensor_id,timestamp,value\n"a ""b"", é",2026-01-01T00:00:00Z,1\n'
    assert all_of(text, "csv")[0]["sensor_id"] == 'a "b", é'


def test_ndjson_becomes_readings_and_empty_lines_are_none() -> None:
    text = b"\n".join([orjson.dumps(READINGS[0]), b"", orjson.dumps(READINGS[1]), b""])
    assert all_of(text, "ndjson") == READINGS


def test_ndjson_goes_on_to_the_letter_for_ingest_to_judge() -> None:
    lines = [b'{"sensor_id": "a", "sensor_id": "b"}', b'{"value": 12345678901234567890}']
    [batch] = read(named(b"\n".join(lines)), "ndjson", 10)
    assert batch.body == b"[" + b",".join(lines) + b"]"


def test_batches_are_numbered_and_full() -> None:
    text = "sensor_id,timestamp,value\n" + "a,2026-01-01T00:00:00Z,1\n" * 25
    found = [(batch.number, batch.first_row, batch.rows) for batch in read(named(text), "csv", 10)]
    assert found == [(0, 0, 10), (1, 10, 10), (2, 20, 5)]


def test_an_empty_file_has_no_batch() -> None:
    assert list(read(named(""), "ndjson", 10)) == []


@pytest.mark.parametrize(
    ("text", "form", "told"),
    [
        ("", "csv", "some.csv line 1: the header must name sensor_id, timestamp, value"),
        ("sensor,time,value\n", "csv", "line 1: the header must name"),
        (CSV + "c,2026-01-01T00:00:00Z,warm\n", "csv", "line 4: 'warm' is no number"),
        (CSV + "c,2026-01-01T00:00:00Z,1_000\n", "csv", "line 4: '1_000' is no number"),
        (CSV + "c,2026-01-01T00:00:00Z,\u0661\n", "csv", "is no number"),
        (CSV + "c,2026-01-01T00:00:00Z,nan\n", "csv", "line 4: 'nan' is no number"),
        (CSV + "c,2026-01-01T00:00:00Z,1e400\n", "csv", "line 4: '1e400' is no number"),
        (CSV + "c\n", "csv", "line 4: fewer than 3 fields"),
        ('{"a": 1}\n{"a": nan}\n', "ndjson", "line 2: "),
        (b"sensor_id,timestamp,value\n\xff,2026-01-01T00:00:00Z,1\n", "csv", "not UTF-8"),
    ],
)
def test_a_fault_names_its_line(text: str | bytes, form: str, told: str) -> None:
    with pytest.raises(ReadError, match=told):
        all_of(text, form)


def test_what_stands_before_a_fault_is_still_read() -> None:
    batches = read(named(CSV + "c\n"), "csv", 1)
    assert [next(batches).rows, next(batches).rows] == [1, 1]


@pytest.mark.parametrize(("name", "form"), [("a.csv", "csv"), ("a.NDJSON", "ndjson"), ("a.jsonl", "ndjson")])
def test_the_name_tells_the_format(name: str, form: str) -> None:
    assert format_of(Path(name)) == form


def test_a_name_that_tells_nothing_is_refused() -> None:
    with pytest.raises(ReadError, match="say --format"):
        format_of(Path("readings.txt"))
