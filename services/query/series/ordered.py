"""The parts of a question's statement that give readings in their order, and percentiles of buckets.

Readings in their order cost six times what grouping them costs, and what is made of them needs each one. To find the
first and last reading of a group by an index costs what reading some hundred does, so that it is for longer buckets.
"""

from services.contract.instants import instant_of

from ..grid import Grid
from ..plan import FIRST, LAST, Plan, readings_of
from ..reads import Reads
from ..table import Kind
from .aggregates import STEPPED, partials_of, percentile_of, percentiles_of
from .groups import Groups
from .merge import BEFORE, PERCENTILES
from .question import SeriesQuestion
from .routed import Arguments, date_bin, uniform

__all__ = ["Bands", "in_order", "ordered", "outside_of_groups", "percentiles", "reads_outside", "sides_of"]

_LOOKED_UP = 3_600_000_000
"""Microseconds of a grain from which on the first and last reading are looked for one by one."""

_START, _END = "greatest($2, timestamptz '0001-01-01Z')", "least($3, timestamptz '9999-12-31 23:59:59.999999Z')"
_BEFORE = ("timestamptz '0001-01-01Z'", _START)
_BEHIND = ("$3", "timestamptz '9999-12-31 23:59:59.999999Z'")
_SIDES = {"previous": [(-1, _BEFORE, "desc")], "linear": [(-1, _BEFORE, "desc"), (1, _BEHIND, "asc")]}


class Bands:
    """The sensors of a statement with the groups that they belong to, written where they are named first.

    Attributes:
        each: whether each sensor is a group.
        arguments: of the statement.
        spread: whether the readings lie on several nodes.
    """

    def __init__(self, groups: Groups, into: Arguments, *, spread: bool) -> None:
        """Take the groups, and the statement's arguments, the first of which are the sensors."""
        self.each = groups.each
        self.arguments = into
        self.spread = spread
        self._of = groups.of
        self._name = ""

    def asked(self) -> str:
        """Return the SQL of rows `asked`: sensor_id, ordinal and band, both numbered from 1."""
        if self.each:
            return (
                "(select sensor_id, ordinal, ordinal as band "
                "from unnest($1::text[]) with ordinality as given (sensor_id, ordinal)) as asked"
            )
        self._name = self._name or self.arguments.add(tuple(str(band + 1) for band in self._of.tolist()))
        return f"unnest($1::text[], {self._name}::text[]::bigint[]) with ordinality as asked (sensor_id, band, ordinal)"

    def source(self) -> str:
        """Return `asked` to join readings of each sensor to.

        Citus would send a function to a node, which has no readings to ask for; not so beside a table that only the
        coordinator has.
        """
        return f"schema_migrations as here cross join {self.asked()}" if self.spread else self.asked()

    @property
    def condition(self) -> str:
        """The condition of statements that have `source`."""
        return "here.version = 1" if self.spread else "true"


def in_order(question: SeriesQuestion, groups: Groups, *, spread: bool = False) -> bool:
    """Tell whether what is asked is made of readings in their order, and not of grouped ones.

    Where readings are `spread` over nodes, no index is at hand behind the grouping.
    """
    partials = set(partials_of(question.aggregates))
    ends = bool(partials & {"first", "last"})
    assert question.grid is not None  # noqa: S101 -- narrows for the type checker
    return bool(partials & set(STEPPED)) or (ends and (spread or not groups.each or question.grid.grain <= _LOOKED_UP))


