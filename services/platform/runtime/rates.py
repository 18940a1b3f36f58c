"""How fast a total grows, told from looks at it."""

from dataclasses import dataclass

__all__ = ["KNOWN_AFTER", "SHOWN_OVER", "SMOOTHING", "UNMEASURED", "Meter", "Rate"]

SMOOTHING = 30.0
"""Seconds over which rates are averaged: several looks, so that one large batch is no burst."""

KNOWN_AFTER = 10.0
"""Seconds of measuring after which a rate is known: more than two looks, for a single one may hold no batch at all."""

SHOWN_OVER = 10.0
"""Seconds over which a rate is averaged that people look at: who stops a sender wants to see it."""

_FORGET_AFTER = 300.0
"""Seconds without a look after which a meter begins anew: the mean over a longer gap says little about now."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A mean of rows/s that turns into a moving one: `seconds` is how long it was measured, at most what it is over."""

    value: float = 0.0
    seconds: float = 0.0

    @property
    def known(self) -> bool:
        """Whether it was measured for long enough."""
        return self.seconds >= KNOWN_AFTER

    def blend(self, rows: float, seconds: float, over: float = SMOOTHING) -> "Rate":
        """Take in that `rows` passed in the last `seconds`.

        The weight of the new is its share of all time measured so far, a plain mean, until `over` seconds are full;
        from then on the old fades exponentially. So a rate is right after its first seconds, where a moving mean from
        zero would climb for a minute.
        """
        total = min(self.seconds + seconds, over)
        return Rate(self.value + min(1.0, seconds / total) * (rows / seconds - self.value), total)


UNMEASURED = Rate()


@dataclass(frozen=True, slots=True)
class Meter:
    """A total as it was last seen, at an instant of a clock that never goes back, and how fast it grew until then."""

    at: float
    total: float
    rate: Rate = UNMEASURED

    @property
    def per_second(self) -> float | None:
        """How fast it grows, None before the second look."""
        return self.rate.value if self.rate.seconds else None

    def look(self, at: float, total: float) -> "Meter":
        """Take in another look; where the total fell, who keeps it lost data, and nothing is learned."""
        seconds = at - self.at
        if total < self.total or seconds > _FORGET_AFTER:
            return Meter(at, total)
        return Meter(at, total, self.rate.blend(total - self.total, seconds, SHOWN_OVER)) if seconds > 0 else self
