"""What an attempt to send a batch came to, and whether another may follow it.

A repeat must never double a reading. With an Idempotency-Key it cannot, for as long as the ledger remembers; without
one, what may be stored is not sent again.
"""

import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

__all__ = ["Outcome", "State", "answered", "in_doubt", "unanswered"]


class State(StrEnum):
    """What the sender knows of a batch.

    `sent` without a later word, and `unknown`: it may be stored or not. `acked`: ingest promised it.
    `refused`: it is certainly not stored.
    """

    SENT = "sent"
    ACKED = "acked"
    REFUSED = "refused"
    UNKNOWN = "unknown"


_TOO_LARGE = {"too_many_rows", "body_too_large", "malformed_body"}
"""Codes that blame the batch and may be of one reading."""


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
        code: the problem's, empty where there is none.
        faults: of readings, `{"index", "field", "code", "message"}` each: the first hundred, also of a batch of which
            the others were taken.
        accepted: how many readings were taken.
        rejected: how many readings are wrong where the attempt was refused for that; `faults` may name fewer.
        skipped: how many values of which kind came beside the readings and are not kept.
    """

    state: State
    status: int | None = None
    why: str = ""
    batch_id: str | None = None
    again: bool = False
    after: float | None = None
    code: str = ""
    faults: list[dict[str, Any]] = field(default_factory=list)
    accepted: int = 0
    rejected: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    @property
    def too_large(self) -> bool:
        """Whether fewer readings may be taken; a single one that is answered so is at fault itself."""
        return self.code in _TOO_LARGE or self.status == 413

    def repeatable(self, *, keyed: bool) -> bool:
        """Tell whether the same batch may be sent again, with its key or without one."""
        return self.again and (keyed or self.state is not State.UNKNOWN)


def answered(status: int, retry_after: float | None, body: bytes) -> Outcome:
    """Judge an answer by its status, its Retry-After in seconds, and its body."""
    code, faults, rejected = "", list[dict[str, Any]](), 0
    try:
        found = json.loads(body)
        if status in {200, 202}:
            return Outcome(
                State.ACKED,
                status,
                batch_id=str(found["batch_id"]),
                faults=[dict(each) for each in found.get("rejected", ())],
                accepted=int(found.get("accepted", 0)),
                skipped=dict(found.get("skipped", {})),
            )
        code = str(found["code"])
        why = f"{status} {code}: {found['detail']}"
        faults = [dict(each) for each in found.get("errors", ())]
        rejected = int(found.get("rejected", 0))
    except (ValueError, KeyError, TypeError):
        why = f"{status} {body[:200].decode(errors='replace')}"
    state = State.REFUSED if 400 <= status < 500 else State.UNKNOWN
    again = status in {429, 502, 503, 504}
    return Outcome(state, status, why, again=again, after=retry_after, code=code, faults=faults, rejected=rejected)


def unanswered(error: Exception, *, connected: bool) -> Outcome:
    """Judge an attempt that failed without an answer; where nobody was `connected`, nothing was sent."""
    state = State.UNKNOWN if connected else State.REFUSED
    return Outcome(state, why=f"no answer: {str(error) or type(error).__name__}", again=True)


def in_doubt(outcome: Outcome, *, doubt: bool) -> Outcome:
    """Return what is known where an earlier attempt is in `doubt`: it may have stored what is refused now."""
    return replace(outcome, state=State.UNKNOWN) if doubt and outcome.state is State.REFUSED else outcome
