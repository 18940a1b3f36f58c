"""Columnstore and retention, which hypertables and continuous aggregates have alike."""

from collections.abc import Callable, Iterator, Sequence

from ..refusals import Reason, Refusal
from ..specs.intervals import Interval
from ..specs.resources import Columnstore, Retention, Tier
from .observed import Job, ObservedColumnstore, Reader
from .steps import (
    Settings,
    Step,
    add_columnstore_policy,
    add_retention_policy,
    delete_job,
    resume_job,
    set_columnstore,
    set_tier,
)

__all__ = ["columnstore_steps", "retention_refusals", "retention_steps", "tier_refusals", "tier_steps"]


def columnstore_steps(
    name: str, desired: Columnstore | None, observed: ObservedColumnstore, settings: Settings | None
) -> Iterator[Step]:
    """Yield what brings the columnstore of `name` to `desired`; without one, its policies go.

    Args:
        name: of a table or, without `settings`, of a continuous aggregate, whose settings TimescaleDB chooses.
        desired: the policy.
        observed: what is there.
        settings: what to segment and to order by.
    """
    if desired and (not observed.enabled or settings not in {None, (observed.segment_by, observed.order_by)}):
        yield set_columnstore(name, settings)
    after = desired.after if desired else None
    yield from _one_policy(observed.policies, after, lambda after: add_columnstore_policy(name, after))


def retention_steps(name: str, desired: Retention | None, observed: Sequence[Job]) -> Iterator[Step]:
    """Yield what leaves `name` with the desired retention policy alone, or with none."""
    after = desired.after if desired else None
    yield from _one_policy(observed, after, lambda after: add_retention_policy(name, after))


def retention_refusals(desired: Retention | None, readers: Sequence[Reader]) -> Iterator[Refusal]:
    """Yield a refusal for each aggregate that would refresh what retention has dropped."""
    if desired is None:
        return
    for reader in readers:
        if reader.start_offset is None or reader.start_offset.total >= desired.after.total:
            window = "its whole history" if reader.start_offset is None else f"the last {reader.start_offset}"
            yield Refusal(
                Reason.RETENTION_INSIDE_REFRESH_WINDOW,
                f"retention after {desired.after} would empty what {reader.aggregate} holds, for it refreshes "
                f"{window}; keep rows for longer, or shorten its refresh.startOffset first",
            )


def tier_steps(desired: Tier | None, observed: Interval | None) -> Iterator[Step]:
    """Yield what has chunks go to the tier at the desired age, or none."""
    after = desired.after if desired else None
    if after != observed:
        yield set_tier(after)


def tier_refusals(desired: Tier | None, readers: Sequence[Reader]) -> Iterator[Refusal]:
    """Yield a refusal for each aggregate that would refresh what went to the tier."""
    if desired is None:
        return
    for reader in readers:
        if reader.start_offset is None or reader.start_offset.total >= desired.after.total:
            yield Refusal(
                Reason.TIER_INSIDE_REFRESH_WINDOW,
                f"chunks would go to the tier after {desired.after}, and {reader.aggregate} refreshes "
                f"{'its whole history' if reader.start_offset is None else f'the last {reader.start_offset}'}; "
                "keep them for longer, or shorten its refresh.startOffset first",
            )


def _one_policy(observed: Sequence[Job], desired: Interval | None, add: Callable[[Interval], Step]) -> Iterator[Step]:
    """Yield what leaves the one policy that acts at the age `desired`, or none.

    TimescaleDB takes one policy of a kind: what acts at another age goes before the right one is added. One that is
    right and was stopped by hand is resumed.
    """
    kept = next((job for job in observed if desired and job.after == desired), None)
    yield from (delete_job(job.id) for job in observed if job is not kept)
    if kept and not kept.scheduled:
        yield resume_job(kept.id)
    if desired and not kept:
        yield add(desired)
