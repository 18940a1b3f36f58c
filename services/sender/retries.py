"""Retries: what an attempt to send a batch came to, whether another may follow it, and when.

A repeat must never double a row. With a key it cannot; without one, what may be stored is not sent again.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import orjson
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_before_delay, wait_random_exponential

from .connection import Answer, NotConnectedError

__all__ = ["Outcome", "State", "answered", "unanswered", "until_final"]

_JITTER = wait_random_exponential(multiplier=0.1, max=5.0)
"""Seconds between attempts where the server names none."""


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


async def until_final(
    attempt: Callable[[], Awaitable[Outcome]], *, patience: float, keyed: bool, retries: Callable[[], None]
) -> Outcome:
    """Attempt until the outcome is final, patience ends, or a repeat could store a row twice; return the last outcome.

    Args:
        attempt: sends the batch once.
        patience: seconds from the first attempt, in which the last one must begin.
        keyed: whether the batch has a key, so that it may be sent again whatever became of it.
        retries: is called before each attempt but the first.
    """
    doubt = False

    async def attempted() -> Outcome:
        nonlocal doubt
        outcome = await attempt()
        doubt |= outcome.state is State.UNKNOWN
        # What is refused at last may have been stored by an attempt whose answer was lost.
        return replace(outcome, state=State.UNKNOWN) if doubt and outcome.state is State.REFUSED else outcome

    retrying = AsyncRetrying(
        retry=retry_if_result(lambda outcome: outcome.again and (keyed or outcome.state is not State.UNKNOWN)),
        wait=_pause,
        stop=stop_before_delay(patience),
        before_sleep=lambda _: retries(),
        retry_error_callback=_last,
    )
    return await retrying(attempted)


def _pause(call: RetryCallState) -> float:
    """Return the seconds to the next attempt: as many as the server asks for, or else at random, of ever more."""
    after = _last(call).after
    return _JITTER(call) if after is None else after


def _last(call: RetryCallState) -> Outcome:
    assert call.outcome  # noqa: S101 -- an attempt was made
    outcome: Outcome = call.outcome.result()
    return outcome
