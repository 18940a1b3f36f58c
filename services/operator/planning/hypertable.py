"""A Hypertable: from what is observed to what is desired, step by step."""

from collections.abc import Iterator

from services.platform.postgres.capability import Capability

from ..refusals import Reason, Refusal
from ..specs.intervals import Interval
from ..specs.resources import HypertableSpec
from .observed import ObservedTable, PartitionPolicy
from .policies import columnstore_steps, retention_refusals, retention_steps, tier_refusals, tier_steps
from .steps import (
    Plan,
    Step,
    create_hypertable,
    set_chunk_interval,
    set_partition_retention,
    set_partition_width,
)

__all__ = ["plan_hypertable"]

NARROWEST = Interval.parse("1 hour")
"""That partitions of a Citus cluster may be: each is a table for each shard."""

TIME_TYPES = ("timestamp with time zone", "timestamp without time zone", "date")


def plan_hypertable(spec: HypertableSpec, observed: ObservedTable, capability: Capability) -> Plan:
    """Return the steps from `observed` to `spec`, none where it is so already.

    Args:
        spec: what is desired.
        observed: the table of that name.
        capability: of the database; what it cannot do becomes `unsupported`.
    """
    refusals = tuple(_refusals(spec, observed))
    if refusals:
        return Plan(refusals=refusals)
    if observed.partitions:
        beyond = [word for word, part in (("columnstore", spec.columnstore), ("tier", spec.tier)) if part]
        return Plan(
            tuple(_partition_steps(spec, observed.partitions)),
            unsupported=tuple(f"not supported here: {word} needs TimescaleDB" for word in beyond),
        )
    if capability.edition == "none":
        return Plan(unsupported=("not supported here: hypertables need TimescaleDB; the table stays an ordinary one",))
    steps = tuple(_chunk_steps(spec, observed))
    if capability.edition == "full":
        return Plan((*steps, *_policy_steps(spec, observed)))
    parts = {"columnstore": spec.columnstore, "retention": spec.retention, "tier": spec.tier}
    desired = [word for word, part in parts.items() if part]
    return Plan(
        steps, unsupported=tuple(f"not supported here: {word} needs TimescaleDB's full edition" for word in desired)
    )


def _chunk_steps(spec: HypertableSpec, observed: ObservedTable) -> Iterator[Step]:
    """Yield what makes it a hypertable, or sets its chunk interval, which TimescaleDB keeps as microseconds alone."""
    if observed.time_column is None:
        yield create_hypertable(spec.table, spec.time_column, spec.chunk_interval)
    elif observed.chunk_interval is None or observed.chunk_interval.total != spec.chunk_interval.total:
        yield set_chunk_interval(spec.table, spec.chunk_interval)


def _partition_steps(spec: HypertableSpec, observed: PartitionPolicy) -> Iterator[Step]:
    """Yield what has partitions of a Citus cluster made and dropped as chunks would be."""
    if observed.width.total != spec.chunk_interval.total:
        yield set_partition_width(spec.chunk_interval)
    after = spec.retention.after if spec.retention else None
    if after != observed.drop_after:
        yield set_partition_retention(after)


def _policy_steps(spec: HypertableSpec, observed: ObservedTable) -> Iterator[Step]:
    """Yield what brings the policies to the spec; where that orders by nothing, the time column orders."""
    desired = spec.columnstore
    order_by = tuple((part.column, part.descending) for part in desired.order_by) if desired else ()
    settings = (desired.segment_by if desired else (), order_by or ((spec.time_column, False),))
    yield from columnstore_steps(spec.table, desired, observed.columnstore, settings)
    yield from retention_steps(spec.table, spec.retention, observed.retention)
    yield from tier_steps(spec.tier, observed.tier)


def _refusals(spec: HypertableSpec, observed: ObservedTable) -> Iterator[Refusal]:
    """Yield why nothing is applied, all reasons at once; without the table there is but one."""
    columns = observed.columns
    if columns is None:
        yield Refusal(Reason.SOURCE_UNKNOWN, f"there is no table {spec.table} in the schema public; create it first")
        return
    if not observed.ours:
        yield Refusal(Reason.NOT_OWNED, f"the table {spec.table} belongs to another role; give it to the owner's")
    if observed.time_column not in {None, spec.time_column}:
        yield Refusal(
            Reason.IMMUTABLE,
            f"{spec.table} is split by {observed.time_column}, which cannot change; "
            f"set timeColumn to it, or copy the rows into a new table split by {spec.time_column}",
        )
    elif columns.get(spec.time_column) not in TIME_TYPES:
        yield Refusal(Reason.INVALID, f"timeColumn {spec.time_column} is no column of {spec.table} with a date or time")
    if observed.time_column is None and observed.has_rows:
        yield Refusal(
            Reason.INVALID,
            f"{spec.table} holds rows, and moving them into chunks locks it; choose the time yourself: "
            "select create_hypertable(..., migrate_data => true)",
        )
    if observed.partitions and spec.chunk_interval.total < NARROWEST.total:
        yield Refusal(Reason.INVALID, f"chunkInterval {spec.chunk_interval}: partitions are of {NARROWEST} or more")
    yield from _columnstore_refusals(spec, columns)
    yield from retention_refusals(spec.retention, observed.readers)
    yield from tier_refusals(spec.tier, observed.readers)


def _columnstore_refusals(spec: HypertableSpec, columns: dict[str, str]) -> Iterator[Refusal]:
    if spec.columnstore:
        segment_by = spec.columnstore.segment_by
        named = {*segment_by, *(part.column for part in spec.columnstore.order_by)}
        if unknown := sorted(named - columns.keys()):
            yield Refusal(Reason.INVALID, f"columnstore: {spec.table} has no column {', '.join(unknown)}")
        if spec.time_column in segment_by:
            yield Refusal(Reason.INVALID, f"columnstore: put the time column {spec.time_column} into orderBy")
