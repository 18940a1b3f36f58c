"""From what was planned and observed to a resource's status, in the words of its definition.

Pure: a report is a value, which `writer` writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from services.database.aggregates.status import AggregateStatus, HypertableStatus, JobStatus
from services.database.schema.status import SchemaStatus

from ..planning.steps import Plan
from .conditions import Condition, instant

__all__ = [
    "IDLE",
    "REBUILDING",
    "WELL",
    "Report",
    "aggregate_report",
    "hypertable_report",
    "schema_report",
]

REBUILDING = "Rebuilding"
"""Why an aggregate progresses while somebody's consent to a rebuild is being used."""

IDLE = Condition(status=False, reason="Idle")

WELL = Condition(status=False, reason="Well")


@dataclass(frozen=True, slots=True)
class Report:
    """What to write into a status.

    Attributes:
        fields: by their names in the definition; None takes one away.
        conditions: by type; "Ready" is among them.
    """

    fields: Mapping[str, Any]
    conditions: Mapping[str, Condition]


def schema_report(status: SchemaStatus) -> Report:
    """Tell which schema a database has, and what the database cannot do."""
    able = status.capability
    fields = {
        "version": status.version,
        "pending": list(status.pending),
        "postgresql": able.postgresql,
        "timescaledb": able.timescaledb,
        "edition": able.edition,
        "notSupported": list(able.missing),
    }
    lacks = Condition(status=True, reason="NotSupported", message=f"not supported here: {'; '.join(able.missing)}")
    ready = Condition(
        status=True, reason="Applied", message=f"schema version {status.version} on {able}; {status.catalogue}"
    )
    return Report(fields, {"Ready": ready, "Degraded": lacks if able.missing else WELL, "Progressing": IDLE})


def hypertable_report(plan: Plan, status: HypertableStatus | None) -> Report:
    """Tell how a hypertable stands; `status` is None on a database without TimescaleDB."""
    jobs = status.jobs if status else {}
    fields = {
        "chunks": status.chunks if status else None,
        "compressedChunks": status.compressed if status else None,
        **{kind: _job(jobs.get(kind)) for kind in ("columnstore", "retention")},
    }
    return Report(fields, {"Ready": _ready(plan), "Degraded": _degraded(jobs, None), "Progressing": IDLE})


def aggregate_report(plan: Plan, status: AggregateStatus | None, problem: str | None) -> Report:
    """Tell how a continuous aggregate stands.

    Args:
        plan: that was applied.
        status: None on a database without continuous aggregates.
        problem: why the last attempt to fill or rebuild it failed.
    """
    jobs = status.jobs if status else {}
    fields = {
        "watermark": instant(status.watermark) if status and status.watermark else None,
        "lateRanges": status.late_ranges if status else None,
        **{kind: _job(jobs.get(kind)) for kind in ("refresh", "columnstore", "retention")},
    }
    work = _work(plan)
    conditions = {
        "Ready": replace(work, status=False) if work else _ready(plan),
        "Degraded": _degraded(jobs, problem),
        "Progressing": work or IDLE,
    }
    return Report(fields, conditions)


def _work(plan: Plan) -> Condition | None:
    if plan.rebuild:
        return Condition(status=True, reason=REBUILDING, message="the new aggregate is built beside the old one")
    if plan.fill:
        return Condition(status=True, reason="Filling", message="the buckets of the past are being computed")
    return None


def _ready(plan: Plan) -> Condition:
    if plan.unsupported:
        return Condition(status=False, reason="NotSupported", message="; ".join(plan.unsupported))
    return Condition(status=True, reason="Reconciled", message="the database is as described")


def _degraded(jobs: Mapping[str, JobStatus], problem: str | None) -> Condition:
    failing = [f"the {kind} policy fails: {job.last_error}" for kind, job in jobs.items() if job.last_error]
    if problem:
        return Condition(status=True, reason="BackgroundWorkFails", message="; ".join([problem, *failing]))
    return Condition(status=True, reason="JobFailing", message="; ".join(failing)) if failing else WELL


def _job(job: JobStatus | None) -> dict[str, Any] | None:
    if job is None:
        return None
    return {
        "lastRun": instant(job.last_run) if job.last_run else None,
        "nextRun": instant(job.next_run) if job.next_run else None,
        "lastDurationSeconds": None if job.last_duration is None else round(job.last_duration, 3),
        "lastError": job.last_error,
        "failures": job.failures,
    }
