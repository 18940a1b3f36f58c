"""A ContinuousAggregate: its query as SQL, and from what is observed to what is desired, step by step."""

from collections.abc import Iterator, Sequence

from services.platform.postgres.capability import Capability

from ..refusals import Reason, Refusal
from ..specs.resources import Column, ContinuousAggregateSpec, Function
from .observed import Definition, ObservedAggregate
from .policies import columnstore_steps, retention_refusals, retention_steps
from .quoting import identifier, interval, literal, relation
from .steps import (
    Plan,
    Step,
    add_column,
    add_refresh_policy,
    create_aggregate,
    delete_job,
    mark_unfilled,
    reschedule_job,
    set_real_time,
)

__all__ = ["REBUILD", "aggregate_query", "desired_columns", "plan_aggregate"]

REBUILD = "millrace.dev/rebuild"
"""Annotation on a resource by which somebody consents to one rebuild."""

ADDS_COLUMNS = (2, 28)
"""The TimescaleDB version from which a continuous aggregate can get a column in place."""

BUCKET = "bucket"
"""Name of the column with the time bucket."""


def desired_columns(spec: ContinuousAggregateSpec) -> tuple[str, ...]:
    """Return the names of all columns in the order in which a new aggregate has them."""
    return (BUCKET, *spec.group_by, *(column.name for column in spec.columns))


def aggregate_query(spec: ContinuousAggregateSpec, columns: Sequence[str]) -> str:
    """Return the SELECT that gives `columns`, some of those that the spec desires, in their order."""
    zone = f", {literal(spec.bucket.time_zone)}" if spec.bucket.time_zone else ""
    bucket = f"time_bucket({interval(spec.bucket.width)}, {identifier(spec.bucket.column)}{zone})"
    terms = {BUCKET: bucket} | {name: identifier(name) for name in spec.group_by}
    groups = ", ".join(str(columns.index(name) + 1) for name in terms)
    terms |= {column.name: _expression(column, spec.bucket.column) for column in spec.columns}
    selected = ", ".join(f"{terms[name]} as {identifier(name)}" for name in columns)
    return f"select {selected} from {relation(spec.source.name)} group by {groups}"  # noqa: S608


def plan_aggregate(
    spec: ContinuousAggregateSpec,
    observed: ObservedAggregate,
    definition: Definition,
    capability: Capability,
    *,
    rebuild: bool = False,
) -> Plan:
    """Return the steps from `observed` to `spec`, none where it is so already.

    Args:
        spec: what is desired.
        observed: what has that name.
        definition: what the database makes of the desired query.
        capability: of the database; what it cannot do becomes `unsupported`.
        rebuild: whether somebody consents to a rebuild; the plan says whether one is due.
    """
    if capability.edition != "full":
        return Plan(unsupported=("not supported here: continuous aggregates need TimescaleDB's full edition",))
    refusals = tuple(_refusals(spec, observed, definition, capability))
    # Consent is to the rebuild alone: what else is wrong would be wrong with the new aggregate too.
    if rebuild and refusals and all(refusal.reason is Reason.NEEDS_REBUILD for refusal in refusals):
        return Plan(rebuild=True)
    if refusals:
        return Plan(refusals=refusals)
    steps = (
        *_definition_steps(spec, observed, definition),
        *_refresh_steps(spec, observed),
        *columnstore_steps(spec.name, spec.columnstore, observed.columnstore, None),
        *retention_steps(spec.name, spec.retention, observed.retention),
    )
    return Plan(steps, fill=observed.unfilled or mark_unfilled(spec.name) in steps)


def _definition_steps(
    spec: ContinuousAggregateSpec, observed: ObservedAggregate, definition: Definition
) -> Iterator[Step]:
    """Yield what makes the aggregate, or gives it columns; both leave a mark that the history waits for a refresh."""
    if observed.columns is None:
        yield create_aggregate(spec.name, aggregate_query(spec, desired_columns(spec)), real_time=spec.real_time)
        yield mark_unfilled(spec.name)
        return
    missing = [column for column in spec.columns if column.name not in observed.columns]
    for column in missing:
        term = _expression(column, spec.bucket.column)
        yield add_column(spec.name, column.name, definition.types[column.name], term)
    if missing:
        yield mark_unfilled(spec.name)
    if observed.real_time != spec.real_time:
        yield set_real_time(spec.name, real_time=spec.real_time)


