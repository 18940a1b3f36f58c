"""Which timestamps are taken: what the settings say, and no reading that the database's retention would drop."""

import asyncio

from services.platform.postgres.connections import Connector
from services.platform.settings import DatabaseSettings, IngestSettings

from ..readings import Limits
from ..store import ReceiptsUnavailableError, retention_age

__all__ = ["Window"]

_INTERVAL = 30.0
"""Seconds between looks at the database's retention policy, which somebody may change while we run."""


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
        """Keep the age at which retention drops readings, for ever."""
        while True:
            try:
                self._retention = await retention_age(self._reader)
                pause = _INTERVAL
            except ReceiptsUnavailableError:
                pause = 2.0
            await asyncio.sleep(pause)
