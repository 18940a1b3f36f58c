"""From what was planned and what stands to a resource's status, in the words of its definition."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from .cluster.conditions import Condition, instant
from .database.schema_status import SchemaStatus
from .database.status import AggregateStatus, HypertableStatus, JobStatus
from .planning.plan import Plan
from .scaling import Counts, Decision

__all__ = [
    "REBUILDING",
    "Change",
    "Report",
    "aggregate_report",
    "autoscaler_report",
    "hypertable_report",
    "schema_report",
]

REBUILDING = "Rebuilding"
"""Why an aggregate progresses while somebody's consent to a rebuild is being used."""

CALM = Condition(status=False, reason="Idle")

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


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the number of workers: when, why in one word, and what for a person."""

    at: datetime
    reason: str
    message: str


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
    ready = Condition(status=True, reason="Applied", message=f"schema version {status.version} on {able}")
    return Report(fields, {"Ready": ready, "Degraded": lacks if able.missing else WELL, "Progressing": CALM})


def hypertable_report(plan: Plan, status: HypertableStatus | None) -> Report:
    """Tell how a hypertable stands; `status` is None on a database without TimescaleDB."""
    jobs = status.jobs if status else {}
    fields = {
        "chunks": status.chunks if status else None,
        "compressedChunks": status.compressed if status else None,
        **{kind: _job(jobs.get(kind)) for kind in ("columnstore", "retention")},
    }
    return Report(fields, {"Ready": _ready(plan), "Degraded": _degraded(jobs, None), "Progressing": CALM})


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
        "Progressing": work or CALM,
    }
    return Report(fields, conditions)


def _work(plan: Plan) -> Condition | None:
    if plan.rebuild:
        return Condition(status=True, reason=REBUILDING, message="the new aggregate is built beside the old one")
    if plan.fill:
        return Condition(status=True, reason="Filling", message="the buckets of the past are being computed")
    return None


def autoscaler_report(decision: Decision, replicas: int, counts: Counts | None, change: Change | None) -> Report:
    """Tell what was decided on the number of workers and by which numbers.

    Args:
        decision: the latest.
        replicas: how many there were to be before it.
        counts: the stream's, None where they could not be read: then those told before stay.
        change: what was done just now, None where the number stayed.
    """
    fields: dict[str, Any] = {"currentReplicas": replicas, "desiredReplicas": decision.replicas}
    if counts:
        fields |= {"backlogRows": counts.rows, "oldestAgeSeconds": round(counts.age)}
    rates = {"arrivalsPerSecond": decision.arrivals, "drainPerSecond": decision.drain}
    fields |= {name: round(rate) if rate is not None else None for name, rate in rates.items()}
    if change:
        last = {"time": instant(change.at), "reason": change.reason, "message": change.message}
        fields["lastChange"] = last
    so = Condition(status=True, reason=decision.reason, message=decision.message)
    blind = decision.reason in {"NumbersMissing", "NumbersStale"}
    poor = blind or decision.reason in {"NothingDrains", "MoreHardlyHelp"}
    conditions = {
        "Ready": Condition(status=None, reason=so.reason, message=so.message) if blind else so,
        "Degraded": so if poor else WELL,
        "Progressing": so if change else CALM,
        "ScalingLimited": Condition(bool(decision.held), decision.held or "DesiredWithinRange", so.message),
    }
    return Report(fields, conditions)


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
