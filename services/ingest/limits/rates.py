"""Limits of each caller, so that one flood leaves room for small senders."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from services.platform.http.auth import Caller
from services.platform.http.errors import Problem

__all__ = ["Rates", "Taken"]

_BURST = 2.0
"""Seconds' worth that a caller who was silent may send at once."""


@dataclass(slots=True)
class _Bucket:
    """Refills with `rate` a second. What is taken may leave it in debt, so that a batch of any size passes once."""

    rate: float
    level: float
    at: float = field(default_factory=time.monotonic)
    taken: float = 0.0

    def take(self, amount: float) -> None:
        self.level -= amount
        self.taken += amount

    def wait(self) -> float:
        """Return the seconds until something may be taken."""
        now = time.monotonic()
        self.level = min(_BURST * self.rate, self.level + (now - self.at) * self.rate)
        self.at = now
        return max(0.0, -self.level / self.rate) if self.level < 0 else 0.0


@dataclass(frozen=True, slots=True)
class Taken:
    """What a caller has taken of a limit: `total` of `what` so far, `limit` a second, and when it last came."""

    name: str
    what: str
    limit: float
    total: float
    at: float


class Rates:
    """Counts what each caller sends. One a process: a caller has its limits in each ingest."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str, float], _Bucket] = {}

    def check(self, caller: Caller) -> None:
        """Let a request of `caller` pass.

        Rows are not known before the body is read, so they are paid for afterwards: whoever is in debt waits.

        Raises:
            Problem: `rate_limited`, with Retry-After.
        """
        if caller.requests_per_second is None and caller.rows_per_second is None:
            return
        for what, rate in (("requests", caller.requests_per_second), ("rows", caller.rows_per_second)):
            if rate is not None and (wait := self._bucket(caller, what, rate).wait()) > 0:
                detail = f"caller {caller.name} may send {rate:g} {what} a second, and has sent more"
                raise Problem("rate_limited", detail, {"Retry-After": str(math.ceil(wait))})

    def count_request(self, caller: Caller) -> None:
        """Count a request that passed."""
        if caller.requests_per_second is not None:
            self._bucket(caller, "requests", caller.requests_per_second).take(1)

    def count_rows(self, caller: Caller, rows: int) -> None:
        """Count the readings of a request that passed."""
        if caller.rows_per_second is not None:
            self._bucket(caller, "rows", caller.rows_per_second).take(rows)

    def taken(self) -> Iterator[Taken]:
        """Yield what callers with limits have taken since this process began."""
        for (name, what, rate), bucket in self._buckets.items():
            yield Taken(name, what, rate, bucket.taken, bucket.at)

    def _bucket(self, caller: Caller, what: str, rate: float) -> _Bucket:
        name = (caller.name, what, rate)
        if name not in self._buckets:
            self._buckets[name] = _Bucket(rate, _BURST * rate)
        return self._buckets[name]
