"""Binary COPY into tables."""

import struct
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.query.copy_out import CopyError, CopyReader, inlined
from services.query.table import Kind, Table

from .test_table import items_of

READINGS = {"id": Kind.INTEGER, "timestamp": Kind.INSTANT, "value": Kind.FLOAT}
SENSORS = {"sensor_id": Kind.TEXT, "first_seen": Kind.INSTANT, "unit": Kind.TEXT, "samples": Kind.INTEGER}
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
MILLENNIUM = datetime(2000, 1, 1, tzinfo=UTC)

INSTANTS = st.datetimes(timezones=st.just(UTC))
INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
readings = st.lists(st.tuples(INTEGERS, INSTANTS, FLOATS), max_size=30)
holed = st.lists(st.tuples(INTEGERS, st.none() | INSTANTS, st.none() | FLOATS), max_size=30)
sensors = st.lists(st.tuples(st.text(), INSTANTS, st.none() | st.text(), st.none() | INTEGERS), max_size=30)
answers = (
    readings.map(lambda rows: (READINGS, rows))
    | holed.map(lambda rows: (READINGS, rows))
    | sensors.map(lambda rows: (SENSORS, rows))
)


def sent(value: object) -> bytes:
    """Return a value as PostgreSQL sends it."""
    match value:
        case None:
            return struct.pack(">i", -1)
        case int():
            return struct.pack(">iq", 8, value)
        case float():
            return struct.pack(">id", 8, value)
        case datetime():
            since = value - MILLENNIUM
            micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
            return struct.pack(">iq", 8, micros)
    raw = str(value).encode()
    return struct.pack(">i", len(raw)) + raw


def copied(rows: list[tuple[Any, ...]]) -> bytes:
    return HEADER + b"".join(struct.pack(">h", len(row)) + b"".join(map(sent, row)) for row in rows) + TRAILER


def rows_of(table: Table) -> list[tuple[Any, ...]]:
    return list(zip(*map(items_of, table.columns.values()), strict=True))


@given(answers, st.data())
def test_rows_come_out_whole_wherever_the_network_cuts_them(
    answer: tuple[dict[str, Kind], list[tuple[Any, ...]]], data: st.DataObject
) -> None:
    kinds, rows = answer
    whole = copied(rows)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    reader = CopyReader(kinds)
    found = [row for begin, end in pairwise([0, *cuts, len(whole)]) for row in rows_of(reader.feed(whole[begin:end]))]
    reader.finish()
    assert found == rows


@given(answers, st.data())
def test_what_is_cut_short_is_never_taken_for_whole(
    answer: tuple[dict[str, Kind], list[tuple[Any, ...]]], data: st.DataObject
) -> None:
    kinds, rows = answer
    whole = copied(rows)
    reader = CopyReader(kinds)
    reader.feed(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(CopyError, match="end of COPY"):
        reader.finish()


def test_other_data_than_copy_is_refused() -> None:
    with pytest.raises(CopyError, match="header"):
        CopyReader(READINGS).feed(b"PGCOPX")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (struct.pack(">h", 2) + bytes(40), "has 2 columns, 3 were expected"),
        (struct.pack(">hiiiqiq", 3, 4, 1, 8, 1, 8, 1), "another width"),
        (struct.pack(">hi", 3, -2) + bytes(40), "has -2 bytes"),
    ],
)
def test_rows_of_another_form_are_refused(row: bytes, message: str) -> None:
    with pytest.raises(CopyError, match=message):
        CopyReader(READINGS).feed(HEADER + row + TRAILER)


def test_arguments_stand_in_the_statement_as_literals() -> None:
    assert inlined("$1 $2 $3 $1", ("it's \\ $2", -5, MILLENNIUM)) == (
        " E'it''s \\\\ $2'::pg_catalog.text (-5) '2000-01-01T00:00:00+00:00'::pg_catalog.timestamptz"
        "  E'it''s \\\\ $2'::pg_catalog.text"
    )
    assert inlined("any($1)", (("it's", "$1"),)) == (
        "any( array[ E'it''s'::pg_catalog.text, E'$1'::pg_catalog.text]::pg_catalog.text[])"
    )
    for argument in ("\0", ("a", "\0")):
        with pytest.raises(ValueError, match="zero byte"):
            inlined("$1", (argument,))