def ordered(question: SeriesQuestion, groups: Groups, *, spread: bool = False) -> Plan:
    """Return the plan of a question's readings, those of each sensor in their order, and what goes beside them."""
    arguments = Arguments(question.sensors, question.start, question.end)
    bands = Bands(groups, arguments, spread=spread)
    # A sort of all sensors' readings would cost more than they do; a subquery with an order is not rearranged.
    readings = (
        "select 0::bigint as side, asked.ordinal, found.timestamp, found.value, found.id\n"
        f"from {bands.source()}\n"
        f"cross join lateral {readings_of('asked.sensor_id', (_START, _END), 'asc', spread=spread)} as found\n"
        f"where {bands.condition}"
    )
    parts = [readings]
    columns = "found.value, found.id"
    if set(partials_of(question.aggregates)) & set(STEPPED):
        parts.append(_outside(bands, BEFORE, _BEFORE, "desc", columns, together=False))
    parts += outside_of_groups(question, bands, columns)
    parts += percentiles(question, bands, "found.value, 0::bigint")
    kinds = {
        "side": Kind.INTEGER,
        "ordinal": Kind.INTEGER,
        "grain": Kind.INSTANT,
        "value": Kind.FLOAT,
        "id": Kind.INTEGER,
    }
    reads = (Reads(question.sensors, question.start, question.end), *reads_outside(question))
    return Plan("\nunion all\n".join(parts), tuple(arguments.values), kinds, few=501, reads=reads)


def reads_outside(question: SeriesQuestion) -> list[Reads]:
    """Return the readings outside of the range that a fill or steps need: the nearest ones of each sensor."""
    sides = {side for side, _, _ in sides_of(question)}
    found = []
    if -1 in sides or set(partials_of(question.aggregates)) & set(STEPPED):
        found.append(Reads(question.sensors, FIRST, question.start, limit=1, descending=True))
    if 1 in sides:
        found.append(Reads(question.sensors, question.end, LAST, limit=1))
    return found


def sides_of(question: SeriesQuestion) -> list[tuple[int, tuple[str, str], str]]:
    """Return what a fill needs of the readings outside of the range: the side, from where to where, the nearest first.

    They name the range's start as $2; the second one names its end as $3.
    """
    return _SIDES.get(str(question.fill), [])


def outside_of_groups(question: SeriesQuestion, bands: Bands, columns: str) -> list[str]:
    """Return the statements of the nearest readings outside of the range, one of each group, that a fill needs.

    `columns` are those behind side, ordinal and grain, made of `found`.
    """
    return [_outside(bands, *side, columns, together=not bands.each) for side in sides_of(question)]


def _outside(bands: Bands, side: int, where: tuple[str, str], order: str, columns: str, *, together: bool) -> str:
    only, behind = ("distinct on (asked.band)", "order by asked.band, found.timestamp {0}, found.id {0}")
    if not together:
        only, behind = "", ""
    return (
        f"(select {only} ({side})::bigint, asked.ordinal, found.timestamp, {columns}\n"
        f"from {bands.source()}\n"
        f"cross join lateral {readings_of('asked.sensor_id', where, order, 1, spread=bands.spread)} as found\n"
        f"where {bands.condition}\n{behind.format(order)})"
    )


def percentiles(question: SeriesQuestion, bands: Bands, columns: str) -> list[str]:
    """Return the statement of percentiles, a row for each group, bucket and percentile; none where none is asked for.

    `columns` are those behind side, ordinal and grain, made of `found`, whose only column is `value`.
    """
    names, grid = percentiles_of(question.aggregates), question.grid
    if not names or grid is None:
        return []
    shares = ",".join(repr(percentile_of(name)) for name in names)
    statement = (
        f"select ({PERCENTILES - 1} + found.place)::bigint, grouped.band, grouped.bucket, {columns}\n"  # noqa: S608
        f"from (\n  select asked.band, {_bucket(grid, bands.arguments)} as bucket,\n"
        f"    percentile_cont(array[{shares}]::double precision[]) within group (order by value) as shares\n"
        f"  from sensor_data join {bands.asked()} using (sensor_id)\n"
        f"  where sensor_id = any($1::text[]) and timestamp >= {_START} and timestamp < {_END} group by 1, 2\n"
        ") as grouped\n"
        "cross join unnest(grouped.shares) with ordinality as found (value, place)"
    )
    return [statement]


def _bucket(grid: Grid, into: Arguments) -> str:
    """Return the SQL of the bucket that a reading lies in: a fixed grain, or the edges themselves."""
    if uniform(grid):
        return date_bin(grid, "timestamp")
    edges = f"(select {into.add(tuple(instant_of(edge).isoformat() for edge in grid.edges[:-1].tolist()))}"
    edges += "::text[]::timestamptz[])"
    return f"({edges})[width_bucket(timestamp, {edges})]"
