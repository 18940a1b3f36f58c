"""What a question needs of the database, decided without asking it: a statement, its arguments, what its rows hold.

The SQL stands in `queries.sql`, in blocks with a name and a sentence each.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any, ClassVar

import numpy as np

from services.contract.instants import instant_of

from .keyset import Keyset
from .reads import Ask, Reads
from .table import Column, Kind, Table

__all__ = [
    "FIRST",
    "HOURS",
    "LAST",
    "SQL",
    "Argument",
    "Plan",
    "Question",
    "RoutedPlan",
    "hours",
    "least",
    "readings",
    "readings_of",
]

FIRST = datetime.min.replace(tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)

Argument = str | int | datetime | tuple[str, ...] | tuple[int, ...]

_HOUR = timedelta(hours=1)
_BELOW_ALL_IDS = -(1 << 63)

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def _statements(text: str) -> Mapping[str, str]:
    """Return the statements of `-- name: x` blocks by their names, without their comments."""
    _, *blocks = _NAME.split(text)
    bare = ["\n".join(line for line in block.splitlines() if not line.startswith("--")).strip() for block in blocks]
    return dict(zip(bare[::2], bare[1::2], strict=True))


SQL = _statements(resources.files(__package__).joinpath("queries.sql").read_text())
"""The statements of `queries.sql` by their names."""

HOURS = "sensor_rollup_1h"
"""The table of the hours that the repair loop keeps."""


@dataclass(frozen=True, slots=True)
class Question:
    """One sensor and a half-open range of time: `start <= timestamp < end`."""

    sensor_id: str
    start: datetime
    end: datetime

    def identity(self) -> str:
        """Return a text that no other question has; cursors are bound to it."""
        return f"{self.start.isoformat()} {self.end.isoformat()} {self.sensor_id}"


@dataclass(frozen=True, slots=True)
class Plan:
    """One statement, and so one snapshot.

    Attributes:
        statement: with `$1`, `$2`, … for the arguments, and without a limit.
        arguments: in their order.
        kinds: of the statement's columns, in its order.
        few: rows up to which an answer is small, so that finding it costs more than its rows do.
        limit: most rows that are of use; None where all are.
        finish: makes the answer's columns of the statement's.
        finished: what the answer's columns hold; None where that is the same.
        lead: goes before the answer's batches, as it is; None where nothing does.
        snapshot: whether the statement has its snapshot before it is planned. One of its own comes behind the planning,
            and sees notes struck off of hours that a refresh put into a chunk which the plan does not know.
        divisible: whether `$2` and `$3` are the ends of a range, and its rows may come in any order.
        reads: the readings that it needs; none where it needs those of the table alone.
        sliceable: whether `$2` and `$3` are the ends of a range of one sensor, whose rows may come part by part of it.
    """

    statement: str
    arguments: tuple[Argument, ...]
    kinds: Mapping[str, Kind]
    few: int
    limit: int | None = None
    finish: Callable[[Table], Table] = lambda table: table
    finished: Mapping[str, Kind] | None = None
    lead: Table | None = None
    snapshot: bool = False
    divisible: bool = False
    reads: tuple[Reads, ...] = ()
    sliceable: bool = False

    @property
    def columns(self) -> Mapping[str, Kind]:
        """The answer's columns and what they hold, in its order."""
        return self.kinds if self.finished is None else self.finished

    def limited(self, limit: int | None) -> str:
        """Return the statement of at most `limit` rows; planned for a limit it does not know, it would sort all."""
        return f"{self.statement}\nlimit {'all' if limit is None else limit}"


@dataclass(frozen=True, slots=True)
class RoutedPlan:
    """A plan that hangs on what the database knows, which is asked first, in the snapshot of the plan's own statement.

    Attributes:
        statement: with `$1`, `$2`, … for the arguments.
        arguments: in their order.
        plan: makes the plan of the statement's rows.
        otherwise: the plan where what was found is not there any more when it is asked for, or may not be read.
        long: whether making the plan takes so long that it is done apart from the loop.
    """

    statement: str
    arguments: tuple[Argument, ...]
    plan: Callable[[Sequence[Any]], Plan]
    otherwise: Plan
    long: bool = False
    snapshot: ClassVar = True


