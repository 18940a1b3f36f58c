"""Columns of Python's values."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract.instants import EPOCH
from services.query.table import Column, Kind, Table

VALUES = {
    Kind.INTEGER: st.integers(-(2**63), 2**63 - 1),
    Kind.FLOAT: st.floats(allow_nan=False),
    Kind.INSTANT: st.datetimes(timezones=st.just(UTC)),
    Kind.TEXT: st.text(),
}


def items_of(column: Column) -> list[Any]:
    """Return a column's values as Python's."""
    found: list[Any] = column.values.tolist()
    match column.kind:
        case Kind.TEXT:
            found = [column.texts[place] for place in found]
        case Kind.INSTANT:
            found = [EPOCH + timedelta(microseconds=micros) for micros in found]
    nulls = [False] * len(found) if column.nulls is None else column.nulls.tolist()
    return [None if null else item for item, null in zip(found, nulls, strict=True)]


@pytest.mark.parametrize("kind", list(Kind))
@given(data=st.data())
def test_values_and_nulls_come_back_as_they_were(kind: Kind, data: st.DataObject) -> None:
    items = data.draw(st.lists(st.none() | VALUES[kind]))
    column = Column.of(kind, items)
    assert items_of(column) == items
    assert (column.nulls is None) == (None not in items)
    assert len(set(column.texts)) == len(column.texts)
    assert items_of(column.head(2)) == items[:2]


def test_a_constant_holds_its_text_once() -> None:
    column = Column.constant("sensor-1", 3)
    assert (items_of(column), column.texts) == (["sensor-1"] * 3, ("sensor-1",))


def test_a_table_of_no_rows_has_its_columns() -> None:
    table = Table.of({"at": Kind.INSTANT, "value": Kind.FLOAT}, [])
    assert (len(table), list(table.columns), table["value"].kind) == (0, ["at", "value"], Kind.FLOAT)


def test_a_head_that_is_longer_is_the_table() -> None:
    at = datetime(2025, 10, 22, tzinfo=UTC)
    table = Table.of({"at": Kind.INSTANT, "value": Kind.FLOAT}, [(at, 1.0), (at, None)])
    assert table.head(2) is table
    assert [items_of(column) for column in table.head(1).columns.values()] == [[at], [1.0]]


def test_the_first_rows_keep_their_offsets() -> None:
    column = Column(Kind.INSTANT, np.arange(3), offsets=np.array([60, 60, 120]))
    head = Table({"timestamp": column}).head(2)["timestamp"].offsets
    assert head is not None
    assert head.tolist() == [60, 60]


@pytest.mark.parametrize("kind", list(Kind))
@given(data=st.data())
def test_joined_columns_hold_the_rows_of_all(kind: Kind, data: st.DataObject) -> None:
    parts = data.draw(st.lists(st.lists(st.none() | VALUES[kind], min_size=1), min_size=1))
    column = Column.joined([Column.of(kind, part) for part in parts])
    assert items_of(column) == [item for part in parts for item in part]
    assert len(set(column.texts)) == len(column.texts)


def test_joined_columns_keep_their_offsets() -> None:
    parts = [Column(Kind.INSTANT, np.zeros(1, np.int64), offsets=np.array([minutes])) for minutes in (60, -90)]
    offsets = Column.joined(parts).offsets
    assert offsets is not None
    assert offsets.tolist() == [60, -90]


def test_joined_tables_hold_a_text_once() -> None:
    tables = [Table({"sensor_id": Column.constant("sensor-1", rows)}) for rows in (2, 3)]
    joined = Table.joined(tables)["sensor_id"]
    assert (len(joined.values), joined.texts) == (5, ("sensor-1",))
