"""Trying again at growing pauses: a caller says the bounds and which errors pass; how it is done stands here alone."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_base

__all__ = ["pauses", "retried"]

T = TypeVar("T")


def pauses(first: float, longest: float) -> Iterator[float]:
    """Yield pauses in seconds, for ever: each is twice the last, and none more than `longest`.

    For loops in which no call fails, such as those that look until there is something; others use `retried`.
    """
    pause = first
    while True:
        yield pause
        pause = min(2 * pause, longest)


async def retried(
    work: Callable[[], Awaitable[T]],
    errors: tuple[type[BaseException], ...],
    failed: Callable[[BaseException], None],
    *,
    first: float,
    longest: float,
    steady: float = math.inf,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """Return what `work` returns, tried again for as long as it ends by one of `errors`.

    Args:
        work: called for each attempt.
        errors: that pass, or that somebody will mend; all others leave at once.
        failed: hears each of them, before the pause.
        first: seconds to the second attempt; each pause is then twice the last,
        longest: up to this.
        steady: an attempt that lasted so many seconds did its work until something new went wrong, and the pauses begin
            anew.
        sleep: waits so many seconds; what it raises ends the attempts.
    """
    # Nearly everything succeeds at once, and tenacity's bookkeeping costs a tenth of a small transaction.
    try:
        return await work()
    except errors as error:
        first_failure: BaseException | None = error

    async def again() -> T:
        nonlocal first_failure
        if first_failure:
            error, first_failure = first_failure, None
            raise error
        return await work()

    def tell(state: RetryCallState) -> None:
        if state.outcome and (error := state.outcome.exception()):
            failed(error)

    return await AsyncRetrying(
        retry=retry_if_exception_type(errors),
        wait=_Growing(first, longest, steady),
        before_sleep=tell,
        sleep=sleep,
    )(again)


class _Growing(wait_base):
    """Pauses of one series of attempts."""

    def __init__(self, first: float, longest: float, steady: float) -> None:
        self._bounds, self._steady = (first, longest), steady
        self._pauses = pauses(*self._bounds)
        self._worked = 0.0

    def __call__(self, retry_state: Any) -> float:
        # tenacity keeps the time since the first attempt and that of all pauses, not how long the last attempt took.
        worked = retry_state.seconds_since_start - retry_state.idle_for
        if worked - self._worked > self._steady:
            self._pauses = pauses(*self._bounds)
        self._worked = worked
        return next(self._pauses)
