"""A ContinuousAggregate: from what stands and what is wanted to steps."""

from collections.abc import Iterator

from services.platform.postgres.capability import Capability

from ..specs.resources import ContinuousAggregateSpec
from .aggregate_steps import AddColumn, AddRefreshPolicy, AlterRefresh, CreateAggregate, MarkUnfilled, SetRealTime
from .plan import Plan, Reason, Refusal
from .policies import columnstore_steps, retention_refusals, retention_steps
from .query import aggregate_query, expression, wanted_columns
from .state import Definition, StandingAggregate
from .steps import DeleteJob, Step

__all__ = ["REBUILD", "plan_aggregate"]

REBUILD = "millrace.dev/rebuild"
"""Annotation on a resource by which somebody consents to one rebuild."""

ADDS_COLUMNS = (2, 28)
"""The TimescaleDB version from which a continuous aggregate can get a column in place."""


def plan_aggregate(
    spec: ContinuousAggregateSpec,
    standing: StandingAggregate,
    definition: Definition,
    capability: Capability,
    *,
    rebuild: bool = False,
) -> Plan:
    """Return the steps from `standing` to `spec`, none where it is so already.

    Args:
        spec: what is wanted.
        standing: what has that name.
        definition: what the database makes of the wanted query.
        capability: of the database; what it cannot do becomes `unsupported`.
        rebuild: whether somebody consents to a rebuild; the plan says whether one is due.
    """
    if capability.edition != "full":
        return Plan(unsupported=("not supported here: continuous aggregates need TimescaleDB's full edition",))
    refusals = tuple(_refusals(spec, standing, definition, capability))
    if rebuild and refusals and all(refusal.reason is Reason.NEEDS_REBUILD for refusal in refusals):
        return Plan(rebuild=True)
    if refusals:
        return Plan(refusals=refusals)
    defining = tuple(_definition_steps(spec, standing, definition))
    policies = (
        *_refresh_steps(spec, standing),
        *columnstore_steps(spec.name, spec.columnstore, standing.columnstore, None),
        *retention_steps(spec.name, spec.retention, standing.retention),
    )
    unfilled = standing.unfilled or any(isinstance(step, MarkUnfilled) for step in defining)
    return Plan((*defining, *policies), fill=unfilled)


def _definition_steps(
    spec: ContinuousAggregateSpec, standing: StandingAggregate, definition: Definition
) -> Iterator[Step]:
    if standing.columns is None:
        yield CreateAggregate(spec.name, aggregate_query(spec, wanted_columns(spec)), spec.real_time)
        yield MarkUnfilled(spec.name)
        return
    missing = [column for column in spec.columns if column.name not in standing.columns]
    for column in missing:
        term = expression(column, spec.bucket.column)
        yield AddColumn(spec.name, column.name, definition.types[column.name], term)
    if missing:
        yield MarkUnfilled(spec.name)
    if standing.real_time != spec.real_time:
        yield SetRealTime(spec.name, spec.real_time)


def _refresh_steps(spec: ContinuousAggregateSpec, standing: StandingAggregate) -> Iterator[Step]:
    wanted = spec.refresh
    window = (wanted.start_offset, wanted.end_offset) if wanted else None
    kept = next((job for job in standing.refresh if (job.start_offset, job.end_offset) == window), None)
    yield from (DeleteJob(job.id) for job in standing.refresh if job is not kept)
    if wanted and kept and not (kept.scheduled and kept.schedule == wanted.schedule):
        yield AlterRefresh(kept.id, wanted.schedule)
    if wanted and not kept:
        yield AddRefreshPolicy(spec.name, wanted.start_offset, wanted.end_offset, wanted.schedule)


def _refusals(
    spec: ContinuousAggregateSpec, standing: StandingAggregate, definition: Definition, capability: Capability
) -> Iterator[Refusal]:
    if not standing.is_aggregate:
        yield Refusal(Reason.INVALID, f"{spec.name} is there and is no continuous aggregate; rename it or drop it")
    elif not standing.ours:
        yield Refusal(Reason.NOT_OWNED, f"{spec.name} belongs to another role; give it to the owner's")
    elif not definition.source_known:
        kind = "hypertable" if spec.source.table else "continuous aggregate"
        yield Refusal(Reason.SOURCE_UNKNOWN, f"there is no {kind} {spec.source.name} in the schema public")
    elif definition.problem:
        yield Refusal(Reason.INVALID, f"the database does not take the query: {definition.problem}")
    else:
        yield from _rebuild_refusals(spec, standing, capability)
    yield from _window_refusals(spec, definition)
    yield from retention_refusals(spec.retention, standing.readers)


def _rebuild_refusals(
    spec: ContinuousAggregateSpec, standing: StandingAggregate, capability: Capability
) -> Iterator[Refusal]:
    if standing.columns is None:
        return
    wanted = wanted_columns(spec)
    way = f'put the spec back, or consent to a rebuild by the annotation {REBUILD}: "true"'
    if extra := [name for name in standing.columns if name not in wanted]:
        yield Refusal(Reason.NEEDS_REBUILD, f"{spec.name} cannot lose its column {', '.join(extra)}; {way}")
    elif not standing.same_query:
        yield Refusal(Reason.NEEDS_REBUILD, f"{spec.name} was made with another source, bucket or column; {way}")
    elif set(wanted) > set(standing.columns) and _version(capability) < ADDS_COLUMNS:
        yield Refusal(
            Reason.NEEDS_REBUILD,
            f"not supported here: TimescaleDB {capability.timescaledb} adds no column to an aggregate, "
            f"2.28 does; {way}",
        )


def _window_refusals(spec: ContinuousAggregateSpec, definition: Definition) -> Iterator[Refusal]:
    if spec.refresh:
        start = spec.refresh.start_offset
        for job in definition.source_retention:
            if job.after is None or job.after.total <= start.total:
                yield Refusal(
                    Reason.RETENTION_INSIDE_REFRESH_WINDOW,
                    f"{spec.source.name} drops rows after {job.after}, inside the refresh window of {start}, and "
                    "refreshes would empty those buckets; shorten refresh.startOffset or keep the source for longer",
                )


def _version(capability: Capability) -> tuple[int, ...]:
    words = (capability.timescaledb or "0").split("-")[0].split(".")
    return tuple(int(word) for word in words if word.isdecimal())
