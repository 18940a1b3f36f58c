"""Why a resource is not acted upon."""

from pydantic import ValidationError

from services.platform.postgres.errors import DatabaseRefusedError, words_of

__all__ = ["Refused", "away", "invalid", "refused"]


class Refused(Exception):  # noqa: N818 -- nothing went wrong; a person has to decide
    """Nothing is applied.

    Attributes:
        reason: of the condition Ready.
        message: what a person can do about it.
        unknown: whether what stands in the database is not known, rather than wrong.
    """

    def __init__(self, reason: str, message: str, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.reason, self.message, self.unknown = reason, message, unknown


def invalid(error: ValidationError) -> Refused:
    """Name the fields of a spec that are wrong."""
    problems = (f"spec.{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return Refused("InvalidSpec", "; ".join(problems))


def refused(error: DatabaseRefusedError) -> Refused:
    """Tell that the database refuses a statement."""
    return Refused("RefusedByDatabase", f"the database refuses: {words_of(error)}")


def away(error: BaseException) -> Refused:
    """Tell that the database is away; its answer names no password."""
    what = "refuses the connection" if isinstance(error, DatabaseRefusedError) else "cannot be reached"
    return Refused("DatabaseAway", f"the database {what}: {words_of(error)}", unknown=True)
