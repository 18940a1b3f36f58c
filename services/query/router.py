"""The router: which part of a range is answered from which rollup, and which from the rows.

A rollup is a continuous aggregate over the readings, or a table that the repair loop keeps like one, whose columns are
partials, each of which a larger one can be made from. Its buckets are taken where the grid's edges do not cut them,
where it has been computed since its rows changed, and where it is all that is left, as the rows are gone. Instants are
microseconds since 1970-01-01 UTC, a span is a half-open pair of them, and spans are in order, without one that touches
another.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .grid import Grid

__all__ = ["Coverage", "Rollup", "Segment", "Span", "common", "fitting", "route", "without"]

Span = tuple[int, int]
Spans = Sequence[Span]

_WORTH = 4
"""Buckets from which a stretch of a rollup is worth a part of the statement; of fewer, the rows are read as soon."""


@dataclass(frozen=True, slots=True, eq=False)
class Rollup:
    """A rollup as it was last seen.

    Attributes:
        id: TimescaleDB's number of it, or ours.
        name: of its view or table, as SQL quotes it and as answers tell it.
        width: of its buckets.
        origin: where one of them begins.
        terms: SQL over its columns: `bucket`, `sensor_id`, `count`, and each partial that it has.
    """

    id: int
    name: str
    width: int
    origin: int
    terms: Mapping[str, str]

    def inside(self, span: Span) -> Span:
        """Return from the first to the last whole bucket in a span; where there is none, the end is not behind."""
        return self._up(span[0]), self._down(span[1])

    def buckets(self, span: Span) -> int:
        """Return how many whole buckets lie in a span."""
        low, high = self.inside(span)
        return max((high - low) // self.width, 0)

    def around(self, span: Span) -> Span:
        """Return all buckets that a span touches."""
        return self._down(span[0]), self._up(span[1])

    def _down(self, instant: int) -> int:
        return instant - (instant - self.origin) % self.width

    def _up(self, instant: int) -> int:
        return instant + (self.origin - instant) % self.width


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """How far a rollup may be trusted.

    Attributes:
        rollup: which one.
        behind: spans that it has not computed since their rows changed, or never.
        kept: from its first to behind its last bucket where it is behind and the rows are gone; None for nowhere.
    """

    rollup: Rollup
    behind: Spans
    kept: Span | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A part of a range, and the rollup that it is answered from; None for the rows."""

    start: int
    end: int
    rollup: Rollup | None


def fitting(rollups: Iterable[Rollup], grid: Grid, needed: Collection[str]) -> list[Rollup]:
    """Return the rollups that have the partials needed and none of whose buckets is cut by an edge inside a grid.

    The widest come first, as they have the fewest rows.
    """
    found = [rollup for rollup in rollups if rollup.terms.keys() >= set(needed) and _divides(rollup, grid)]
    return sorted(found, key=lambda rollup: (-rollup.width, rollup.name))


def _divides(rollup: Rollup, grid: Grid) -> bool:
    inner = grid.edges[1:-1]
    # A first bucket that is cut is longer than what lies in the range; the edges behind it are what counts.
    return not len(inner) or bool(np.all((inner - rollup.origin) % rollup.width == 0))


def route(start: int, end: int, coverages: Iterable[Coverage], gone: Spans) -> list[Segment]:
    """Return the segments that make up `start <= instant < end`, in order.

    Args:
        start: first instant of the range.
        end: first instant behind it.
        coverages: of rollups that fit the grid, the first that covers a part taken for it.
        gone: where the rows are gone.
    """
    known = list(coverages)
    free: list[Span] = [(start, end)]
    segments: list[Segment] = []

    def take(rollup: Rollup, spans: Spans, least: int) -> None:
        nonlocal free
        whole = [rollup.inside(span) for span in spans]
        taken = [
            span
            for span in whole
            if span[1] - span[0] >= (rollup.width if common([span], gone) else least * rollup.width)
        ]
        segments.extend(Segment(*span, rollup) for span in taken)
        free = without(free, taken)

    for coverage in known:
        behind = _joined(coverage.rollup.around(span) for span in coverage.behind)
        take(coverage.rollup, without(free, behind), _WORTH)
    # What is behind and has lost its rows is all that there is, as far as the rollup goes back.
    for coverage in known:
        if coverage.kept:
            take(coverage.rollup, common(common(free, gone), [coverage.rollup.around(coverage.kept)]), 1)
    segments.extend(Segment(*span, None) for span in free)
    joined: list[Segment] = []
    for segment in sorted(segments, key=lambda segment: segment.start):
        # What a rollup keeps may touch what it is trusted for.
        before = joined.pop() if joined and joined[-1].rollup is segment.rollup else None
        joined.append(replace(segment, start=before.start) if before else segment)
    return joined


def _joined(spans: Iterable[Span]) -> list[Span]:
    found: list[Span] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return found


def without(spans: Spans, others: Spans) -> list[Span]:
    """Return what of spans lies in none of others; both may come in any order."""
    found: list[Span] = []
    taken = _joined(others)
    for low, high in _joined(spans):
        begin = low
        for first, last in taken:
            if first < high and last > begin:
                if first > begin:
                    found.append((begin, first))
                begin = last
        if begin < high:
            found.append((begin, high))
    return found


def common(spans: Spans, others: Spans) -> list[Span]:
    """Return what lies in both."""
    pairs = [(max(low, first), min(high, last)) for low, high in spans for first, last in others]
    return _joined(pair for pair in pairs if pair[0] < pair[1])