def _refresh_steps(spec: ContinuousAggregateSpec, observed: ObservedAggregate) -> Iterator[Step]:
    """Yield what leaves one refresh policy with the desired window, or none.

    Another window is another policy, and the old one goes first: TimescaleDB refuses two whose windows overlap. Of the
    one that stays the schedule is altered.
    """
    desired = spec.refresh
    window = (desired.start_offset, desired.end_offset) if desired else None
    kept = next((job for job in observed.refresh if (job.start_offset, job.end_offset) == window), None)
    yield from (delete_job(job.id) for job in observed.refresh if job is not kept)
    if desired and kept and not (kept.scheduled and kept.schedule == desired.schedule):
        yield reschedule_job(kept.id, desired.schedule)
    if desired and not kept:
        yield add_refresh_policy(spec.name, desired.start_offset, desired.end_offset, desired.schedule)


def _refusals(
    spec: ContinuousAggregateSpec, observed: ObservedAggregate, definition: Definition, capability: Capability
) -> Iterator[Refusal]:
    """Yield why nothing is applied: of what has the name only the first reason, for the others follow from it."""
    if not observed.is_aggregate:
        yield Refusal(Reason.INVALID, f"{spec.name} is there and is no continuous aggregate; rename it or drop it")
    elif not observed.ours:
        yield Refusal(Reason.NOT_OWNED, f"{spec.name} belongs to another role; give it to the owner's")
    elif not definition.source_known:
        kind = "hypertable" if spec.source.table else "continuous aggregate"
        yield Refusal(Reason.SOURCE_UNKNOWN, f"there is no {kind} {spec.source.name} in the schema public")
    elif definition.problem:
        yield Refusal(Reason.INVALID, f"the database does not take the query: {definition.problem}")
    else:
        yield from _rebuild_refusals(spec, observed, capability)
    yield from _window_refusals(spec, definition)
    yield from retention_refusals(spec.retention, observed.readers)


def _rebuild_refusals(
    spec: ContinuousAggregateSpec, observed: ObservedAggregate, capability: Capability
) -> Iterator[Refusal]:
    """Yield why an aggregate cannot become what is desired in place: it can only gain columns."""
    if observed.columns is None:
        return
    desired = desired_columns(spec)
    way = f'put the spec back, or consent to a rebuild by the annotation {REBUILD}: "true"'
    if extra := [name for name in observed.columns if name not in desired]:
        yield Refusal(Reason.NEEDS_REBUILD, f"{spec.name} cannot lose its column {', '.join(extra)}; {way}")
    elif not observed.same_query:
        yield Refusal(Reason.NEEDS_REBUILD, f"{spec.name} was made with another source, bucket or column; {way}")
    elif set(desired) > set(observed.columns) and _version(capability) < ADDS_COLUMNS:
        yield Refusal(
            Reason.NEEDS_REBUILD,
            f"not supported here: TimescaleDB {capability.timescaledb} adds no column to an aggregate, "
            f"2.28 does; {way}",
        )


def _window_refusals(spec: ContinuousAggregateSpec, definition: Definition) -> Iterator[Refusal]:
    """Yield a refusal for each retention of the source that would drop rows inside the refresh window."""
    if spec.refresh:
        start = spec.refresh.start_offset
        for job in definition.source_retention:
            if job.after is None or job.after.total <= start.total:
                yield Refusal(
                    Reason.RETENTION_INSIDE_REFRESH_WINDOW,
                    f"{spec.source.name} drops rows after {job.after}, inside the refresh window of {start}, and "
                    "refreshes would empty those buckets; shorten refresh.startOffset or keep the source for longer",
                )
        tier = definition.source_tier
        if tier and tier.total <= start.total:
            yield Refusal(
                Reason.TIER_INSIDE_REFRESH_WINDOW,
                f"chunks of {spec.source.name} go to the tier after {tier}, inside the refresh window of {start}, and "
                "refreshes would empty those buckets; shorten refresh.startOffset or let them go later",
            )


def _expression(column: Column, time_column: str) -> str:
    """Return the SQL of an aggregated column over a source with `time_column`."""
    if column.expression:
        return f"({column.expression})"
    of = "*" if column.of is None else identifier(column.of)
    match column.function:
        case Function.FIRST | Function.LAST:
            return f"{column.function}({of}, {identifier(time_column)})"
        case Function.PERCENTILE:
            return f"percentile_cont({column.argument!r}::float8) within group (order by {of})"
    return f"{column.function}({of})"


def _version(capability: Capability) -> tuple[int, ...]:
    words = (capability.timescaledb or "0").split("-")[0].split(".")
    return tuple(int(word) for word in words if word.isdecimal())
