import dataclasses
import functools
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.linger import Arrivals, Bounds, Hand, wait_for_more

BOUNDS = Bounds(longest=0.2, entries=512, rows=50_000)
SECONDS = st.floats(0, 1e6)
FLOOD = Arrivals(at=1000.0, entries=100.0, rows=5000.0)

ENTRIES = st.integers(1, 1000)
HANDS = st.builds(Hand, SECONDS, ENTRIES, st.integers(0, 200_000), st.integers(0, 1 << 26), awaited=st.booleans())
ARRIVALS = st.builds(Arrivals, SECONDS, *[st.floats(0, 1e6)] * 3)
LIMITS = st.builds(Bounds, st.floats(0, 1), st.integers(1, 1000), st.integers(1, 100_000))

GAPS = st.lists(st.floats(0.001, 0.5), min_size=1, max_size=50)


def small(since: float = 1000.0) -> Hand:
    return Hand(since, entries=2, rows=20, size=400, awaited=False)


def after(gaps: list[float], rows: int, awaited: int = 0) -> Arrivals:
    """Return the arrivals of entries of so many rows each, one behind the other."""
    times = itertools.accumulate(gaps, initial=1000.0)
    return functools.reduce(lambda found, at: found.followed_by(at, 1, rows, awaited), times, Arrivals())


@given(HANDS, ARRIVALS, SECONDS, LIMITS)
def test_nothing_waits_beyond_the_longest_wait_of_its_first_entry(
    hand: Hand, arrivals: Arrivals, now: float, bounds: Bounds
) -> None:
    assert 0 <= wait_for_more(hand, arrivals, now, bounds) <= max(0.0, hand.since + bounds.longest - now)


@given(st.floats(0.025, 1))
def test_behind_the_end_of_a_flood_nothing_waits_for_what_no_longer_comes(silence: float) -> None:
    # Four hundred entries a second came.
    assert wait_for_more(small(since=FLOOD.at + silence), FLOOD, FLOOD.at + silence, BOUNDS) == 0


@given(st.floats(0, 0.5))
def test_a_flood_of_small_entries_waits_until_the_first_of_them_has_waited_for_the_longest_wait(age: float) -> None:
    found = wait_for_more(small(since=1000.0 - age), FLOOD, 1000.0, BOUNDS)
    assert found == pytest.approx(max(0.0, BOUNDS.longest - age))


@given(HANDS, SECONDS)
def test_what_somebody_waits_for_is_written_at_once(hand: Hand, now: float) -> None:
    assert wait_for_more(dataclasses.replace(hand, awaited=True), FLOOD, now, BOUNDS) == 0


@given(HANDS, st.sampled_from([("entries", BOUNDS.entries), ("rows", BOUNDS.rows), ("size", 1 << 24)]))
def test_a_full_hand_is_written_at_once(hand: Hand, full: tuple[str, int]) -> None:
    changed: dict[str, Any] = dict([full])
    assert wait_for_more(dataclasses.replace(hand, **changed), FLOOD, hand.since, BOUNDS) == 0


@given(GAPS)
def test_a_client_that_sends_one_reading_after_the_other_never_waits(gaps: list[float]) -> None:
    arrivals = after([gap + 0.004 for gap in gaps], rows=1)
    assert wait_for_more(small(arrivals.at), arrivals, arrivals.at, BOUNDS) == 0


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=50), st.integers(1, 100_000))
def test_few_entries_never_wait_however_large_they_are(gaps: list[float], rows: int) -> None:
    arrivals = after(gaps, rows)
    assert wait_for_more(small(arrivals.at), arrivals, arrivals.at, BOUNDS) == 0


@given(st.integers(50, 5000), st.integers(100, 10_000))
def test_a_steady_stream_of_many_rows_waits_from_its_first_half_second_on(rate: int, rows: int) -> None:
    arrivals = after([1 / rate] * (rate // 2), rows)
    assert wait_for_more(small(arrivals.at), arrivals, arrivals.at, BOUNDS) == pytest.approx(BOUNDS.longest)


@given(st.integers(300, 2000))
def test_a_steady_stream_of_single_readings_waits_the_less_the_fewer_there_are(rate: int) -> None:
    few, many = (after([1 / often] * rate, rows=1) for often in (rate, 1.2 * rate))
    waits = [wait_for_more(small(found.at), found, found.at, BOUNDS) for found in (few, many)]
    assert 0 < waits[0] < waits[1] < BOUNDS.longest


@given(st.floats(20, 1000), st.floats(1, 1000), st.floats(0.125, 10))
def test_a_lone_reading_soon_behind_a_flood_never_waits(entries: float, rows: float, silence: float) -> None:
    # Entries weigh what came in a quarter of a second: from 80 a second on, ten are missed in 125 ms at the most.
    arrivals = Arrivals(1000.0, entries, entries * rows).followed_by(1000.0 + silence, 1, 1, 0)
    assert wait_for_more(small(arrivals.at), arrivals, arrivals.at, BOUNDS) == 0


@given(st.integers(5, 1000))
def test_where_somebody_waits_again_and_again_the_others_do_not_wait_either(rate: int) -> None:
    some = after([1 / rate] * rate, rows=10, awaited=1)
    flood = some.followed_by(some.at, 100, 5000, 0)
    assert wait_for_more(small(flood.at), flood, flood.at, BOUNDS) == 0


@given(st.lists(st.tuples(st.floats(0, 0.05), st.integers(1, 50), st.integers(0, 5000)), max_size=100))
def test_a_hand_that_grows_is_written_within_the_longest_wait_and_at_the_latest_one_look_behind_full(
    looks: list[tuple[float, int, int]],
) -> None:
    hand, arrivals, now = small(), FLOOD, 1000.0
    for gap, entries, rows in looks:
        seconds = wait_for_more(hand, arrivals, now, BOUNDS)
        if not seconds:
            break
        now += min(seconds, gap, 0.02)
        assert now <= hand.since + BOUNDS.longest + 1e-9
        assert hand.entries < BOUNDS.entries
        assert hand.rows < BOUNDS.rows
        hand = dataclasses.replace(hand, entries=hand.entries + entries, rows=hand.rows + rows)
        arrivals = arrivals.followed_by(now, entries, rows, 0)
