"""Receipts: what the ledger says became of a batch, looked up, waited for (`ack=stored`), or asked for by its id."""

import asyncio
import contextlib
import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel

from services.contract import Outcome, Verdict, group_of, position_of
from services.contract.instants import instant_of
from services.platform.http.errors import Problem, problem_responses
from services.platform.http.parameters import only
from services.platform.postgres.connections import Connector
from services.platform.postgres.errors import DATABASE_FAILURES, with_deadline, words_of
from services.platform.postgres.pool import Pool
from services.platform.runtime.foreign_content import pass_over, refusals
from services.platform.runtime.retry import pauses
from services.platform.settings import DatabaseSettings
from services.platform.stream import STREAM_ERRORS, Stream

from .commit.pending import Accepted

__all__ = ["Receipt", "Receipts", "ReceiptsUnavailableError", "batches", "stored_receipt"]

# Instants that Python does not know stand in nobody's ledger but by hand; they must not fail the others' look.
_QUERY = """
select batch_id, batches, digest, repeats, dead,
       greatest(least(accepted_at, '9999-01-01Z'), '0001-01-01Z') as accepted_at,
       greatest(least(committed_at, '9999-01-01Z'), '0001-01-01Z') as committed_at
from ingest_ledger where batch_id = any($1::uuid[])
"""
_PAUSE = 2.0
"""Seconds for which the ledger is not asked after it could not be."""
_TIMEOUT = 2.0
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 2.0

LedgerRows = dict[uuid.UUID, Any]
"""Rows of the ledger by their ids."""


class ReceiptsUnavailableError(Exception):
    """The ledger cannot be read now."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a batch: the verdict, digest of a keyed one, when its ledger row was accepted and committed."""

    verdict: Verdict
    digest: bytes | None
    accepted_at: datetime
    committed_at: datetime


class Receipts:
    """Looks into the ledger. After a failure it does not ask again for a while, so that ingest is not delayed."""

    def __init__(self, settings: DatabaseSettings) -> None:
        """Connect later, when somebody first asks, so that the database may be away."""
        timeout = int(_TIMEOUT * 1000)
        self._pool = Pool(
            Connector(settings.reader_url, settings, statement_timeout=timeout, default_transaction_read_only="on"),
            size=1,
        )
        self._turn = asyncio.Lock()
        self._next: set[uuid.UUID] = set()
        self._answer: asyncio.Task[LedgerRows | str] | None = None
        self._down_until = 0.0

    async def find(self, batch_id: uuid.UUID) -> Receipt | None:
        """Return the receipt of a batch, None where the ledger does not know it.

        One query is under way at a time. All who ask meanwhile share the next one.

        Raises:
            ReceiptsUnavailableError: the database is away, silent, or was so a moment ago.
        """
        if time.monotonic() < self._down_until:
            raise ReceiptsUnavailableError("the database was away a moment ago")
        self._next |= {batch_id, group_of(batch_id)}
        self._answer = self._answer or asyncio.create_task(self._ask())
        rows = await asyncio.shield(self._answer)
        if isinstance(rows, str):
            raise ReceiptsUnavailableError(rows)
        return _receipt(batch_id, rows)

    def close(self) -> None:
        """Drop the connections."""
        self._pool.drop()

    async def _ask(self) -> LedgerRows | str:
        """Return the rows of all that were named until it is this query's turn, or why there are none."""
        async with self._turn:
            batch_ids, self._next, self._answer = list(self._next), set(), None
            try:
                return await with_deadline(self._look(batch_ids), _TIMEOUT, self.close)
            except DATABASE_FAILURES as error:
                self._down_until = time.monotonic() + _PAUSE
                return words_of(error)

    async def _look(self, batch_ids: list[uuid.UUID]) -> LedgerRows:
        async with self._pool.lent() as connection, connection.asking():
            return {row["batch_id"]: row for row in await connection.fetch(_QUERY, batch_ids)}


def _receipt(batch_id: uuid.UUID, rows: LedgerRows) -> Receipt | None:
    """Read a batch's own row, else its group's: a replayed batch of a group has a row of its own."""
    position = 0 if batch_id in rows else position_of(batch_id)
    row = rows.get(batch_id) or rows.get(group_of(batch_id))
    if row is None or position > row["batches"]:
        return None
    stored = Verdict(Outcome.DUPLICATE if row["repeats"] else Outcome.STORED)
    verdict = refusals(row["dead"]).get(position, stored)
    return Receipt(verdict, row["digest"], row["accepted_at"], row["committed_at"])


