"""Which partitions are made and dropped: side by side, reaching ahead, and nothing young is dropped."""

from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.database.partitions.plan import (
    AHEAD,
    MOST_EARLIER,
    ORIGIN,
    Partition,
    earlier,
    expired,
    later,
    named,
)

instants = st.timedeltas(timedelta(days=-3650), timedelta(days=36500)).map(lambda away: ORIGIN + away)
widths = st.integers(1, 24 * 40).map(lambda hours: timedelta(hours=hours))
years = st.timedeltas(timedelta(0), timedelta(days=366))


def side_by_side(partitions: tuple[Partition, ...]) -> bool:
    return all(one.high == other.low for one, other in pairwise(partitions)) and all(
        one.low < one.high for one in partitions
    )


@given(instants, widths, st.timedeltas(timedelta(days=-60), timedelta(days=60)), st.none() | years)
def test_later_partitions_follow_the_last_one_and_hold_all_that_is_behind_it(
    end: datetime, width: timedelta, since: timedelta, newest: timedelta | None
) -> None:
    now = end + since
    held = None if newest is None else end + newest
    pieces = later(end, width, now, held)
    if end >= now + max(AHEAD, 2 * width) + width:
        assert not pieces.all
    if not pieces.all:
        assert end >= now + AHEAD
        return
    assert side_by_side(pieces.all)
    assert pieces.all[0].low == end
    assert pieces.all[-1].high >= now + max(AHEAD, 2 * width)
    assert (pieces.taken is None) == (held is None)
    if pieces.taken and held:
        assert pieces.taken.low <= held < pieces.taken.high
    assert all((piece.high - ORIGIN) % width == timedelta(0) for piece in pieces.all)
    assert all(piece.high - piece.low <= width for piece in pieces.made)
    assert len({piece.name for piece in pieces.all}) == len(pieces.all)
    # Who looks again finds nothing to do.
    assert not later(pieces.all[-1].high, width, now, None).all


@given(instants, widths, st.timedeltas(timedelta(days=-20), timedelta(days=365_000 // 2)))
def test_earlier_partitions_lie_before_the_first_one_and_reach_no_further_than_is_kept(
    start: datetime, width: timedelta, age: timedelta
) -> None:
    since = start - age
    pieces = earlier(start, width, since)
    if age <= timedelta(0):
        assert len(pieces) <= 1
    if pieces:
        assert side_by_side(pieces)
        assert pieces[-1].high == start
        assert pieces[0].low > since - width
        assert len(pieces) <= MOST_EARLIER + 1


@given(instants, widths, st.integers(0, 20), instants)
def test_what_is_dropped_is_old_as_a_whole(low: datetime, width: timedelta, count: int, until: datetime) -> None:
    edges = [low + place * width for place in range(count + 1)]
    partitions = [Partition(named(one), one, other) for one, other in pairwise(edges)]
    old = expired(partitions, until)
    assert list(old) == partitions[: len(old)]
    assert all(partition.high <= until for partition in old)
    assert all(partition.high > until for partition in partitions[len(old) :])
