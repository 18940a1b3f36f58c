"""The database as ingest uses it: receipts, read with the reading role, and deletions, written with the worker's.

Who asks for receipts at one moment shares one query.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import asyncpg
import structlog
from pydantic import SecretStr

from services.contract import Outcome, Verdict, group_of, position_of
from services.contract.instants import MICROSECOND
from services.platform.http.errors import Problem
from services.platform.postgres.connections import Connection, Connector
from services.platform.postgres.errors import DATABASE_FAILURES, with_deadline, words_of
from services.platform.postgres.pool import Pool
from services.platform.runtime.foreign_content import refusals
from services.platform.settings import DatabaseSettings

__all__ = ["Deletions", "Meant", "Receipt", "Receipts", "ReceiptsUnavailableError", "retention_age"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

# Instants that Python does not know stand in nobody's ledger but by hand; they must not fail the others' look.
_QUERY = """
select batch_id, batches, digest, repeats, dead,
       greatest(least(accepted_at, '9999-01-01Z'), '0001-01-01Z') as accepted_at,
       greatest(least(committed_at, '9999-01-01Z'), '0001-01-01Z') as committed_at
from ingest_ledger where batch_id = any($1::uuid[])
"""
_RETENTION_AGE = "select retention_age()"
_PAUSE = 2.0
_TIMEOUT = 2.0

Rows = dict[uuid.UUID, Any]
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
    """Looks into the ledger. After a failure it does not ask again for a while, so that ingest is not held up."""

    def __init__(self, settings: DatabaseSettings) -> None:
        """Connect later, when somebody first asks, so that the database may be away."""
        timeout = int(_TIMEOUT * 1000)
        self._pool = Pool(
            Connector(settings.reader_url, settings, statement_timeout=timeout, default_transaction_read_only="on"),
            size=1,
        )
        self._turn = asyncio.Lock()
        self._wanted: set[uuid.UUID] = set()
        self._answer: asyncio.Task[Rows | str] | None = None
        self._down_until = 0.0

    async def find(self, batch_id: uuid.UUID) -> Receipt | None:
        """Return the receipt of a batch, None where the ledger does not know it.

        One query is under way at a time. All who ask meanwhile share the next one.

        Raises:
            ReceiptsUnavailableError: the database is away, silent, or was so a moment ago.
        """
        if time.monotonic() < self._down_until:
            raise ReceiptsUnavailableError("the database was away a moment ago")
        self._wanted |= {batch_id, group_of(batch_id)}
        self._answer = self._answer or asyncio.create_task(self._ask())
        rows = await asyncio.shield(self._answer)
        if isinstance(rows, str):
            raise ReceiptsUnavailableError(rows)
        return _receipt(batch_id, rows)

    def close(self) -> None:
        """Drop the connections."""
        self._pool.drop()

    async def _ask(self) -> Rows | str:
        """Return the rows of all that is wanted when it is this query's turn, or why there are none."""
        async with self._turn:
            wanted, self._wanted, self._answer = self._wanted, set(), None
            try:
                return await with_deadline(self._look(list(wanted)), _TIMEOUT, self.close)
            except DATABASE_FAILURES as error:
                self._down_until = time.monotonic() + _PAUSE
                return words_of(error)

    async def _look(self, batch_ids: list[uuid.UUID]) -> Rows:
        async with self._pool.lent() as connection, connection.asking():
            return {row["batch_id"]: row for row in await connection.fetch(_QUERY, batch_ids)}


async def retention_age(connector: Connector) -> int | None:
    """Return the age in microseconds at which the database drops readings, None where it drops none.

    It is asked seldom, by a connection of its own, so that its failure is none of the receipts'.

    Raises:
        ReceiptsUnavailableError: the database is away or silent, or its schema is older than this release.
    """
    try:
        async with asyncio.timeout(_TIMEOUT):
            connection = await connector.connect()
            try:
                async with connection.asking():
                    age = await connection.fetchval(_RETENTION_AGE)
            finally:
                connection.terminate()
    except DATABASE_FAILURES as error:
        raise ReceiptsUnavailableError(words_of(error)) from error
    return None if age is None else age // MICROSECOND


def _receipt(batch_id: uuid.UUID, rows: Rows) -> Receipt | None:
    """Read a batch's own row, else its group's: a replayed batch of a group has a row of its own."""
    position = 0 if batch_id in rows else position_of(batch_id)
    row = rows.get(batch_id) or rows.get(group_of(batch_id))
    if row is None or position > row["batches"]:
        return None
    stored = Verdict(Outcome.DUPLICATE if row["repeats"] else Outcome.STORED)
    verdict = refusals(row["dead"]).get(position, stored)
    return Receipt(verdict, row["digest"], row["accepted_at"], row["committed_at"])


