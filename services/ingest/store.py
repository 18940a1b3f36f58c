"""Receipts: what the ledger says of a batch, read with the reading role."""

import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from services.contract import group_of, position_of
from services.platform.postgres import DATABASE_AWAY, pool
from services.platform.settings import DatabaseSettings
from services.platform.stream import Outcome

__all__ = ["Receipt", "Receipts", "ReceiptsUnavailableError"]

_QUERY = """
select batch_id, batches, digest, repeats, dead, committed_at
from ingest_ledger where batch_id = any($1::uuid[])
"""
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
        self._settings = settings
        self._pool: asyncpg.Pool | None = None
        self._down_until = 0.0

    async def find(self, batch_id: uuid.UUID) -> Receipt | None:
        """Return the receipt of a batch, None where the ledger does not know it.

        Raises:
            ReceiptsUnavailableError: the database is away or was a moment ago.
        """
        if self._pool is None or time.monotonic() < self._down_until:
            raise ReceiptsUnavailableError("the database was away a moment ago")
        try:
            # The pool's own `fetch` would wait for ever to give back a connection to a server that fell silent.
            async with self._pool.acquire(timeout=_TIMEOUT) as connection:
                rows = await connection.fetch(_QUERY, list({batch_id, group_of(batch_id)}), timeout=_TIMEOUT)
        except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
            self._down_until = time.monotonic() + _PAUSE
            raise ReceiptsUnavailableError(f"{type(error).__name__}: {error}") from error
        return _receipt(batch_id, {row["batch_id"]: row for row in rows})

    async def open(self) -> None:
        """Make the pool; it connects when it is first asked, so the database may be away."""
        url = self._settings.reader_url.get_secret_value()
        self._pool = await pool(url, self._settings, statement_timeout=int(_TIMEOUT * 1000))

    def close(self) -> None:
        """Drop the connections."""
        if self._pool is not None:
            self._pool.terminate()


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
