"""The repair loop as a process: rounds of `repair_once`, a port for health and metrics, an end on SIGTERM."""

import asyncio
import time

import asyncpg
import structlog
import uvloop

from services.platform.health import Health
from services.platform.metrics import observe
from services.platform.postgres import DATABASE_AWAY, connection_options, wait_for_schema
from services.platform.serving import health_app, serving, stop_signal
from services.platform.settings import Settings

from .repair import Repaired, repair_once

__all__ = ["run_repair"]

log = structlog.get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between attempts while the database is away; each pause is twice the last."""

REST = 4
"""Rest after a round, in times its length: a backfill must not keep the database refreshing all the time, and
notes that gather meanwhile are refreshed together. Queries are right all along."""


def run_repair(settings: Settings) -> None:
    """Refresh late ranges until SIGTERM or SIGINT.

    Raises:
        StartError: the health port is taken.
    """
    uvloop.run(_RepairLoop(settings).run())


class _RepairLoop:
    """Rounds on one connection, made anew when it is lost."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._health = Health("database", stuck_after=settings.repair.refresh_timeout * 2 + 120)
        self._last: Repaired | None = None

    async def run(self) -> None:
        stop = stop_signal()
        observe("millrace_late_ranges_waiting", "Late ranges that the last round left.", self._waiting)
        own = self._settings.repair
        app = health_app("Millrace repair", self._health)
        async with serving(app, own.host, own.port, "MILLRACE_REPAIR_PORT"):
            rounds = asyncio.create_task(self._rounds())
            await asyncio.wait((rounds, asyncio.create_task(stop.wait())), return_when=asyncio.FIRST_COMPLETED)
            # A refresh that is cut short leaves its notes where they are.
            rounds.cancel()
            await asyncio.wait((rounds,))
        if not rounds.cancelled():
            rounds.result()

    def _waiting(self) -> float | None:
        return None if self._last is None else self._last.waiting

    async def _rounds(self) -> None:
        pause = FIRST_PAUSE
        while True:
            before = self._last
            try:
                await self._rounds_on_a_connection()
            except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
                problem = f"{type(error).__name__}: {error}"
            pause = FIRST_PAUSE if self._last is not before else min(pause * 2, LONGEST_PAUSE)
            self._health.lacks("database", problem)
            log.warning("the database is away", action="repair", problem=problem, again_in=pause)
            await asyncio.sleep(pause)

    async def _rounds_on_a_connection(self) -> None:
        database, own = self._settings.database, self._settings.repair
        url = database.owner_url.get_secret_value()
        capability = await wait_for_schema(url, database, self._health)
        timeout = int(own.refresh_timeout * 1000)
        options = connection_options(database, statement_timeout=timeout, client_min_messages="warning")
        connection = await asyncpg.connect(url, **options)
        try:
            while True:
                self._health.beat()
                began = time.monotonic()
                self._last = await repair_once(connection, capability, self._health)
                await asyncio.sleep(max(own.interval, REST * (time.monotonic() - began)))
        finally:
            connection.terminate()
