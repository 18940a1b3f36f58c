"""The statement of a question: readings in their order, or partials grouped by a fixed grain that divides all buckets.

The grain and its origin are literals: a width that is a parameter would switch vectorised aggregation off.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

import numpy as np

from services.contract.instants import instant_of, micros_of

from ..grid import zoned
from ..plan import Argument, Plan, Question, RoutedPlan, readings
from ..reads import Grouped, Reads
from ..router import Rollup, Segment, Span, fitting
from ..table import Column, Kind, Table
from .aggregates import GROUPED, partials_of, percentiles_of
from .groups import Groups
from .ordered import Bands, in_order, ordered, outside_of_groups, percentiles, reads_outside, sides_of
from .question import SeriesQuestion
from .routed import COVERAGE, Arguments, date_bin, needed, rollup_part, routes, sources

__all__ = ["is_long", "plan"]

_FEW = 10_000
"""Partials that are fetched at once; they cost more to find than to fetch."""

_LONG = 10_000
"""Buckets whose edges take longer to write into a statement than another thread takes to begin."""

_PAGES = (11, 101, 501)
"""Rows that small pages are limited to, each text being planned anew; larger ones come by COPY."""

# The bounds of all years, as asyncpg sends the first and last instant of Python as infinities.
_ABOVE = "timestamp >= greatest({}, timestamptz '0001-01-01Z')"
_BELOW = "timestamp < least({}, timestamptz '9999-12-31 23:59:59.999999Z')"
_ABOVE_START, _BELOW_END = _ABOVE.format("$2"), _BELOW.format("$3")

_SENSORS = "unnest($1::text[]) with ordinality as asked (sensor_id, ordinal)"

# The order of the sensors is that of the outer side, so each sensor's readings are sorted and sent by themselves.
_READINGS = f"""
select asked.ordinal, found.timestamp, found.value
from (select sensor_id, ordinal from {_SENSORS} order by ordinal) as asked
cross join lateral (
  select timestamp, id, value
  from sensor_data
  where sensor_id = asked.sensor_id and {_ABOVE_START} and {_BELOW_END}
) as found
order by asked.ordinal, found.timestamp, found.id
"""  # noqa: S608 -- of constants

_AGGREGATED = {
    "sum": "sum(value)",
    "min": "min(value)",
    "max": "max(value)",
    "first": "min(timestamp)",
    "last": "max(timestamp)",
    "squares": "var_pop(value) * count(*)",
}
"""What is grouped for each partial; of `first` and `last` the instant, as of several readings there the id decides."""

_NEAREST = {"first": "id", "last": "id desc"}

_ALONE = {"squares": "0::double precision"}
"""The partials of one reading, where they are not its value."""


def plan(
    question: SeriesQuestion, groups: Groups, rollups: Sequence[Rollup] = (), *, spread: bool = False
) -> Plan | RoutedPlan:
    """Return the plan of a question's readings, or of what its buckets are merged from.

    Args:
        question: what is asked.
        groups: which of its sensors are aggregated together.
        rollups: those that are known; what of them is taken is decided by how far they are.
        spread: whether the readings lie on several nodes.
    """
    grid, start, end = question.grid, question.start, question.end
    if grid is None:
        form = question.form
        if form.points is not None and form.downsample != "lttb":
            return _in_any_order(question)
        return _page(question, spread=spread) if form.descending or form.limit or form.after else _readings(question)
    if in_order(question, groups, spread=spread):
        return ordered(question, groups, spread=spread)
    rows = _partials(question, groups, [Segment(*_span(question), None)], spread=spread)
    # Of a rollup without a whole bucket in the range nothing is taken, even where rows are gone.
    fit = [
        rollup for rollup in fitting(rollups, grid, needed(question.aggregates)) if rollup.buckets(_span(question)) > 0
    ]
    if not fit:
        return rows
    ids = tuple(rollup.id for rollup in fit)
    return RoutedPlan(
        COVERAGE,
        (ids, start, end, question.sensors),
        lambda found: _partials(question, groups, *routes(start, end, fit, found), spread=spread),
        rows,
        long=is_long(question),
    )


def is_long(question: SeriesQuestion) -> bool:
    """Tell whether making a question's plan takes so long that it is done apart from the loop."""
    return question.grid is not None and len(question.grid) > _LONG


def _readings(question: SeriesQuestion) -> Plan:
    """Return the plan of readings in the order of sensor, timestamp and id."""

    def shown(sensor: Column, table: Table) -> Table:
        timestamp = zoned(table["timestamp"].values, question.zone)
        return Table({"sensor_id": sensor, "timestamp": timestamp, "value": table["value"]})

    if len(question.sensors) == 1:
        # The index alone gives the order of one sensor.
        one = readings(Question(question.sensors[0], question.start, question.end))
        return replace(one, finish=lambda table: shown(one.finish(table)["sensor_id"], table))

    def finish(table: Table) -> Table:
        return shown(Column(Kind.TEXT, table["ordinal"].values - 1, None, question.sensors), table)

    kinds = {"ordinal": Kind.INTEGER, "timestamp": Kind.INSTANT, "value": Kind.FLOAT}
    reads = (Reads(question.sensors, question.start, question.end),)
    return Plan(_READINGS, (question.sensors, question.start, question.end), kinds, few=501, finish=finish, reads=reads)


