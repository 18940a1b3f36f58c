"""What a process waits for, told when it begins and then ever more seldom, by a level that says whether to look."""

import time

import structlog

__all__ = ["START", "Outage"]

log = structlog.get_logger(__name__)

START = 120.0
"""Seconds that a start may take, with all that a process needs starting beside it."""

FIRST_GAP, LONGEST_GAP = 10.0, 300.0
"""Seconds from one line about an outage to the next; each gap is twice the last."""


class Outage:
    """A part that may be lacking; what was never there may be just starting, and is no cause for alarm for a while."""

    def __init__(self, part: str) -> None:
        """Begin with a part that was not there yet."""
        self._part = part
        self._was_there = False
        self._began: float | None = None
        self._gap = self._again = 0.0

    def lasts(self, problem: str) -> None:
        """Tell that the part is lacking, unless that was told a moment ago."""
        now = time.monotonic()
        if self._began is None:
            self._began, self._gap, self._again = now, FIRST_GAP, now
        if now < self._again:
            return
        self._again, self._gap = now + self._gap, min(2 * self._gap, LONGEST_GAP)
        tell = log.warning if self._was_there or now - self._began > START else log.info
        tell("not ready", action="wait", part=self._part, problem=problem, seconds=round(now - self._began, 1))

    def over(self) -> None:
        """Tell that the part is there, if it was told to be lacking."""
        if self._began is not None:
            log.info("ready", action="wait", part=self._part, seconds=round(time.monotonic() - self._began, 1))
        self._began, self._was_there = None, True