async def stored_receipt(
    receipts: Receipts, accepted: Accepted, settled: asyncio.Event, timeout: float
) -> Receipt | None:
    """Return what the ledger says of a batch that was accepted, None where it says nothing within `timeout` s.

    The ledger alone is believed. A settlement event says only that a look is worth while; where none comes, because it
    was lost or a worker of another release published none that is understood, looks follow at growing pauses.

    Args:
        receipts: the ledger; while it cannot be asked, it says nothing.
        accepted: the batch.
        settled: is set when somebody says that the batch is settled.
        timeout: after it comes one last look.
    """
    now = asyncio.get_running_loop().time
    deadline = now() + timeout
    for pause in pauses(_FIRST_PAUSE, _LONGEST_PAUSE):
        # Pauses end at the same instants for all, so that all who wait share a query.
        wait = min(2 * pause - now() % pause, deadline - now())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await settled.wait()
        settled.clear()
        with contextlib.suppress(ReceiptsUnavailableError):
            receipt = await receipts.find(accepted.batch_id)
            if receipt is not None and not _is_older(receipt, accepted):
                return receipt
        if now() >= deadline:
            break
    return None


def _is_older(receipt: Receipt, accepted: Accepted) -> bool:
    """Tell whether a receipt is of an earlier batch of the same key, which was refused: this one may be stored."""
    refused = receipt.verdict.outcome is Outcome.DEAD and accepted.digest is not None
    return refused and receipt.accepted_at < instant_of(accepted.accepted_at)


class BatchStatus(BaseModel):
    """Where a batch is: in the stream, committed, committed with a repeat refused, or a dead letter.

    A dead letter has the `code` of its reason, and the `reason` in words.
    """

    batch_id: uuid.UUID
    status: Literal["queued", "stored", "duplicate", "dead"]
    committed_at: datetime | None = None
    code: str | None = None
    reason: str | None = None


def batches(stream: Stream, receipts: Receipts) -> APIRouter:
    """Return `GET /batches/{batch_id}`."""
    router = APIRouter(tags=["ingest"])

    @router.get(
        "/batches/{batch_id}",
        responses=problem_responses("unknown_batch", "invalid_parameter", "database_unavailable", "stream_unavailable"),
        response_model_exclude_none=True,
        dependencies=[Depends(only())],
    )
    async def batch(
        batch_id: Annotated[uuid.UUID, Path(description="From the answer to `/ingest`.")],
    ) -> BatchStatus:
        """Tell what became of a batch: queued, stored, duplicate (stored, a repeat was refused) or dead."""
        try:
            found = await receipts.find(batch_id)
            if found is None or found.verdict.outcome is Outcome.DEAD:
                if await _queued(stream, batch_id):
                    return BatchStatus(batch_id=batch_id, status="queued")
                # It may have left the stream for the ledger between the two looks; and a dead one may be replayed.
                found = await receipts.find(batch_id)
        except ReceiptsUnavailableError:
            raise Problem("database_unavailable", "the ledger cannot be read now", {"Retry-After": "2"}) from None
        except STREAM_ERRORS:
            raise Problem("stream_unavailable", "the stream cannot be asked now", {"Retry-After": "1"}) from None
        if found is None:
            detail = f"batch {batch_id} was never taken here, or longer ago than the ledger remembers"
            raise Problem("unknown_batch", detail)
        return _status(batch_id, found)

    return router


async def _queued(stream: Stream, batch_id: uuid.UUID) -> bool:
    """Tell whether a batch stands in the stream: by its own mark, or by its group's, which counts the group's batches.

    A mark that is no count is somebody else's, and a batch of more digits than we write is taken to be one.
    """
    if await stream.mark(batch_id) is not None:
        return True
    position = position_of(batch_id)
    count = await stream.mark(group_of(batch_id)) if position else None
    if count is not None and not count.isdigit():
        pass_over("mark", stream.names.queued, f"{count[:20]!r} of {group_of(batch_id)} is no count of batches")
        return False
    return count is not None and (len(count) > 9 or position <= int(count))


def _status(batch_id: uuid.UUID, receipt: Receipt) -> BatchStatus:
    verdict = receipt.verdict
    dead = verdict.outcome is Outcome.DEAD
    return BatchStatus(
        batch_id=batch_id,
        status=verdict.outcome.value,
        committed_at=None if dead else receipt.committed_at,
        code=verdict.code if dead else None,
        reason=verdict.reason if dead else None,
    )
