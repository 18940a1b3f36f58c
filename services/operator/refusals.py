"""Why a resource is not acted upon: one exception for planning, the passes and the autoscaler, by a closed list."""

from enum import StrEnum

from pydantic import ValidationError

__all__ = ["Reason", "Refusal", "invalid"]


class Reason(StrEnum):
    """The `reason` of the condition Ready where nothing is applied."""

    # What the spec says cannot be had, by itself or beside other resources.
    INVALID_SPEC = "InvalidSpec"
    CONFLICT = "Conflict"
    ANOTHER_SCHEMA = "AnotherSchema"
    NO_SCHEMA = "NoSchema"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 -- the name of a reason
    TARGET_MISSING = "TargetMissing"
    TARGET_NOT_SCALABLE = "TargetNotScalable"
    # What the spec says cannot be had in this database.
    IMMUTABLE = "Immutable"
    INVALID = "Invalid"
    NEEDS_REBUILD = "NeedsRebuild"
    NOT_OWNED = "NotOwned"
    REBUILD_LOSES_HISTORY = "RebuildLosesHistory"
    RETENTION_INSIDE_REFRESH_WINDOW = "RetentionInsideRefreshWindow"
    SOURCE_UNKNOWN = "SourceUnknown"
    TIER_INSIDE_REFRESH_WINDOW = "TierInsideRefreshWindow"
    # What the database answers.
    DATABASE_AWAY = "DatabaseAway"
    REFUSED_BY_DATABASE = "RefusedByDatabase"
    SCHEMA_NOT_APPLIED = "SchemaNotApplied"
    TIMESCALEDB_NOT_UPDATED = "TimescaleDBNotUpdated"


class Refusal(Exception):  # noqa: N818 -- nothing went wrong; a person has to decide
    """Nothing is applied. A plan holds refusals as values; whoever carries it out raises them.

    Attributes:
        reason: of the condition Ready.
        message: what a person can do about it.
        unknown: whether what the database holds is not known, rather than wrong.
    """

    def __init__(self, reason: Reason, message: str, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.reason, self.message, self.unknown = reason, message, unknown


def invalid(error: ValidationError) -> Refusal:
    """Name the fields of a spec that are wrong."""
    problems = (f"spec.{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return Refusal(Reason.INVALID_SPEC, "; ".join(problems))
