"""The parts of a question's statement that rollups answer, and what is asked before of how far they are.

Rows of a rollup are grouped further where its buckets are shorter than the grid's: by a width where these are all of
one length, else by the edges themselves.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from services.contract.instants import instant_of, micros_of

from ..grid import Grid
from ..plan import Argument
from ..router import Coverage, Rollup, Segment, Span, common, route, without
from ..table import Column, Kind, Table
from .aggregates import partials_of

__all__ = ["COVERAGE", "Arguments", "date_bin", "needed", "rollup_part", "routes", "sources", "uniform", "with_tier"]

COVERAGE = """
select aggregate, behind + tier_deleted($4::text[], span) as behind, gone, kept
from (
  select tstzrange(
    greatest($2, timestamptz '0001-01-01Z'), least($3, timestamptz '9999-12-31 23:59:59.999999Z')
  ) as span
) as asked
cross join lateral rollup_coverage($1::int[], span)
"""

_CLIPS = {"min": "'-Infinity'::float8", "max": "'Infinity'::float8"}
"""What an average is held between; where a rollup lacks it, nothing is held."""

_MERGED = {"count": "sum({})::bigint", "sum": "sum({})", "min": "min({})", "max": "max({})"}
"""How partials of a rollup become those of more of its buckets, where SQL can do so without losing digits."""


class Arguments:
    """The arguments of a statement that is being written."""

    def __init__(self, *given: Argument) -> None:
        """Begin with those that the statement names by itself."""
        self.values: list[Argument] = list(given)

    def add(self, value: Argument) -> str:
        """Take one more, and return how the statement names it."""
        self.values.append(value)
        return f"${len(self.values)}"


def needed(aggregates: Sequence[str]) -> set[str]:
    """Return the partials without which a rollup cannot answer."""
    return set(partials_of(aggregates)) - (_CLIPS.keys() - set(aggregates))


def routes(
    start: datetime, end: datetime, rollups: Sequence[Rollup], found: Iterable[Sequence[Any]]
) -> tuple[list[Segment], list[Span]]:
    """Return the segments of a range and where in it the rows are gone, by the rows that `COVERAGE` found."""
    known = {row[0]: row[1:] for row in found}
    coverages = [
        Coverage(rollup, _spans(behind), None if kept is None else (micros_of(kept.lower), micros_of(kept.upper) + 1))
        for rollup in rollups
        if rollup.id in known
        for behind, _, kept in [known[rollup.id]]
    ]
    gone = _spans(next(iter(known.values()))[1]) if known else []
    return route(micros_of(start), micros_of(end), coverages, gone), gone


def _spans(ranges: Iterable[Any]) -> list[Span]:
    return [(micros_of(each.lower), micros_of(each.upper)) for each in ranges]


def rollup_part(rollup: Rollup, spans: Sequence[Span], grid: Grid, names: Sequence[str], into: Arguments) -> str:
    """Return the part of a statement that gives the partials of a rollup's buckets in spans, merged as far as can be.

    Its columns are those of a statement of partials: side, ordinal, grain, count and `names`.
    """
    terms = {name: rollup.terms.get(name, _CLIPS.get(name, "")) for name in ("count", *names)}
    bucket, sensor = rollup.terms["bucket"], rollup.terms["sensor_id"]
    low, high = into.add(instant_of(spans[0][0])), into.add(instant_of(spans[-1][1]))
    where = f"{sensor} = any($1::text[]) and {bucket} >= {low} and {bucket} < {high}"
    if len(spans) > 1:
        ranges = ",".join(f"[{instant_of(first).isoformat()},{instant_of(last).isoformat()})" for first, last in spans)
        where += f" and (select {into.add(f'{{{ranges}}}')}::text::tstzmultirange) @> {bucket}"
    group = ""
    grain = bucket
    if "squares" not in names and rollup.width != grid.grain:
        terms = {name: _MERGED[name].format(term) for name, term in terms.items()}
        group = f"group by {sensor}"
        inner = grid.edges[1:-1]
        if len(inner) == 0:
            grain = f"min({bucket})"
        elif uniform(grid):
            grain = date_bin(grid, bucket)
            group += f", {grain}"
        else:
            edges = tuple(instant_of(edge).isoformat() for edge in inner.tolist())
            group += f", width_bucket({bucket}, (select {into.add(edges)}::text[]::timestamptz[]))"
            grain = f"min({bucket})"
    columns = ", ".join(f"{term} as {name}" for name, term in terms.items())
    shown = ", ".join(f"grouped.{name}" for name in terms)
    return (
        f"select 0::bigint, asked.ordinal, grouped.grain, {shown}\n"  # noqa: S608 -- of names that SQL has quoted
        f"from (select {sensor} as sensor_id, {grain} as grain, {columns} from {rollup.name}\n"
        f"  where {where} {group}) as grouped\n"
        "join unnest($1::text[]) with ordinality as asked (sensor_id, ordinal) using (sensor_id)"
    )


def date_bin(grid: Grid, instant: str) -> str:
    """Return the SQL of the grain that an instant lies in.

    Its origin is the first one from 1970 on, whatever the range: who asks again later asks the same statement.
    """
    origin = instant_of(int(grid.edges[0]) % grid.grain).isoformat()
    return f"date_bin(interval '{grid.grain} microseconds', {instant}, timestamptz '{origin}')"


def uniform(grid: Grid) -> bool:
    """Tell whether all buckets are of one length."""
    return bool(np.all(np.diff(grid.edges) == grid.grain))


def sources(segments: Sequence[Segment], gone: Sequence[Span] = ()) -> Table:
    """Return what an answer was made of, a row a segment, and behind them where rows are gone that it lacks."""
    rows = [(segment.start, segment.end, segment.rollup.name if segment.rollup else "rows") for segment in segments]
    lacking = common([(segment.start, segment.end) for segment in segments], gone)
    starts, ends, names = zip(*rows, *((*span, None) for span in lacking), strict=True)
    return Table(
        {
            "start": Column(Kind.INSTANT, np.array(starts, np.int64)),
            "end": Column(Kind.INSTANT, np.array(ends, np.int64)),
            "from": Column.of(Kind.TEXT, names),
        }
    )


def with_tier(told: Table, tiered: Sequence[Span]) -> Table:
    """Return what `sources` told, with `tier` where readings came from there."""
    if not tiered:
        return told
    rows: list[tuple[int, int, str | None]] = []
    for start, end, name in zip(
        told["start"].values.tolist(), told["end"].values.tolist(), told["from"].items(), strict=True
    ):
        if name != "rows":
            rows.append((start, end, name))
            continue
        parts = [(*span, "tier") for span in common([(start, end)], tiered)]
        parts += [(*span, "rows") for span in without([(start, end)], tiered)]
        rows += sorted(parts)
    starts, ends, names = zip(*rows, strict=True)
    return Table(
        {
            "start": Column(Kind.INSTANT, np.array(starts, np.int64)),
            "end": Column(Kind.INSTANT, np.array(ends, np.int64)),
            "from": Column.of(Kind.TEXT, names),
        }
    )
