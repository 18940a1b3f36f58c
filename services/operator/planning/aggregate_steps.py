"""The steps that only continuous aggregates have."""

from dataclasses import dataclass

from ..specs.intervals import Interval
from .quoting import identifier, interval, literal, relation

__all__ = [
    "UNFILLED",
    "AddColumn",
    "AddRefreshPolicy",
    "AlterRefresh",
    "CreateAggregate",
    "MarkUnfilled",
    "SetRealTime",
]

UNFILLED = "millrace: the history waits for a refresh"
"""Comment on a continuous aggregate; it outlives the operator that has to do the refresh."""


@dataclass(frozen=True, slots=True)
class CreateAggregate:
    """Make a continuous aggregate without data: what fills it must have an end."""

    name: str
    query: str
    real_time: bool

    @property
    def sql(self) -> str:
        """The statement."""
        only = "false" if self.real_time else "true"
        options = f"timescaledb.continuous, timescaledb.materialized_only = {only}"
        return f"create materialized view {relation(self.name)} with ({options}) as {self.query} with no data"

    def __str__(self) -> str:
        return f"create {self.name}"


@dataclass(frozen=True, slots=True)
class AddColumn:
    """Add a column in place; older buckets have nothing in it until a forced refresh."""

    name: str
    column: str
    type: str
    expression: str

    @property
    def sql(self) -> str:
        """The statement."""
        column = f"{identifier(self.column)} {self.type} generated always as ({self.expression}) stored"
        return f"alter materialized view {relation(self.name)} add column {column}"

    def __str__(self) -> str:
        return f"add the column {self.column} to {self.name}"


@dataclass(frozen=True, slots=True)
class MarkUnfilled:
    """Note in the database that the history waits for a refresh."""

    name: str

    @property
    def sql(self) -> str:
        """The statement."""
        return f"comment on view {relation(self.name)} is {literal(UNFILLED)}"

    def __str__(self) -> str:
        return f"note that the history of {self.name} waits for a refresh"


@dataclass(frozen=True, slots=True)
class SetRealTime:
    """Let reads add what is not materialised yet, or not."""

    name: str
    real_time: bool

    @property
    def sql(self) -> str:
        """The statement."""
        only = "false" if self.real_time else "true"
        return f"alter materialized view {relation(self.name)} set (timescaledb.materialized_only = {only})"

    def __str__(self) -> str:
        return f"set {self.name} to {'real-time' if self.real_time else 'materialised only'}"


@dataclass(frozen=True, slots=True)
class AddRefreshPolicy:
    """Refresh the time between two offsets on a schedule."""

    name: str
    start_offset: Interval
    end_offset: Interval
    schedule: Interval

    @property
    def sql(self) -> str:
        """The statement."""
        return (
            f"select add_continuous_aggregate_policy({literal(relation(self.name))}, "
            f"start_offset => {interval(self.start_offset)}, end_offset => {interval(self.end_offset)}, "
            f"schedule_interval => {interval(self.schedule)})"
        )

    def __str__(self) -> str:
        return f"add a refresh policy to {self.name} from {self.start_offset} to {self.end_offset} ago"


@dataclass(frozen=True, slots=True)
class AlterRefresh:
    """Give a policy its schedule and let it run."""

    id: int
    schedule: Interval

    @property
    def sql(self) -> str:
        """The statement."""
        return f"select alter_job({self.id:d}, schedule_interval => {interval(self.schedule)}, scheduled => true)"

    def __str__(self) -> str:
        return f"let job {self.id} run every {self.schedule}"
