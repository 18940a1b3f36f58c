"""Receipts: what the ledger says of a batch, read with the reading role."""

import asyncio
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from services.contract import group_of, position_of
from services.platform.postgres import DATABASE_AWAY, answered, connection_options, pool
from services.platform.settings import DatabaseSettings
from services.platform.stream import Outcome

__all__ = ["Receipt", "Receipts", "ReceiptsUnavailableError", "retention_age"]

_QUERY = """
select batch_id, batches, digest, repeats, dead, committed_at
from ingest_ledger where batch_id = any($1::uuid[])
"""
_RETENTION_AGE = "select retention_age()"
_PAUSE = 2.0
_TIMEOUT = 2.0


class ReceiptsUnavailableError(Exception):
    """The ledger cannot be read now."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a batch: outcome, reason of a dead one, digest of a keyed one, time of the commit."""

    outcome: Outcome
    reason: str | None
    digest: bytes | None
    committed_at: datetime


class Receipts:
    """Looks into the ledger. After a failure it does not ask again for a while, so that ingest is not held up."""

    def __init__(self, settings: DatabaseSettings) -> None:
        """Connect later, when somebody first asks, so that the database may be away."""
        self._settings = settings
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()
        self._down_until = 0.0

    async def find(self, batch_id: uuid.UUID) -> Receipt | None:
        """Return the receipt of a batch, None where the ledger does not know it.

        Raises:
            ReceiptsUnavailableError: the database is away, silent, or was so a moment ago.
        """
        if time.monotonic() < self._down_until:
            raise ReceiptsUnavailableError("the database was away a moment ago")
        try:
            return await answered(self._look(batch_id), _TIMEOUT, self.close)
        except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
            self._down_until = time.monotonic() + _PAUSE
            raise ReceiptsUnavailableError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Drop the connections."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    async def _look(self, batch_id: uuid.UUID) -> Receipt | None:
        async with self._opening:
            if self._pool is None:
                url = self._settings.reader_url.get_secret_value()
                self._pool = await pool(url, self._settings, statement_timeout=int(_TIMEOUT * 1000))
            found = self._pool
        rows = await found.fetch(_QUERY, list({batch_id, group_of(batch_id)}))
        return _receipt(batch_id, {row["batch_id"]: row for row in rows})


async def retention_age(settings: DatabaseSettings) -> int | None:
    """Return the age in microseconds at which the database drops readings, None where it drops none.

    It is asked seldom, by a connection of its own, so that its failure is none of the receipts'.

    Raises:
        ReceiptsUnavailableError: the database is away or silent, or its schema is older than this release.
    """
    try:
        async with asyncio.timeout(_TIMEOUT):
            connection = await asyncpg.connect(settings.reader_url.get_secret_value(), **connection_options(settings))
            try:
                age = await connection.fetchval(_RETENTION_AGE)
            finally:
                connection.terminate()
    except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
        raise ReceiptsUnavailableError(f"{type(error).__name__}: {error}") from error
    return None if age is None else age // timedelta(microseconds=1)


def _receipt(batch_id: uuid.UUID, rows: dict[uuid.UUID, Any]) -> Receipt | None:
    """Read a batch's own row, else its group's: a replayed batch of a group has a row of its own."""
    position = 0 if batch_id in rows else position_of(batch_id)
    row = rows.get(batch_id) or rows.get(group_of(batch_id))
    if row is None or position > row["batches"]:
        return None
    dead: dict[str, str] = msgspec.json.decode(row["dead"]) if row["dead"] else {}
    reason = dead.get(str(position))
    stored = Outcome.DUPLICATE if row["repeats"] else Outcome.STORED
    outcome = stored if reason is None else Outcome.DEAD
    return Receipt(outcome, reason, row["digest"], row["committed_at"])
