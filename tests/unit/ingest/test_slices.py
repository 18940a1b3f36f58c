"""Slices: what comes again has the keys that it had, whatever comes beside it, and nothing else has."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.contract import Columns
from services.ingest.limits.window import Limits
from services.ingest.readings import Decoded, check
from services.ingest.slices import by_instant, by_reading, whole

IDS = ["a", "b", "c#1", "é"]
ROWS = st.tuples(st.integers(0, 3), st.integers(0, 4), st.sampled_from([0.0, -0.0, 1.5, 2.0]))
Row = tuple[int, int, float]


def decoded(rows: list[Row], ids: list[str] = IDS) -> Decoded:
    """Eight rows for each that is named, as Telegraf's batches have many of one instant."""
    many = [(code, time, value + copy) for code, time, value in rows for copy in range(8)]
    codes, times, values = zip(*many, strict=True)
    order = [ids.index(IDS[code]) for code in codes]
    columns = Columns(ids, np.array(order, np.uint32), np.array(times, np.int64), np.array(values, np.float64))
    return Decoded(columns, np.arange(len(many)))


def content(found: Decoded) -> tuple[bytes, ...]:
    columns = found.columns()
    return columns.index.tobytes(), columns.timestamps.tobytes(), columns.values.tobytes()


def keys(found: Decoded) -> list[bytes]:
    return [one.key for one in found.slices]


@given(st.lists(ROWS, min_size=1, max_size=12), st.permutations(IDS))
def test_slices_are_the_rows_of_one_instant_in_their_order(rows: list[Row], ids: list[str]) -> None:
    sent = decoded(rows, ids)
    found = by_instant(sent, "ann")
    columns = found.columns()
    assert found.positions is not None
    assert columns.timestamps.tolist() == sorted(sent.columns().timestamps.tolist())
    assert sent.columns().values[found.positions].tolist() == columns.values.tolist()
    assert [one.rows for one in found.slices] == [
        len(list(group)) for _, group in itertools.groupby(columns.timestamps.tolist())
    ]
    assert keys(found) == keys(by_instant(decoded(rows), "ann"))
    assert not set(keys(found)) & set(keys(by_instant(sent, "bob")))


@given(st.lists(ROWS, min_size=1, max_size=6), st.lists(ROWS, max_size=6))
def test_what_comes_again_beside_newer_readings_has_its_keys(rows: list[Row], newer: list[Row]) -> None:
    later = [(code, time + 100, value) for code, time, value in newer]
    first, again = by_instant(decoded(rows), "ann"), by_instant(decoded(rows + later), "ann")
    assert keys(again)[: len(first.slices)] == keys(first)


@given(st.lists(ROWS, min_size=1, max_size=6), st.lists(ROWS, min_size=1, max_size=6))
def test_other_readings_have_other_keys(one: list[Row], other: list[Row]) -> None:
    same = content(decoded(one)) == content(decoded(other))
    assert (keys(whole(decoded(one), "ann")) == keys(whole(decoded(other), "ann"))) == same


def test_slices_of_few_rows_are_one() -> None:
    columns = Columns(["a"], np.zeros(9, np.uint32), np.arange(9), np.zeros(9))
    assert [one.rows for one in by_instant(Decoded(columns), "ann").slices] == [9]


@given(st.lists(ROWS, min_size=1, max_size=8), st.integers(0, 5))
def test_a_slice_keeps_its_key_and_loses_its_bad_rows(rows: list[Row], oldest: int) -> None:
    found = by_instant(decoded(rows), "ann")
    if not any(time >= oldest for _, time, _ in rows):
        return
    checked = check(found, Limits(oldest, 100), partial=True)
    assert sum(one.rows for one in checked.slices) == len(checked.columns)
    kept = {one.key for one in checked.slices}
    times = sorted({time for _, time, _ in rows})
    if len(found.slices) == len(times):
        assert [one.key in kept for one in found.slices] == [time >= oldest for time in times]


@given(st.lists(ROWS, min_size=1, max_size=6), st.lists(ROWS, max_size=6), st.permutations(IDS))
def test_a_reading_has_its_key_whatever_it_comes_with(rows: list[Row], others: list[Row], ids: list[str]) -> None:
    alone, beside = by_reading(decoded(rows), "ann"), by_reading(decoded(others + rows, ids), "ann")
    assert keys(beside)[8 * len(others) :] == keys(alone)
    assert [one.rows for one in beside.slices] == [1] * len(beside)
    distinct = {(code, time, repr(value + copy)) for code, time, value in rows for copy in range(8)}
    assert len(set(keys(alone))) == len(distinct)