def _in_any_order(question: SeriesQuestion) -> Plan:
    """Return the plan of readings with their ids, sensor by sensor, those of a sensor as they are found."""
    statement, sensors = _found(question, f"{_ABOVE_START} and {_BELOW_END}")
    if len(question.sensors) > 1:
        statement = f"{statement}\norder by asked.ordinal"
    return Plan(
        statement,
        (sensors, question.start, question.end),
        _columns(question),
        few=501,
        finish=partial(_identified, question),
        # Several sensors come one after the other.
        divisible=len(question.sensors) == 1,
        sliceable=len(question.sensors) == 1,
        reads=(Reads(question.sensors, question.start, question.end),),
    )


def _found(question: SeriesQuestion, where: str, each: str = "") -> tuple[str, Argument]:
    """Return the statement of `_columns` without an order, and its first argument, the sensors.

    Args:
        question: whose sensors they are.
        where: the condition of a reading; several sensors are `asked`, by their ordinals.
        each: stands behind the condition for each of several sensors.
    """
    if len(question.sensors) == 1:
        # An element of an array is no condition that the columnstore knows: it would unpack every sensor of a chunk.
        statement = (
            "select id, timestamp, value from sensor_data\n"  # noqa: S608 -- of constants
            f"where sensor_id = $1 and {where}"
        )
        return statement, question.sensors[0]
    statement = (
        "select asked.ordinal, found.id, found.timestamp, found.value\n"  # noqa: S608 -- of constants
        f"from (select sensor_id, ordinal from {_SENSORS} order by ordinal) as asked\n"
        "cross join lateral (\n"
        "  select timestamp, id, value from sensor_data\n"
        f"  where sensor_id = asked.sensor_id and {where}{each}\n"
        ") as found"
    )
    return statement, question.sensors


def _columns(question: SeriesQuestion) -> dict[str, Kind]:
    """Return the columns of readings with ids; an ordinal, where one sensor is asked, would be a quarter of all."""
    found = {"id": Kind.INTEGER, "timestamp": Kind.INSTANT, "value": Kind.FLOAT}
    return found if len(question.sensors) == 1 else {"ordinal": Kind.INTEGER, **found}


def _identified(question: SeriesQuestion, table: Table) -> Table:
    """Return rows of `_columns` with their sensors in place of their ordinals."""
    places = np.zeros(len(table), np.int64) if len(question.sensors) == 1 else table["ordinal"].values - 1
    sensor = Column(Kind.TEXT, places, None, question.sensors)
    timestamp = zoned(table["timestamp"].values, question.zone)
    return Table({"sensor_id": sensor, "timestamp": timestamp, "value": table["value"], "id": table["id"]})


def _page(question: SeriesQuestion, *, spread: bool) -> Plan:
    """Return the plan of a page of readings, or of all of them with the newest of each sensor first."""
    form = question.form
    after, rows = form.after, None if form.limit is None else form.limit + 1
    direction, beyond, never = ("desc", "<", "infinity") if form.descending else ("asc", ">", "-infinity")
    found = [_ABOVE_START, _BELOW_END]
    alone = len(question.sensors) == 1
    place_before: tuple[()] | tuple[datetime, int] = ()
    if after and question.sensors[:1] == (after.sensor,):
        place_before = (instant_of(after.timestamp), after.id)
        # Where the page before ended. The first condition is one that an index knows.
        place = "$4" if alone else f"case when asked.ordinal = 1 then $4 else timestamptz '{never}' end"
        others = "" if alone else "asked.ordinal > 1 or "
        found += [f"timestamp {beyond}= {place}", f"({others}timestamp {beyond} $4 or id {beyond} $5)"]
    order = f"timestamp {direction}, id {direction}"
    # Each sensor is limited by itself, so that the index gives no more of it than the page may hold. Citus limits what
    # each node gives, and takes no such limit.
    each = (
        "" if rows is None or spread else f"\n  order by {order} limit {next((n for n in _PAGES if n >= rows), rows)}"
    )
    statement, sensors = _found(question, " and ".join(found), each)
    # The index gives the order of one sensor.
    order = order if alone else f"asked.ordinal, found.timestamp {direction}, found.id {direction}"
    return Plan(
        f"{statement}\norder by {order}",
        (sensors, question.start, question.end, *place_before),
        _columns(question),
        few=501,
        limit=rows,
        finish=partial(_identified, question),
        reads=(
            Reads(
                question.sensors,
                question.start,
                question.end,
                limit=rows,
                descending=form.descending,
                behind=place_before or None,
            ),
        ),
    )


