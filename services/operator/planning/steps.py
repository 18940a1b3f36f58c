"""Plans, and their steps: each function here gives one statement, and the sentence that tells it.

Names and values become SQL by `quoting` alone.
"""

from dataclasses import dataclass

from ..refusals import Refusal
from ..specs.intervals import Interval
from .quoting import identifier, interval, literal, relation

__all__ = [
    "UNFILLED",
    "Plan",
    "Settings",
    "Step",
    "add_column",
    "add_columnstore_policy",
    "add_refresh_policy",
    "add_retention_policy",
    "create_aggregate",
    "create_hypertable",
    "delete_job",
    "mark_unfilled",
    "reschedule_job",
    "resume_job",
    "set_chunk_interval",
    "set_columnstore",
    "set_partition_retention",
    "set_partition_width",
    "set_real_time",
    "set_tier",
]

UNFILLED = "millrace: the history waits for a refresh"
"""Comment on a continuous aggregate; it outlives the operator that has to do the refresh."""

Settings = tuple[tuple[str, ...], tuple[tuple[str, bool], ...]]
"""Columns to segment by, and columns to order by with whether they descend."""


@dataclass(frozen=True, slots=True)
class Step:
    """A change that brings a database nearer to what is desired.

    Attributes:
        sql: one statement.
        sentence: what it does, for events and logs.
    """

    sql: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order.

    Attributes:
        steps: to run in one transaction.
        refusals: where there is one, there are no steps.
        unsupported: what is desired and this database cannot do; the steps do the rest.
        fill: whether the history of an aggregate waits for a refresh behind the steps.
        rebuild: whether nothing but a rebuild is due, which somebody consented to.
    """

    steps: tuple[Step, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    unsupported: tuple[str, ...] = ()
    fill: bool = False
    rebuild: bool = False


def create_hypertable(table: str, time_column: str, chunk_interval: Interval) -> Step:
    """Split an empty table into chunks by time."""
    by = f"by_range({literal(time_column)}, {interval(chunk_interval)})"
    return Step(f"select create_hypertable({literal(relation(table))}, {by})", f"make {table} a hypertable")


def set_chunk_interval(table: str, chunk_interval: Interval) -> Step:
    """Give the chunks to come another length."""
    return Step(
        f"select set_chunk_time_interval({literal(relation(table))}, {interval(chunk_interval)})",
        f"set the chunk interval of {table} to {chunk_interval}",
    )


def set_columnstore(name: str, settings: Settings | None) -> Step:
    """Switch the columnstore on, or change its settings for the chunks to come.

    Args:
        name: of a table or, without `settings`, of a continuous aggregate, whose settings TimescaleDB chooses.
        settings: what to segment and to order by.
    """
    sentence = f"set the columnstore of {name}"
    if settings is None:
        return Step(f"alter materialized view {relation(name)} set (timescaledb.enable_columnstore)", sentence)
    segment_by, order_by = settings
    segments = ", ".join(map(identifier, segment_by))
    orders = ", ".join(f"{identifier(column)} {'desc' if descending else 'asc'}" for column, descending in order_by)
    # Both are texts in which TimescaleDB looks for quoted names: quoted once as names, once more as values.
    options = f"timescaledb.segmentby = {literal(segments)}, timescaledb.orderby = {literal(orders)}"
    return Step(f"alter table {relation(name)} set (timescaledb.enable_columnstore, {options})", sentence)


def add_columnstore_policy(name: str, after: Interval) -> Step:
    """Move chunks into the columnstore at an age."""
    return Step(
        f"call add_columnstore_policy({literal(relation(name))}, after => {interval(after)})",
        f"add a columnstore policy to {name} after {after}",
    )


def add_retention_policy(name: str, after: Interval) -> Step:
    """Drop chunks at an age."""
    return Step(
        f"select add_retention_policy({literal(relation(name))}, drop_after => {interval(after)})",
        f"add a retention policy to {name} after {after}",
    )


def add_refresh_policy(name: str, start_offset: Interval, end_offset: Interval, schedule: Interval) -> Step:
    """Refresh the time between two offsets on a schedule."""
    return Step(
        f"select add_continuous_aggregate_policy({literal(relation(name))}, "
        f"start_offset => {interval(start_offset)}, end_offset => {interval(end_offset)}, "
        f"schedule_interval => {interval(schedule)})",
        f"add a refresh policy to {name} from {start_offset} to {end_offset} ago",
    )


def delete_job(job: int) -> Step:
    """Remove a policy."""
    return Step(f"select delete_job({job:d})", f"remove the policy of job {job}")


def resume_job(job: int) -> Step:
    """Let a policy run again that somebody has stopped."""
    return Step(f"select alter_job({job:d}, scheduled => true)", f"resume job {job}")


def reschedule_job(job: int, schedule: Interval) -> Step:
    """Give a policy its schedule and let it run."""
    return Step(
        f"select alter_job({job:d}, schedule_interval => {interval(schedule)}, scheduled => true)",
        f"let job {job} run every {schedule}",
    )


def create_aggregate(name: str, query: str, *, real_time: bool) -> Step:
    """Make a continuous aggregate without data: it is filled by a refresh, whose window has an end."""
    options = f"timescaledb.continuous, timescaledb.materialized_only = {_materialized_only(real_time)}"
    sql = f"create materialized view {relation(name)} with ({options}) as {query} with no data"
    return Step(sql, f"create {name}")


def add_column(name: str, column: str, kind: str, expression: str) -> Step:
    """Add a column in place; older buckets have nothing in it until a forced refresh.

    Args:
        name: of the aggregate.
        column: its name.
        kind: its type, as the database writes it.
        expression: its SQL.
    """
    added = f"{identifier(column)} {kind} generated always as ({expression}) stored"
    return Step(f"alter materialized view {relation(name)} add column {added}", f"add the column {column} to {name}")


def mark_unfilled(name: str) -> Step:
    """Note in the database that the history waits for a refresh."""
    return Step(
        f"comment on view {relation(name)} is {literal(UNFILLED)}",
        f"note that the history of {name} waits for a refresh",
    )


def set_real_time(name: str, *, real_time: bool) -> Step:
    """Let reads add what is not materialised yet, or not."""
    return Step(
        f"alter materialized view {relation(name)} set "
        f"(timescaledb.materialized_only = {_materialized_only(real_time)})",
        f"set {name} to {'real-time' if real_time else 'materialised only'}",
    )


def set_tier(after: Interval | None) -> Step:
    """Have chunks of the readings go to the tier at an age, or no more."""
    if after is None:
        return Step("update tier_policy set after = null", "let no more chunks go to the tier")
    sql = f"update tier_policy set after = {interval(after)}"  # noqa: S608 -- it is quoted
    return Step(sql, f"let chunks go to the tier after {after}")


def set_partition_width(width: Interval) -> Step:
    """Give the time partitions to come another length."""
    sql = f"update partition_policy set width = {interval(width)}"  # noqa: S608 -- it is quoted
    return Step(sql, f"set the length of partitions to {width}")


def set_partition_retention(after: Interval | None) -> Step:
    """Have time partitions dropped at an age, or no more."""
    if after is None:
        return Step("update partition_policy set drop_after = null", "let no more partitions be dropped")
    sql = f"update partition_policy set drop_after = {interval(after)}"  # noqa: S608 -- it is quoted
    return Step(sql, f"let partitions be dropped after {after}")


def _materialized_only(real_time: bool) -> str:
    return "false" if real_time else "true"
