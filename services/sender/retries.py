"""Attempts to send a batch: until its outcome is final by the client's rules, or patience ends."""

from collections.abc import Awaitable, Callable

from millrace_client.outcomes import Outcome, State, in_doubt
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_before_delay, wait_random_exponential

__all__ = ["until_final"]

_JITTER = wait_random_exponential(multiplier=0.1, max=5.0)
"""Seconds between attempts where the server names none."""


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
        return in_doubt(outcome, doubt=doubt)

    retrying = AsyncRetrying(
        retry=retry_if_result(lambda outcome: outcome.repeatable(keyed=keyed)),
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
