"""Steps: values that each render to one SQL statement. Names and values pass through `quoting` alone."""

from dataclasses import dataclass
from typing import Protocol

from ..specs.intervals import Interval
from .quoting import identifier, interval, literal, relation

__all__ = [
    "AddColumnstorePolicy",
    "AddRetentionPolicy",
    "DeleteJob",
    "MakeHypertable",
    "ResumeJob",
    "SetChunkInterval",
    "SetColumnstore",
    "Settings",
    "Step",
]


Settings = tuple[tuple[str, ...], tuple[tuple[str, bool], ...]]
"""Columns to segment by, and columns to order by with whether they descend."""


class Step(Protocol):
    """A change that brings a database nearer to what is wanted."""

    @property
    def sql(self) -> str:
        """The statement."""
        ...

    def __str__(self) -> str:
        """Say what it does, for events and logs."""
        ...


@dataclass(frozen=True, slots=True)
class MakeHypertable:
    """Split an empty table into chunks by time."""

    table: str
    time_column: str
    chunk_interval: Interval

    @property
    def sql(self) -> str:
        """The statement."""
        by = f"by_range({literal(self.time_column)}, {interval(self.chunk_interval)})"
        return f"select create_hypertable({literal(relation(self.table))}, {by})"

    def __str__(self) -> str:
        return f"make {self.table} a hypertable"


@dataclass(frozen=True, slots=True)
class SetChunkInterval:
    """Give the chunks to come another length."""

    table: str
    chunk_interval: Interval

    @property
    def sql(self) -> str:
        """The statement."""
        return f"select set_chunk_time_interval({literal(relation(self.table))}, {interval(self.chunk_interval)})"

    def __str__(self) -> str:
        return f"set the chunk interval of {self.table} to {self.chunk_interval}"


@dataclass(frozen=True, slots=True)
class SetColumnstore:
    """Switch the columnstore on, or change its settings for the chunks to come.

    Attributes:
        name: of a table or, without `settings`, of a continuous aggregate.
        settings: what to segment and to order by.
    """

    name: str
    settings: Settings | None

    @property
    def sql(self) -> str:
        """The statement."""
        if self.settings is None:
            return f"alter materialized view {relation(self.name)} set (timescaledb.enable_columnstore)"
        segment_by, order_by = self.settings
        segments = ", ".join(map(identifier, segment_by))
        orders = ", ".join(f"{identifier(name)} {'desc' if descending else 'asc'}" for name, descending in order_by)
        return (
            f"alter table {relation(self.name)} set (timescaledb.enable_columnstore, "
            f"timescaledb.segmentby = {literal(segments)}, timescaledb.orderby = {literal(orders)})"
        )

    def __str__(self) -> str:
        return f"set the columnstore of {self.name}"


@dataclass(frozen=True, slots=True)
class AddColumnstorePolicy:
    """Move chunks into the columnstore at an age."""

    name: str
    after: Interval

    @property
    def sql(self) -> str:
        """The statement."""
        return f"call add_columnstore_policy({literal(relation(self.name))}, after => {interval(self.after)})"

    def __str__(self) -> str:
        return f"add a columnstore policy to {self.name} after {self.after}"


@dataclass(frozen=True, slots=True)
class AddRetentionPolicy:
    """Drop chunks at an age."""

    name: str
    after: Interval

    @property
    def sql(self) -> str:
        """The statement."""
        return f"select add_retention_policy({literal(relation(self.name))}, drop_after => {interval(self.after)})"

    def __str__(self) -> str:
        return f"add a retention policy to {self.name} after {self.after}"


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Remove a policy."""

    id: int

    @property
    def sql(self) -> str:
        """The statement."""
        return f"select delete_job({self.id:d})"

    def __str__(self) -> str:
        return f"remove the policy of job {self.id}"


@dataclass(frozen=True, slots=True)
class ResumeJob:
    """Let a policy run again that somebody has stopped."""

    id: int

    @property
    def sql(self) -> str:
        """The statement."""
        return f"select alter_job({self.id:d}, scheduled => true)"

    def __str__(self) -> str:
        return f"resume job {self.id}"
