"""Conditions of a resource, in the shape that Kubernetes gives them (`metav1.Condition`); `writer` writes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

__all__ = ["LONGEST_MESSAGE", "Condition", "condition", "instant", "merged"]

LONGEST_MESSAGE = 1024
"""Characters of a message that are kept; a database may quote a whole query."""

_WORDS = {True: "True", False: "False", None: "Unknown"}


@dataclass(frozen=True, slots=True)
class Condition:
    """What is so, is not so or is unknown (None).

    Attributes:
        status: whether it is so.
        reason: one word in CamelCase, for programs.
        message: what a person needs to know, and to do where something is to be done.
    """

    status: bool | None
    reason: str
    message: str = ""


def instant(time: datetime) -> str:
    """Write an instant as Kubernetes does: RFC 3339 in UTC, `time` has a zone."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def merged(
    old: Sequence[Mapping[str, Any]], generation: int, now: datetime, desired: Mapping[str, Condition]
) -> list[dict[str, Any]]:
    """Return the conditions to write.

    Args:
        old: those that the resource has.
        generation: of the spec that they are about.
        now: the transition time of each whose status changes.
        desired: by type; others that the resource has go.
    """
    before = {item["type"]: item for item in old}
    return [_written(kind, new, before.get(kind, {}), generation, now) for kind, new in desired.items()]


def condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return the condition of a type in a resource's status, empty where it has none."""
    return next((item for item in status.get("conditions", ()) if item["type"] == kind), {})


def _written(kind: str, new: Condition, old: Mapping[str, Any], generation: int, now: datetime) -> dict[str, Any]:
    status = _WORDS[new.status]
    since = old.get("lastTransitionTime") if old.get("status") == status else None
    return {
        "type": kind,
        "status": status,
        "reason": new.reason,
        "message": new.message[:LONGEST_MESSAGE],
        "observedGeneration": generation,
        "lastTransitionTime": since or instant(now),
    }
