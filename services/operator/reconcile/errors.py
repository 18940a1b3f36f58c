"""What the database says against a pass, as refusals: it refuses, or it is away."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.platform.postgres.errors import DATABASE_AWAY, DatabaseRefusedError, words_of

from ..refusals import Reason, Refusal

__all__ = ["away", "refused", "refusing"]


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Raise what the database refuses in the block as a refusal that says of `what`.

    Raises:
        Refusal: the database refuses.
        DATABASE_AWAY: the connection is lost; some of these are errors of the server too, and go through as they are.
    """
    try:
        yield
    except DATABASE_AWAY:
        raise
    except DatabaseRefusedError as error:
        more = "; ".join(filter(None, (error.detail, error.hint)))
        said = f"{error.message} ({more})" if more else error.message
        raise Refusal(Reason.REFUSED_BY_DATABASE, f"{what}: {said}") from error


def refused(error: DatabaseRefusedError) -> Refusal:
    """Tell that the database refuses a statement."""
    return Refusal(Reason.REFUSED_BY_DATABASE, f"the database refuses: {words_of(error)}")


def away(error: BaseException) -> Refusal:
    """Tell that the database is away; its answer names no password."""
    what = "refuses the connection" if isinstance(error, DatabaseRefusedError) else "cannot be reached"
    return Refusal(Reason.DATABASE_AWAY, f"the database {what}: {words_of(error)}", unknown=True)
