"""Looking after partitions, for as long as a process runs."""

import asyncio

from services.platform.postgres.connections import Connector
from services.platform.postgres.errors import with_deadline
from services.platform.runtime.health import Health

from ..repair.loop import Database, Rounds, reconnecting
from .upkeep import keep

__all__ = ["PartitionLoop"]

EVERY = 60.0
"""Seconds between two looks."""

LOCK_TIMEOUT = 5_000
"""Milliseconds that a change waits for the table, for all who come later wait behind it."""

PATIENCE = 120.0
"""Seconds that a look may take."""


class PartitionLoop:
    """Looks for as long as it runs. Beside repair, so that neither holds the other up."""

    def __init__(self, health: Health, database: Database) -> None:
        """Take what waits for the database; it is asked at each new connection."""
        self._health, self._database = health, database

    async def run(self) -> None:
        """Look after look, until cancelled; a change that is cut short is made by another look."""
        await reconnecting(self._health, "partitions", self._rounds_on_a_connection)

    async def _rounds_on_a_connection(self, rounds: Rounds) -> None:
        database, capability = await self._database()
        if not capability.spread:
            rounds.done()
            await asyncio.Event().wait()
        owner = Connector(database.owner_url, database, lock_timeout=LOCK_TIMEOUT, client_min_messages="warning")
        connection = await owner.session()
        try:
            with rounds.connected():
                while True:
                    await with_deadline(keep(connection), PATIENCE, connection.terminate)
                    rounds.done()
                    await asyncio.sleep(EVERY)
        finally:
            connection.terminate()
