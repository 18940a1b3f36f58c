"""Rounds of repair: the operator's, and those of one machine."""

import asyncio
import time

import asyncpg
import structlog

from services.platform.postgres.errors import DATABASE_AWAY
from services.platform.runtime.health import Health
from services.platform.runtime.metrics import observe
from services.platform.settings import RepairSettings

from ..aggregates.refresh import refreshing
from .late_ranges import Repaired, recompute_changed, repair_once
from .retention import watch_retention
from .rounds import Database, Rounds, reconnecting

__all__ = ["RepairLoop", "repair_health"]

log = structlog.get_logger(__name__)

REST = 4
"""Rest after a round, in times its length: a backfill must not keep the database refreshing all the time, and
notes that gather meanwhile are refreshed together. Queries are right all along."""


def repair_health(settings: RepairSettings) -> Health:
    """Return the health of the loops of repair and deletions; repair may be silent for the length of a refresh."""
    return Health("repair", "deletions", stuck_after=settings.refresh_timeout * 2 + 120)


class RepairLoop:
    """Refreshes late ranges for as long as it runs."""

    def __init__(self, settings: RepairSettings, health: Health, database: Database) -> None:
        """Take what waits for the database; it is asked at each new connection."""
        self._settings, self._health, self._database = settings, health, database
        self._last: Repaired | None = None
        observe("millrace_late_ranges_waiting", "Late ranges that the last round left.", self._waiting)

    async def run(self) -> None:
        """Round after round, until cancelled; a refresh that is cut short leaves its notes where they are."""
        await reconnecting(self._health, "repair", self._rounds_on_a_connection)

    def _waiting(self) -> float | None:
        return None if self._last is None else self._last.waiting

    async def _rounds_on_a_connection(self, rounds: Rounds) -> None:
        database, capability = await self._database()
        async with refreshing(database, self._settings.refresh_timeout) as (connection, guard):
            with rounds.connected():
                while True:
                    self._health.beat()
                    began = time.monotonic()
                    full = capability.edition == "full"
                    if full:
                        await _watched(connection)
                    self._last = await repair_once(
                        connection, guard, capability, self._health, database.connect_timeout
                    )
                    if full:
                        await recompute_changed(connection, guard, self._health)
                    rounds.done()
                    await asyncio.sleep(max(self._settings.interval, REST * (time.monotonic() - began)))


async def _watched(connection: asyncpg.Connection) -> None:
    """Watch over retention; what the database refuses there holds no repair up."""
    try:
        await watch_retention(connection)
    except DATABASE_AWAY:
        raise
    except asyncpg.PostgresError as error:
        log.warning("retention could not be looked at", action="retention", problem=str(error))
