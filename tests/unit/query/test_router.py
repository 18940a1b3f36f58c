"""The router: every instant is answered once, from what may be trusted there, for random rollups and grids."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract.instants import micros_of
from services.query.grid import Grid, parse_bucket, whole
from services.query.router import Coverage, Rollup, Span, common, fitting, route, without

MINUTE = 60_000_000
TERMS = dict.fromkeys(("bucket", "sensor_id", "count", "sum"), "x")

INSTANTS = st.integers(0, 400)
SPANS = st.lists(st.tuples(INSTANTS, INSTANTS).filter(lambda span: span[0] < span[1]), max_size=4)


@st.composite
def coverages(draw: st.DrawFn, widths: tuple[int, ...] = (1, 3, 10, 25), origins: int = 30) -> list[Coverage]:
    drawn = draw(st.lists(st.sampled_from(widths), max_size=3, unique=True))
    return [
        Coverage(
            Rollup(width, f"r{width}", width, draw(st.integers(-origins, origins)), TERMS),
            draw(SPANS),
            draw(st.none() | SPANS.filter(bool).map(lambda spans: spans[0])),
        )
        for width in sorted(drawn, reverse=True)
    ]


def inside(spans: Sequence[Span], instant: int) -> bool:
    return any(low <= instant < high for low, high in spans)


@given(start=INSTANTS, length=st.integers(1, 300), known=coverages(), gone=SPANS)
def test_each_instant_has_one_segment_and_that_may_be_trusted(
    start: int, length: int, known: list[Coverage], gone: list[Span]
) -> None:
    end = start + length
    segments = route(start, end, known, gone)
    assert [segment.start for segment in segments] == [start, *(segment.end for segment in segments[:-1])]
    assert segments[-1].end == end
    assert all(low.rollup is not high.rollup for low, high in pairwise(segments))
    for segment in segments:
        rollup = segment.rollup
        if rollup is None:
            continue
        (coverage,) = (each for each in known if each.rollup is rollup)
        assert (segment.start - rollup.origin) % rollup.width == (segment.end - rollup.origin) % rollup.width == 0
        for instant in range(segment.start, segment.end):
            # What it is behind with is taken only where nothing else is left.
            assert not inside(coverage.behind, instant) or (inside(gone, instant) and coverage.kept)


@given(start=INSTANTS, length=st.integers(1, 300), known=coverages((1, 5, 25), origins=0), gone=SPANS)
def test_what_is_gone_is_answered_by_whoever_has_it(
    start: int, length: int, known: list[Coverage], gone: list[Span]
) -> None:
    for segment in route(start, start + length, known, gone):
        for instant in range(segment.start, segment.end) if segment.rollup is None else []:
            for coverage in known if inside(gone, instant) else []:
                low, high = coverage.rollup.around((instant, instant + 1))
                whole_here = start <= low and high <= start + length
                right = all(last <= low or first >= high for first, last in coverage.behind)
                assert not (whole_here and right)


@given(SPANS, SPANS)
def test_spans_are_sets_of_instants(left: list[Span], right: list[Span]) -> None:
    every = range(401)
    assert [instant for instant in every if inside(without(left, right), instant)] == [
        instant for instant in every if inside(left, instant) and not inside(right, instant)
    ]
    assert [instant for instant in every if inside(common(left, right), instant)] == [
        instant for instant in every if inside(left, instant) and inside(right, instant)
    ]


def grid(bucket: str, zone: str, start: str, end: str) -> Grid:
    low, high = (micros_of(datetime.fromisoformat(text).replace(tzinfo=UTC)) for text in (start, end))
    return Grid.over(low, high, parse_bucket(bucket), ZoneInfo(zone))


@pytest.mark.parametrize(
    ("bucket", "zone", "fit"),
    [
        ("1h", "UTC", [60, 15]),
        ("1d", "Europe/Berlin", [60, 15]),
        ("1h", "Asia/Kathmandu", [15]),
        ("1d", "Asia/Kathmandu", [15]),
        ("1mo", "Australia/Lord_Howe", [15]),
        ("15m", "UTC", [15]),
        ("20m", "UTC", []),
        ("250ms", "UTC", []),
    ],
)
def test_a_rollup_fits_where_no_edge_cuts_its_buckets(bucket: str, zone: str, fit: list[int]) -> None:
    origin = micros_of(datetime(2000, 1, 3, tzinfo=UTC))
    rollups = [Rollup(width, str(width), width * MINUTE, origin, TERMS) for width in (15, 60, 24 * 60)]
    laid = grid(bucket, zone, "2024-03-30T00:00", "2024-04-09T00:00" if bucket != "1mo" else "2024-12-01T00:00")
    assert [rollup.id for rollup in fitting(rollups, laid, {"sum"})] == fit
    assert fitting(rollups, laid, {"sum", "squares"}) == []


def test_one_value_over_a_range_cuts_no_bucket_inside() -> None:
    rollup = Rollup(1, "r", 15 * MINUTE, 0, TERMS)
    assert fitting([rollup], whole(MINUTE, 1000 * MINUTE), {"sum"}) == [rollup]
    parts = route(MINUTE, 1000 * MINUTE, [Coverage(rollup, [])], [])
    assert [(part.start // MINUTE, part.end // MINUTE, part.rollup) for part in parts] == [
        (1, 15, None), (15, 990, rollup), (990, 1000, None)
    ]  # fmt: skip
