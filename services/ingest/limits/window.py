"""Which timestamps are taken: what the settings say, and no reading that the database's retention would drop."""

import asyncio
import time
from dataclasses import dataclass

from services.contract.codec import TIMESTAMP_LIMITS
from services.contract.instants import MICROSECOND
from services.platform.postgres.connections import Connector
from services.platform.postgres.errors import DATABASE_FAILURES
from services.platform.settings import DatabaseSettings, IngestSettings

__all__ = ["DAY", "Limits", "Window"]

DAY = 86_400_000_000
"""Microseconds of a day."""

_INTERVAL = 30.0
"""Seconds between looks at the database's retention policy, which somebody may change while we run."""
_SOON = 2.0
"""Seconds until the next look where the database did not answer."""
_TIMEOUT = 2.0
# A database whose schema is still to come would log the question as an error.
_IS_THERE = "select has_function_privilege(to_regprocedure('public.retention_age()'), 'execute')"
_RETENTION_AGE = "select public.retention_age()"


class _NotThereError(Exception):
    """The database does not know the function that is asked, or does not let us ask it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The window of timestamps at one instant, in microseconds since 1970.

    Attributes:
        oldest: first timestamp that is taken.
        newest: last timestamp that is taken.
        retention: age in microseconds at which the database drops readings, where that decides on `oldest`.
    """

    oldest: int
    newest: int
    retention: int | None = None

    @staticmethod
    def now(settings: IngestSettings, retention: int | None) -> "Limits":
        """Return the limits in force at this instant, where the database drops readings of the age `retention`.

        They never leave what an entry can hold, however far the settings reach.
        """
        now = time.time_ns() // 1000
        low, high = TIMESTAMP_LIMITS
        past = int(settings.max_past * DAY)
        deciding = retention if retention is not None and retention < past else None
        return Limits(
            max(low, now - (past if deciding is None else deciding)),
            min(high, now + int(settings.max_future * 60_000_000)),
            deciding,
        )


class Window:
    """Knows the limits of a batch. One a process.

    Before the database has been asked, and while it is away, the last answer counts: what comes too late then is
    dropped by retention or refused by the worker.
    """

    def __init__(self, settings: IngestSettings, database: DatabaseSettings) -> None:
        self._settings = settings
        # Kept, for it remembers whether a pooler stands before the database, and tells that once.
        self._reader = Connector(database.reader_url, database, default_transaction_read_only="on")
        self._retention: int | None = None

    def limits(self) -> Limits:
        """Return the limits in force at this instant."""
        return Limits.now(self._settings, self._retention)

    async def run(self) -> None:
        """Keep the age at which retention drops readings, for ever.

        A database that is away or silent, or whose schema is older than this release, is asked again soon.
        """
        while True:
            try:
                self._retention = await _retention_age(self._reader)
                pause = _INTERVAL
            except (_NotThereError, *DATABASE_FAILURES):
                pause = _SOON
            await asyncio.sleep(pause)


async def _retention_age(connector: Connector) -> int | None:
    """Return the age in microseconds at which the database drops readings, None where it drops none.

    It is asked seldom, by a connection of its own, so that its failure is none of the receipts'.

    Raises:
        _NotThereError: the schema is still to come.
        DATABASE_FAILURES: the database is away or silent.
    """
    async with asyncio.timeout(_TIMEOUT):
        connection = await connector.connect()
        try:
            async with connection.asking():
                if not await connection.fetchval(_IS_THERE):
                    raise _NotThereError
                age = await connection.fetchval(_RETENTION_AGE)
        finally:
            connection.terminate()
    return None if age is None else age // MICROSECOND