_DELETION = """
select
  number, deletion_id, sensor_ids, range_start as start, range_end as "end", reason, requested_by, requested_at,
  deleted_until, rows, hours, finished_at, problem
from deletions
"""
_FIND = f"{_DELETION} where deletion_id = $1"
_PAGE = f"{_DELETION} where number < $1 order by number desc limit $2"
# asyncpg sends the first and the last instant that Python has as infinities.
_COUNT = """
select coalesce(sum(rows), 0)::bigint, count(*)
from (
  select count(*) as rows from sensor_data
  where sensor_id = any($1) and timestamp >= greatest($2, timestamptz '0001-01-01Z')
    and timestamp < least($3, timestamptz '9999-12-31 23:59:59.999999Z')
  group by time_bucket(interval '1 hour', timestamp)
) as hours
"""
# Workers hold this lock shared while they write: see CLAIM there.
_LOCK = "select pg_advisory_xact_lock(hashtext('millrace deletions'))"
_TAKE = """
insert into deletions
  (deletion_id, sensor_ids, range_start, range_end, reason, requested_by, requested_at, deleted_until, last_id)
select $1, $2, span.first, least($4, timestamptz '9999-12-31 23:59:59.999999Z'), $5, $6, $7, span.first,
  coalesce(pg_sequence_last_value('public.sensor_data_id_seq'), 0)
from (select greatest($3, timestamptz '0001-01-01Z') as first) as span
on conflict do nothing
"""
_LOCKED = 5.0
"""Seconds that the transactions of workers are waited for."""
_COUNTED = 20.0
"""Seconds that counting may take."""


@dataclass(frozen=True, slots=True)
class Meant:
    """Which readings a deletion takes back: of `sensor_ids`, with `start <= timestamp < end`."""

    sensor_ids: list[str]
    start: datetime
    end: datetime


class Deletions:
    """Takes deletions down, counts and lists them. They are rare: each look has a connection of its own."""

    def __init__(self, settings: DatabaseSettings) -> None:
        """Connect later, so that the database may be away."""
        self._settings = settings
        self._turns = asyncio.Semaphore(4)

    async def take(
        self, deletion_id: uuid.UUID, meant: Meant, reason: str, requested_by: str
    ) -> tuple[dict[str, Any], bool]:
        """Write a deletion down, and return it and whether it is new; one that is there already stays as it is.

        When it is written, the transactions of workers that do not know it are over, and what they stored has ids up
        to its `last_id`.

        Raises:
            Problem: `database_unavailable`.
        """

        async def write(connection: Any) -> tuple[dict[str, Any], bool]:
            async with connection.writing():
                if found := await connection.fetchrow(_FIND, deletion_id):
                    return dict(found), False
                await connection.execute(_LOCK)
                who = (reason, requested_by, datetime.now(UTC))
                status = await connection.execute(_TAKE, deletion_id, meant.sensor_ids, meant.start, meant.end, *who)
                return dict(await connection.fetchrow(_FIND, deletion_id)), status == "INSERT 0 1"

        limits: dict[str, str | int] = {"lock_timeout": int(_LOCKED * 1000), "synchronous_commit": "on"}
        return await self._asked(self._settings.writer_url, write, 2 * _LOCKED, **limits)

    async def count(self, meant: Meant) -> tuple[int, int]:
        """Return how many rows of the table a deletion would meet, and in how many hours.

        Raises:
            Problem: `query_timeout` or `database_unavailable`.
        """
        rows, hours = await self._read(
            lambda connection: connection.fetchrow(_COUNT, meant.sensor_ids, meant.start, meant.end)
        )
        return rows, hours

    async def find(self, deletion_id: uuid.UUID) -> dict[str, Any] | None:
        """Return a deletion, None where there is none.

        Raises:
            Problem: `query_timeout` or `database_unavailable`.
        """
        found = await self._read(lambda connection: connection.fetchrow(_FIND, deletion_id))
        return dict(found) if found else None

    async def page(self, after: int | None, limit: int) -> list[dict[str, Any]]:
        """Return at most `limit` deletions behind the number `after`, the newest first.

        Raises:
            Problem: `query_timeout` or `database_unavailable`.
        """
        found = await self._read(lambda connection: connection.fetch(_PAGE, after or 1 << 62, limit))
        return [dict(row) for row in found]

    async def _read(self, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        async def ask(connection: Connection) -> Any:
            async with connection.asking():
                return await work(connection)

        async with self._turns:
            return await self._asked(self._settings.reader_url, ask, _COUNTED, default_transaction_read_only="on")

    async def _asked(
        self, url: SecretStr, work: Callable[[Any], Coroutine[Any, Any, T]], limit: float, **session: str | int
    ) -> T:
        timeouts = {"statement_timeout": int(limit * 1000), "idle_in_transaction_session_timeout": 2000}
        connector = Connector(url, self._settings, **timeouts, **session)
        try:
            connection = await connector.connect()
            try:
                return await with_deadline(work(connection), limit + 1, connection.terminate)
            finally:
                connection.terminate()
        except asyncpg.QueryCanceledError:
            detail = f"the database did not answer within {limit:g} s; narrow the range, or name fewer sensors"
            raise Problem("query_timeout", detail, {"Retry-After": "5"}) from None
        except DATABASE_FAILURES as error:
            log.warning("a deletion cannot be seen to", action="delete", error=words_of(error))
            detail = (
                "the database is away, busy or of an older schema; send the request again, with its Idempotency-Key"
            )
            raise Problem("database_unavailable", detail, {"Retry-After": "2"}) from None
