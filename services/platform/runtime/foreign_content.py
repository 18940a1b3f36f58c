"""What does not belong into a channel, key or table: it is counted, told once a minute, and passed over."""

import time

import structlog

from services.contract import Verdict, decode_refusals

from . import metrics

__all__ = ["pass_over", "refusals"]

log = structlog.get_logger(__name__)

_TOLD_EVERY = 60.0

_told_at: dict[str, float] = {}


def pass_over(what: str, place: str, why: str) -> None:
    """Count what is passed over, and tell it where the like was not told within the last minute.

    Args:
        what: what it is in the place of, such as "settlement_event": few words, for they name a metric's series.
        place: the channel, key or table.
        why: what is wrong with it.
    """
    metrics.foreign_content.add(1, {"what": what})
    now = time.monotonic()
    if now - _told_at.get(what, -_TOLD_EVERY) >= _TOLD_EVERY:
        _told_at[what] = now
        log.warning("passed over what does not belong there", action="pass_over", what=what, place=place, why=why)


def refusals(dead: str | None) -> dict[int, Verdict]:
    """Read the column `dead` of a ledger row: positions in the group, or 0, to verdicts."""
    found = decode_refusals(dead)
    if dead and not found:
        pass_over("refusal", "ingest_ledger", "a row's dead names no position of a batch")
    return found
