"""Columnstore and retention, which hypertables and continuous aggregates have alike."""

from collections.abc import Callable, Iterator, Sequence

from ..specs.intervals import Interval
from ..specs.resources import Columnstore, Retention
from .plan import Reason, Refusal
from .state import Job, Reader, StandingColumnstore
from .steps import AddColumnstorePolicy, AddRetentionPolicy, DeleteJob, ResumeJob, SetColumnstore, Settings, Step

__all__ = ["columnstore_steps", "retention_refusals", "retention_steps"]


def columnstore_steps(
    name: str, wanted: Columnstore | None, standing: StandingColumnstore, settings: Settings | None
) -> Iterator[Step]:
    """Yield what brings the columnstore of `name` to `wanted`; without one, its policies go.

    Args:
        name: of a table or, without `settings`, of a continuous aggregate, whose settings TimescaleDB chooses.
        wanted: the policy.
        standing: what is there.
        settings: what to segment and to order by.
    """
    if wanted and (not standing.enabled or settings not in {None, (standing.segment_by, standing.order_by)}):
        yield SetColumnstore(name, settings)
    after = wanted.after if wanted else None
    yield from _one_policy(standing.policies, after, lambda after: AddColumnstorePolicy(name, after))


def retention_steps(name: str, wanted: Retention | None, standing: Sequence[Job]) -> Iterator[Step]:
    """Yield what leaves `name` with the wanted retention policy alone, or with none."""
    after = wanted.after if wanted else None
    yield from _one_policy(standing, after, lambda after: AddRetentionPolicy(name, after))


def retention_refusals(wanted: Retention | None, readers: Sequence[Reader]) -> Iterator[Refusal]:
    """Yield a refusal for each aggregate that would refresh what retention has dropped."""
    if wanted is None:
        return
    for reader in readers:
        if reader.start_offset is None or reader.start_offset.total >= wanted.after.total:
            window = "its whole history" if reader.start_offset is None else f"the last {reader.start_offset}"
            yield Refusal(
                Reason.RETENTION_INSIDE_REFRESH_WINDOW,
                f"retention after {wanted.after} would empty what {reader.aggregate} holds, for it refreshes {window}; "
                "keep rows for longer, or shorten its refresh.startOffset first",
            )


def _one_policy(standing: Sequence[Job], wanted: Interval | None, add: Callable[[Interval], Step]) -> Iterator[Step]:
    kept = next((job for job in standing if wanted and job.after == wanted), None)
    yield from (DeleteJob(job.id) for job in standing if job is not kept)
    if kept and not kept.scheduled:
        yield ResumeJob(kept.id)
    if wanted and not kept:
        yield add(wanted)
