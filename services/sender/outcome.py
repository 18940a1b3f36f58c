"""What one attempt to send a batch came to, and whether another may follow."""

from dataclasses import dataclass
from enum import StrEnum

import orjson

from .connection import Answer, NotConnectedError

__all__ = ["Outcome", "State", "answered", "unanswered"]


class State(StrEnum):
    """What the sender knows of a batch.

    `sent` without a later line, and `unknown`: it may be stored or not. `acked`: ingest promised it.
    `refused`: it is certainly not stored.
    """

    SENT = "sent"
    ACKED = "acked"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known of a batch after an attempt.

    Attributes:
        state: ACKED; REFUSED where this attempt stored nothing for certain; UNKNOWN else.
        status: the answer's, None without one.
        why: what was wrong.
        batch_id: what ingest calls the batch.
        again: whether the fault may pass.
        after: seconds that the server asks to wait.
    """

    state: State
    status: int | None = None
    why: str = ""
    batch_id: str | None = None
    again: bool = False
    after: float | None = None


def answered(answer: Answer) -> Outcome:
    """Judge an answer."""
    status = answer.status
    try:
        body = orjson.loads(answer.body)
        if status in {200, 202}:
            return Outcome(State.ACKED, status, batch_id=str(body["batch_id"]))
        why = f"{status} {body['code']}: {body['detail']}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        why = f"{status} {answer.body[:200].decode(errors='replace')}"
    state = State.REFUSED if 400 <= status < 500 else State.UNKNOWN
    return Outcome(state, status, why, again=status in {429, 502, 503, 504}, after=answer.retry_after)


def unanswered(error: OSError) -> Outcome:
    """Judge an attempt that failed without an answer."""
    state = State.REFUSED if isinstance(error, NotConnectedError) else State.UNKNOWN
    return Outcome(state, why=f"no answer: {str(error) or type(error).__name__}", again=True)
