"""Laws of merging late notes."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.database.repair.late_ranges import HOUR, Note, merged

START = datetime(2025, 10, 22, tzinfo=UTC)

_spans = st.tuples(st.integers(-100 * 60, 100 * 60), st.integers(1, 5 * 60))
_notes = st.lists(_spans, max_size=40).map(
    lambda spans: [
        Note(number, START + timedelta(minutes=begin), START + timedelta(minutes=begin + length))
        for number, (begin, length) in enumerate(spans)
    ]
)


def hours(start: datetime, end: datetime) -> set[int]:
    first = (start - START) // HOUR
    return set(range(first, first + -(-(end - (START + first * HOUR)) // HOUR)))


@given(_notes)
def test_ranges_cover_exactly_the_hours_that_the_notes_touch(notes: list[Note]) -> None:
    touched = {hour for note in notes for hour in hours(note.start, note.end)}
    covered = [hour for late in merged(notes) for hour in hours(late.start, late.end)]
    assert len(covered) == len(set(covered))
    assert set(covered) == touched


@given(_notes)
def test_ranges_are_whole_hours_in_order_and_never_meet(notes: list[Note]) -> None:
    ranges = merged(notes)
    for late in ranges:
        assert late.start < late.end
        assert (late.start - START) % HOUR == (late.end - START) % HOUR == timedelta()
    assert all(one.end < other.start for one, other in pairwise(ranges))


@given(_notes)
def test_every_note_is_in_the_one_range_that_holds_it(notes: list[Note]) -> None:
    ranges = merged(notes)
    assert sorted(number for late in ranges for number in late.notes) == [note.id for note in notes]
    by_id = {note.id: note for note in notes}
    for late in ranges:
        assert all(late.start <= by_id[n].start and by_id[n].end <= late.end for n in late.notes)


@given(_notes, st.randoms())
def test_the_order_of_the_notes_does_not_matter(notes: list[Note], random: object) -> None:
    shuffled = list(notes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert [(late.start, late.end) for late in merged(shuffled)] == [(late.start, late.end) for late in merged(notes)]