def readings(question: Question, after: Keyset | None = None, limit: int | None = None) -> Plan:
    """Return the plan of a range's readings in the order of (timestamp, id): `limit` of those behind `after`.

    One row more than `limit` is asked for: it tells whether any follow.
    """
    start, above = question.start, _BELOW_ALL_IDS
    if after:
        start, above = instant_of(after.timestamp), after.id

    def finish(table: Table) -> Table:
        sensor = Column.constant(question.sensor_id, len(table))
        return Table({"id": table["id"], "timestamp": table["timestamp"], "sensor_id": sensor, "value": table["value"]})

    return Plan(
        SQL["readings"],
        (question.sensor_id, start, question.end, above),
        {"id": Kind.INTEGER, "timestamp": Kind.INSTANT, "value": Kind.FLOAT},
        # Five hundred, and the one behind a page of as many.
        few=501,
        limit=None if limit is None else limit + 1,
        finish=finish,
        finished={"id": Kind.INTEGER, "timestamp": Kind.INSTANT, "sensor_id": Kind.TEXT, "value": Kind.FLOAT},
        reads=(
            Reads(
                (question.sensor_id,),
                start,
                question.end,
                limit=None if limit is None else limit + 1,
                behind=(start, above) if after else None,
            ),
        ),
        sliceable=limit is None,
    )


def readings_of(sensor: str, span: tuple[str, str], order: str, most: int | None = None, *, spread: bool) -> str:
    """Return the SQL of a sensor's readings in the order of (timestamp, id), to be joined laterally.

    Citus neither limits nor orders what is joined to readings on its nodes, so that a function asks there, sensor by
    sensor.

    Args:
        sensor: SQL of its id.
        span: SQL of the first instant, and of the first one behind.
        order: "asc" or "desc".
        most: how many of them; None for all.
        spread: whether the readings lie on several nodes.
    """
    low, high = span
    if spread:
        return f"readings_of({sensor}, {low}, {high}, {str(order == 'desc').lower()}, {most or 'null'})"
    limit = "" if most is None else f" limit {most}"
    return (
        "(\n  select timestamp, id, value from sensor_data\n"  # noqa: S608 -- of constants
        f"  where sensor_id = {sensor} and timestamp >= {low} and timestamp < {high}\n"
        f"  order by timestamp {order}, id {order}{limit}\n)"
    )


def least(question: Question) -> Plan:
    """Return the plan of a range's least value: one row, null where there is none."""
    return Plan(
        SQL["minimum"],
        (question.sensor_id, question.start, question.end),
        {"min_value": Kind.FLOAT},
        few=1,
        limit=1,
        reads=(Reads((question.sensor_id,), question.start, question.end),),
    )


def hours(question: Question, *, rollups: bool = False) -> Plan:
    """Return the plan of the hour buckets that start in a range, in their order.

    Args:
        question: what is asked.
        rollups: whether the hours are kept in a table of ours; `measurement_hourly` is a view of what is right then.
    """
    sensor, start, end = question.sensor_id, _whole_hour(question.start), _whole_hour(question.end)
    statement = SQL["hours"]
    if rollups:
        # What is read together with a table of the coordinator is asked for there: a node of Citus has no notes.
        statement = statement.replace("measurement_hourly", HOURS).replace(") as asked", ") as asked, rollup_state")
    return Plan(
        statement,
        (sensor, start, end),
        {
            "timestamp": Kind.INSTANT,
            "avg": Kind.FLOAT,
            "min": Kind.FLOAT,
            "max": Kind.FLOAT,
            "samples": Kind.INTEGER,
        },
        # Buckets cost more to find than to fetch; a year has fewer.
        few=10_000,
        finish=_within_extremes,
        snapshot=True,
        reads=(Reads((sensor,), start, end, within=Ask(SQL["changed"], (sensor, start, end))),),
    )


def _within_extremes(table: Table) -> Table:
    """Hold averages to their extremes: a sum of floats is rounded, and that of equal values may lie beside them."""
    avg, low, high = table["avg"], table["min"], table["max"]
    held = Column(Kind.FLOAT, np.clip(avg.values, low.values, high.values), avg.nulls)
    return Table({**table.columns, "avg": held})


def _whole_hour(instant: datetime) -> datetime:
    """Return the first whole hour that is not before `instant`: a bucket starts before both or before neither."""
    hour = instant.replace(minute=0, second=0, microsecond=0)
    if hour == instant:
        return hour
    return hour + _HOUR if hour <= LAST - _HOUR else LAST
