"""Housekeeping: what vanished, consumers that are gone, ledger rows and dead letters past their time."""

import asyncio

import structlog

from services.platform.postgres.errors import DATABASE_FAILURES
from services.platform.runtime import metrics
from services.platform.settings import WorkerSettings
from services.platform.stream import STREAM_ERRORS, DeadLetters, GroupMissingError, Stream

from .transaction import Store

__all__ = ["keep_house", "tell_losses"]

log = structlog.get_logger(__name__)

_REMEMBERED = 1.1
"""How much of their horizons ledger and keys of slices are kept: a tenth more, so that clocks may differ."""


async def keep_house(stream: Stream, store: Store, letters: DeadLetters, settings: WorkerSettings) -> None:
    """Tell what vanished, remove idle consumers that hold nothing, prune the ledger and expire dead letters, for ever.

    Trouble is for the next round.
    """
    while True:
        await asyncio.sleep(settings.janitor_interval)
        try:
            await tell_losses(stream)
            removed, again = await stream.keep_group(settings.consumer_idle)
            for name in removed:
                log.info("removed a consumer", action="remove_consumer", consumer=name)
            if again:
                metrics.stream_losses.add(1, {"what": "consumer"})
                log.error("entries were held by nobody; they are delivered again", action="rewind")
            if settings.dead_letter_retention:
                await _expire(letters, settings.dead_letter_retention)
            # What waits may repeat what was stored within a horizon before it was accepted. What has waited for longer
            # than the ledger's becomes a dead letter.
            waits = min((await stream.backlog()).age / 3600, settings.ledger_horizon)
            while pruned := await store.prune(_REMEMBERED * settings.ledger_horizon + waits):
                log.info("pruned the ledger", action="prune", rows=pruned)
            while pruned := await store.prune_slices(_REMEMBERED * settings.repeat_horizon + waits):
                log.debug("pruned the keys of slices", action="prune_slices", rows=pruned)
        except (*STREAM_ERRORS, *DATABASE_FAILURES, GroupMissingError) as error:
            log.warning("housekeeping failed", action="keep_house", error=str(error))


async def tell_losses(stream: Stream) -> None:
    """Count and log what vanished since any worker looked last.

    Raises:
        redis.exceptions.RedisError: the stream's server is away.
    """
    lost = await stream.losses()
    if lost.entries:
        metrics.stream_losses.add(lost.entries, {"what": "entry"})
    if lost.entries or lost.rows:
        log.error(
            "entries were taken out of the stream by somebody (XTRIM, XDEL, DEL); what no worker had stored is lost",
            action="lose",
            entries=lost.entries,
            rows=lost.rows,
        )


async def _expire(letters: DeadLetters, days: float) -> None:
    expired = await letters.expire(days * 86_400)
    if expired:
        metrics.dead_letters_removed.add(expired, {"how": "expired"})
        log.warning("deleted dead letters past their retention", action="expire", letters=expired)