def _partials(
    question: SeriesQuestion,
    groups: Groups,
    segments: Sequence[Segment],
    gone: Sequence[Span] = (),
    *,
    spread: bool = False,
) -> Plan:
    """Return the plan of partials, those outside that a fill needs, and percentiles.

    Args:
        question: what is asked.
        groups: which of its sensors are aggregated together.
        segments: what each part of its range is answered from.
        gone: where in the range the rows are gone.
        spread: whether the readings lie on several nodes.
    """
    grid = question.grid
    assert grid is not None  # noqa: S101 -- narrows for the type checker
    names = tuple(name for name in partials_of(question.aggregates) if name in GROUPED)
    shares = percentiles_of(question.aggregates)
    # Behind the partials, where there are any, stand the values of percentiles.
    named = ["value"] if shares else []
    whole = [(segment.start, segment.end, segment.rollup) for segment in segments] == [(*_span(question), None)]
    # What nothing names would have no type: a fill names the start, and one that looks behind the range its end.
    ends = (question.start, question.end)[: 2 if whole else len(sides_of(question))]
    arguments = Arguments(question.sensors, *ends)
    parts: list[str] = []
    rows = 0
    for rollup in dict.fromkeys(segment.rollup for segment in segments):
        spans = [(segment.start, segment.end) for segment in segments if segment.rollup is rollup]
        grain = grid.grain if rollup is None else rollup.width
        rows += len(question.sensors) * sum(-(-(high - low) // grain) + 1 for low, high in spans)
        parts.append(
            _rows_part(question, spans, names, named, arguments)
            if rollup is None
            else rollup_part(rollup, spans, grid, names, arguments)
        )
    bands = Bands(groups, arguments, spread=spread)
    alone = [_ALONE.get(name, "found.value") for name in names]
    outside = outside_of_groups(question, bands, ", ".join(["1::bigint", *alone, *(["found.value"] * len(named))]))
    nothing = ["0::bigint", *("0::double precision" for _ in names)]
    raw = [(segment.start, segment.end) for segment in segments if segment.rollup is None]
    # Of the first reading of two the instant is needed, and not only that of its bucket.
    grouped = None if shares or set(names) & set(_NEAREST) else Grouped(grid.edges, names)
    reads = [Reads(question.sensors, instant_of(low), instant_of(high), grouped=grouped) for low, high in raw]
    if shares:
        reads = [Reads(question.sensors, question.start, question.end)]
    parts += outside + percentiles(question, bands, ", ".join([*nothing, "found.value"]))
    rows += len(question.sensors) * (len(outside) + len(grid) * len(shares))
    kinds = {"side": Kind.INTEGER, "ordinal": Kind.INTEGER, "grain": Kind.INSTANT, "count": Kind.INTEGER}
    return Plan(
        "\nunion all\n".join(parts),
        tuple(arguments.values),
        kinds | dict.fromkeys((*names, *named), Kind.FLOAT),
        few=_FEW,
        # There are no more, so an answer that is small is known to be, and no other is computed twice.
        limit=rows,
        lead=sources(segments, gone),
        reads=(*reads, *reads_outside(question)),
    )


def _span(question: SeriesQuestion) -> Span:
    return micros_of(question.start), micros_of(question.end)


def _rows_part(
    question: SeriesQuestion, spans: Sequence[Span], names: Sequence[str], empty: Sequence[str], into: Arguments
) -> str:
    """Return the part of the statement that gives the partials of the readings in spans, zeros in `empty` columns."""
    grid = question.grid
    assert grid is not None  # noqa: S101 -- narrows for the type checker
    aggregates = ["count(*) as count", *(f"{_AGGREGATED[name]} as {name}" for name in names)]
    columns = [f"nearest_{name}.value" if name in _NEAREST else f"grouped.{name}" for name in names]
    columns += [f"0::double precision as {name}" for name in empty]
    stretches, low, high = [], "$2", "$3"
    if len(spans) > 1:
        edges = [into.add(tuple(instant_of(span[end]).isoformat() for span in spans)) for end in (0, 1)]
        lows, highs = (f"{edge}::text[]::timestamptz[]" for edge in edges)
        stretches, low, high = [f"unnest({lows}, {highs}) as stretch (low, high)", "cross join lateral"], "low", "high"
    elif spans != [_span(question)]:
        low, high = (into.add(instant_of(end)) for end in spans[0])
    return "\n".join(
        [
            f"select 0::bigint, asked.ordinal, grouped.grain, {', '.join(['grouped.count', *columns])}",
            "from",
            *stretches,
            "(",
            f"  select sensor_id, {date_bin(grid, 'timestamp')} as grain,",
            f"    {', '.join(aggregates)}",
            "  from sensor_data",
            f"  where sensor_id = any($1::text[]) and {_ABOVE.format(low)} and {_BELOW.format(high)}",
            "  group by 1, 2",
            ") as grouped",
            f"join {_SENSORS} using (sensor_id)",
            *(_nearest(name) for name in names if name in _NEAREST),
        ]
    )


def _nearest(name: str) -> str:
    """Return the join that finds the value of a group's first or last reading."""
    return (
        "cross join lateral (\n"  # noqa: S608 -- of constants
        "  select value from sensor_data\n"
        f"  where sensor_id = grouped.sensor_id and timestamp = grouped.{name} and {_ABOVE_START} and {_BELOW_END}\n"
        f"  order by {_NEAREST[name]} limit 1\n"
        f") as nearest_{name}"
    )
