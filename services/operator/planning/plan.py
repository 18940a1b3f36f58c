"""A plan, and the reasons for having none."""

from dataclasses import dataclass
from enum import StrEnum

from .steps import Step

__all__ = ["Plan", "Reason", "Refusal"]


class Reason(StrEnum):
    """Why nothing is applied: the `reason` of a condition."""

    IMMUTABLE = "Immutable"
    INVALID = "Invalid"
    NOT_OWNED = "NotOwned"
    NEEDS_REBUILD = "NeedsRebuild"
    REBUILD_LOSES_HISTORY = "RebuildLosesHistory"
    RETENTION_INSIDE_REFRESH_WINDOW = "RetentionInsideRefreshWindow"
    SOURCE_UNKNOWN = "SourceUnknown"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a spec is not applied, and what a person can do about it."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order.

    Attributes:
        steps: to run in one transaction.
        refusals: where there is one, there are no steps.
        unsupported: what is wanted and this database cannot do; the steps do the rest.
        fill: whether the history of an aggregate waits for a refresh behind the steps.
        rebuild: whether nothing but a rebuild is due, which somebody consented to.
    """

    steps: tuple[Step, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    unsupported: tuple[str, ...] = ()
    fill: bool = False
    rebuild: bool = False
