"""A Hypertable: from what stands and what is wanted to steps."""

from collections.abc import Iterator

from services.platform.postgres.capability import Capability

from ..specs.resources import HypertableSpec
from .plan import Plan, Reason, Refusal
from .policies import columnstore_steps, retention_refusals, retention_steps
from .state import StandingTable
from .steps import MakeHypertable, SetChunkInterval, Step

__all__ = ["plan_hypertable"]

TIME_TYPES = ("timestamp with time zone", "timestamp without time zone", "date")


def plan_hypertable(spec: HypertableSpec, standing: StandingTable, capability: Capability) -> Plan:
    """Return the steps from `standing` to `spec`, none where it is so already.

    Args:
        spec: what is wanted.
        standing: the table of that name.
        capability: of the database; what it cannot do becomes `unsupported`.
    """
    refusals = tuple(_refusals(spec, standing))
    if refusals:
        return Plan(refusals=refusals)
    if capability.edition == "none":
        return Plan(unsupported=("not supported here: hypertables need TimescaleDB; the table stays an ordinary one",))
    steps = tuple(_chunk_steps(spec, standing))
    if capability.edition == "full":
        return Plan((*steps, *_policy_steps(spec, standing)))
    wanted = [word for word, part in (("columnstore", spec.columnstore), ("retention", spec.retention)) if part]
    return Plan(
        steps, unsupported=tuple(f"not supported here: {word} needs TimescaleDB's full edition" for word in wanted)
    )


def _chunk_steps(spec: HypertableSpec, standing: StandingTable) -> Iterator[Step]:
    if standing.time_column is None:
        yield MakeHypertable(spec.table, spec.time_column, spec.chunk_interval)
    elif standing.chunk_interval is None or standing.chunk_interval.total != spec.chunk_interval.total:
        yield SetChunkInterval(spec.table, spec.chunk_interval)


def _policy_steps(spec: HypertableSpec, standing: StandingTable) -> Iterator[Step]:
    wanted = spec.columnstore
    order_by = tuple((part.column, part.descending) for part in wanted.order_by) if wanted else ()
    settings = (wanted.segment_by if wanted else (), order_by or ((spec.time_column, False),))
    yield from columnstore_steps(spec.table, wanted, standing.columnstore, settings)
    yield from retention_steps(spec.table, spec.retention, standing.retention)


def _refusals(spec: HypertableSpec, standing: StandingTable) -> Iterator[Refusal]:
    columns = standing.columns
    if columns is None:
        yield Refusal(Reason.SOURCE_UNKNOWN, f"there is no table {spec.table} in the schema public; create it first")
        return
    if not standing.ours:
        yield Refusal(Reason.NOT_OWNED, f"the table {spec.table} belongs to another role; give it to the owner's")
    if standing.time_column not in {None, spec.time_column}:
        yield Refusal(
            Reason.IMMUTABLE,
            f"{spec.table} is split by {standing.time_column}, which cannot change; "
            f"set timeColumn to it, or copy the rows into a new table split by {spec.time_column}",
        )
    elif columns.get(spec.time_column) not in TIME_TYPES:
        yield Refusal(Reason.INVALID, f"timeColumn {spec.time_column} is no column of {spec.table} with a date or time")
    if standing.time_column is None and standing.has_rows:
        yield Refusal(
            Reason.INVALID,
            f"{spec.table} holds rows, and moving them into chunks locks it; choose the time yourself: "
            "select create_hypertable(..., migrate_data => true)",
        )
    yield from _columnstore_refusals(spec, columns)
    yield from retention_refusals(spec.retention, standing.readers)


def _columnstore_refusals(spec: HypertableSpec, columns: dict[str, str]) -> Iterator[Refusal]:
    if spec.columnstore:
        segment_by = spec.columnstore.segment_by
        named = {*segment_by, *(part.column for part in spec.columnstore.order_by)}
        if unknown := sorted(named - columns.keys()):
            yield Refusal(Reason.INVALID, f"columnstore: {spec.table} has no column {', '.join(unknown)}")
        if spec.time_column in segment_by:
            yield Refusal(Reason.INVALID, f"columnstore: put the time column {spec.time_column} into orderBy")
