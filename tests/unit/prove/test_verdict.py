"""The proof's arithmetic, against sets."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from services.prove.verdict import Verdict, missing


def ranges(rows: set[int]) -> list[tuple[int, int]]:
    """Return rows as ranges in order, neighbours joined."""
    found: list[tuple[int, int]] = []
    for row in sorted(rows):
        if found and found[-1][1] == row:
            found[-1] = (found[-1][0], row + 1)
        else:
            found.append((row, row + 1))
    return found


ROWS = st.sets(st.integers(0, 60))


@given(wanted=ROWS, there=ROWS)
def test_what_is_missing_is_what_sets_say(wanted: set[int], there: set[int]) -> None:
    assert missing(ranges(wanted), ranges(there)) == len(wanted - there)


@given(batches=st.lists(st.integers(1, 9), max_size=20), there=st.sets(st.integers(0, 200)))
def test_ranges_that_touch_are_counted_apart(batches: list[int], there: set[int]) -> None:
    edges = [sum(batches[:number]) for number in range(len(batches) + 1)]
    wanted = list(itertools.pairwise(edges))
    assert missing(wanted, ranges(there)) == len(set(range(edges[-1])) - there)


def test_a_run_that_promised_nothing_proves_nothing() -> None:
    assert not Verdict(10, 0, 0, 0, 0, 0, 0).clean
    assert Verdict(10, 7, 10, 10, 3, 0, 0).clean
    assert not Verdict(10, 0, 10, 9, 0, 1, 0).clean
    assert not Verdict(10, 0, 10, 11, 0, 0, 1).clean
