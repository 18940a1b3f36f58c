"""How long what was read waits for what comes next, so that both share a transaction. Pure.

A transaction costs some milliseconds of CPU whatever is in it. Where much comes in small entries, these are most of the
whole, and a wait makes many transactions into one; where little comes, a wait is nothing but delay. So the arrivals of
the last moments decide whether and how long, and a wait ends early where nothing is left to be gained, or somebody
waits for the commit.
"""

import math
from dataclasses import dataclass
from typing import Self

__all__ = ["Arrivals", "Bounds", "Hand", "wait_for_more"]

_MEMORY = 0.25
"""Seconds in which an arrival's weight falls to a third."""

_ROWS = 500
"""Rows that come in the longest wait, from which on a wait is so long; of fewer it is a share. So light loads are
hardly delayed."""

_ENTRIES = 4
"""Entries that must be expected in a wait for it to pay. A client that looks for its reading before it sends the next
stays below."""

_MISSED = 8
"""Entries that should have come since the last one did, at which a flood is over."""

_ENOUGH_BYTES = 16 * 1024 * 1024
"""Payload that is a large transaction, whatever its rows are."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What came lately, each arrival weighing less the longer ago it was.

    Attributes:
        at: seconds of a clock that never goes back, of the last arrival.
        entries: weight of the entries.
        rows: of their readings.
        awaited: of entries whose commit somebody waits for.
    """

    at: float = 0.0
    entries: float = 0.0
    rows: float = 0.0
    awaited: float = 0.0

    def followed_by(self, now: float, entries: int, rows: int, awaited: int) -> Self:
        """Return the arrivals with those of this moment; of a flood that is over nothing is left."""
        left = 0.0 if self.over(now) else math.exp((self.at - now) / _MEMORY)
        return type(self)(now, left * self.entries + entries, left * self.rows + rows, left * self.awaited + awaited)

    def over(self, now: float) -> bool:
        """Tell whether what should have come since the last arrival, if it went on so, did not."""
        return self.expected_in(now - self.at)[0] >= _MISSED

    def expected_in(self, seconds: float) -> tuple[float, float, float]:
        """Return how many entries, rows and awaited entries come in so many seconds, if it goes on so."""
        share = seconds / _MEMORY
        return share * self.entries, share * self.rows, share * self.awaited


@dataclass(frozen=True, slots=True)
class Hand:
    """What was read and is not yet being written.

    Attributes:
        since: when its first entry stood in the stream, in seconds of the clock of `Arrivals`.
        entries: how many there are.
        rows: their readings.
        size: bytes of their payloads.
        awaited: whether somebody waits for the commit of one of them.
    """

    since: float
    entries: int
    rows: int
    size: int
    awaited: bool


@dataclass(frozen=True, slots=True)
class Bounds:
    """What ends a wait.

    Attributes:
        longest: seconds after which the first entry of a hand waits no more.
        entries: with which a transaction is full.
        rows: beside which a transaction's own cost no longer counts.
    """

    longest: float
    entries: int
    rows: int


def wait_for_more(hand: Hand, arrivals: Arrivals, now: float, bounds: Bounds) -> float:
    """Return for how many seconds the hand waits for more, 0 where it is to be written at once.

    Args:
        hand: what was read.
        arrivals: up to now, those of the hand included.
        now: seconds of the same clock.
        bounds: of the wait.
    """
    if hand.awaited or hand.entries >= bounds.entries or hand.rows >= bounds.rows or hand.size >= _ENOUGH_BYTES:
        return 0.0
    if arrivals.over(now):
        return 0.0
    entries, rows, awaited = arrivals.expected_in(bounds.longest)
    share = min(1.0, rows / _ROWS)
    # Where somebody waits again and again, each wait would be broken off; so none begins.
    if share * entries < _ENTRIES or share * awaited >= 1:
        return 0.0
    return max(0.0, hand.since + share * bounds.longest - now)
