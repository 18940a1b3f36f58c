"""From a decision on the number of workers to a BacklogAutoscaler's status."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..status.conditions import Condition, instant
from ..status.reports import IDLE, WELL, Report
from .decision import Decision
from .rates import Counts

__all__ = ["Change", "autoscaler_report"]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the number of workers: when, why in one word, and what for a person."""

    at: datetime
    reason: str
    message: str


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
        "Progressing": so if change else IDLE,
        "ScalingLimited": Condition(bool(decision.held), decision.held or "DesiredWithinRange", so.message),
    }
    return Report(fields, conditions)
