"""Housekeeping: consumers that are gone, ledger rows past their horizon."""

import asyncio

import structlog

from services.platform.settings import WorkerSettings
from services.platform.stream import STREAM_ERRORS, GroupMissingError, Stream

from .store import RETRIED, Store

__all__ = ["keep_house"]

log = structlog.get_logger(__name__)

_MARGIN = 1.0
"""Hours that the ledger remembers beyond the horizon, so that clocks may differ."""


async def keep_house(stream: Stream, store: Store, settings: WorkerSettings) -> None:
    """Remove idle consumers that hold nothing and prune the ledger, for ever; trouble is for the next round."""
    while True:
        await asyncio.sleep(settings.janitor_interval)
        try:
            for name in await stream.remove_idle_consumers(settings.consumer_idle):
                log.info("removed a consumer", action="remove_consumer", consumer=name)
            while pruned := await store.prune(settings.ledger_horizon + _MARGIN):
                log.info("pruned the ledger", action="prune", rows=pruned)
        except (*STREAM_ERRORS, *RETRIED, GroupMissingError) as error:
            log.warning("housekeeping failed", action="keep_house", error=str(error))
