"""What the questions ask of the database, by the reader's role: columns out of binary COPY.

COPY prepares no statement, and planning one over many chunks takes longer than fetching a small answer. So a prepared
statement is asked first for a few rows, and COPY for the whole where there are more.

Fresh read replicas are asked first, one after the other, then the primary; an answer that has not begun starts anew
there. An answer is one statement, and so one snapshot. Its columns are pushed into a sink that is awaited: as long
as the sink waits for a slow client, nothing is read from the database's socket. Whatever fails leaves as a problem.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Literal, TypeVar

import asyncpg
import numpy as np
import structlog

from services.contract.instants import instant_of
from services.platform.http.errors import Problem
from services.platform.postgres.connections import Connection, Connector
from services.platform.postgres.errors import DATABASE_FAILURES, refused, words_of
from services.platform.postgres.pool import Pool
from services.platform.settings import Settings

from .columns import Hours, Readings
from .copyout import FLOAT, INTEGER, TIMESTAMP, CopyReader, Records, fetched, microseconds
from .cursor import Place
from .question import LAST, Question
from .replicas import Replica, Replicas
from .statements import statements
from .store_copy import copy_out, inlined

__all__ = ["Store"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

_SQL = statements(__package__, "queries.sql")
_BELOW_ALL_IDS = -(1 << 63)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Form:
    """How the rows of a question come.

    Attributes:
        name: of the statement.
        columns: in the statement's order.
        few: rows that are fetched one by one; what is found beyond is cheaper to plan anew than to fetch.
    """

    name: str
    columns: dict[str, str]
    few: int


_READINGS = _Form("readings", {"id": INTEGER, "timestamp": TIMESTAMP, "value": FLOAT}, 500)
# Hour buckets cost more to find than to fetch; a year has fewer.
_HOURS = _Form("hours", {"bucket": TIMESTAMP, "avg": FLOAT, "min": FLOAT, "max": FLOAT, "samples": INTEGER}, 10_000)


class Store:
    """The questions, on a pool of connections that can only read."""

    def __init__(self, settings: Settings) -> None:
        """Connect later, when the first question comes."""
        self._settings = settings.database
        self._timeout = settings.query.statement_timeout
        connector = partial(
            Connector,
            settings=self._settings,
            statement_timeout=int(self._timeout * 1000),
            default_transaction_read_only="on",
            # Compiling a plan pays for itself seldom, and costs anew for each chunk.
            jit="off",
            # So does a plan for each question: over many chunks it takes longer than most answers.
            plan_cache_mode="force_generic_plan",
        )
        self._pool = Pool(connector(settings.database.reader_url))
        self.replicas = Replicas(
            self._settings, settings.query.max_replica_lag, lambda address: Pool(connector(address))
        )

    def close(self) -> None:
        """Drop all connections."""
        self._pool.drop()
        self.replicas.close()

    async def readings(
        self,
        question: Question,
        after: Place | None,
        limit: int | None,
        sink: Callable[[Readings], Awaitable[None]],
    ) -> None:
        """Push the readings of a range that lie behind `after` into `sink`, at most `limit`.

        Raises:
            Problem: database_unavailable, query_timeout.
        """

        async def push(rows: Records) -> None:
            await sink(
                Readings(
                    rows["id"].astype(np.int64),
                    microseconds(rows["timestamp"]),
                    rows["value"].astype(np.float64),
                )
            )

        start, above = question.start, _BELOW_ALL_IDS
        if after:
            start, above = instant_of(after.timestamp), after.id
        await self._rows(_READINGS, (question.sensor_id, start, question.end, above), limit, push)

    async def minimum(self, question: Question) -> float | None:
        """Return the least value of a range, None where there is none.

        Raises:
            Problem: database_unavailable, query_timeout.
        """

        async def ask(connection: Connection, _: Replica | None) -> float | None:
            least: float | None = await connection.fetchval(
                _SQL["minimum"], question.sensor_id, question.start, question.end
            )
            return least

        return await self._answer(ask, lambda: False)

    async def hours(self, question: Question, sink: Callable[[Hours], Awaitable[None]]) -> None:
        """Push the hour buckets that start in a range into `sink`.

        Raises:
            Problem: database_unavailable, query_timeout.
        """

        async def push(rows: Records) -> None:
            avg, low, high = (rows[name].astype(np.float64) for name in ("avg", "min", "max"))
            # A sum of floats is rounded, so the average of a thousand equal values may lie beside them.
            avg = np.clip(avg, low, high)
            await sink(Hours(microseconds(rows["bucket"]), avg, low, high, rows["samples"].astype(np.int64)))

        span = (_whole_hour(question.start), _whole_hour(question.end))
        await self._rows(_HOURS, (question.sensor_id, *span), None, push)

    async def _rows(
        self,
        form: _Form,
        arguments: tuple[str | int | datetime, ...],
        limit: int | None,
        push: Callable[[Records], Awaitable[None]],
    ) -> None:
        begun = False

        async def found(rows: Records) -> None:
            nonlocal begun
            if len(rows):
                begun = True
                await push(rows)

        async def ask(connection: Connection, replica: Replica | None) -> None:
            rows = await connection.fetch(_limited(form.name, form.few + 1), *arguments)
            wanted = rows[:limit]
            if len(wanted) <= form.few:
                await found(fetched(wanted, form.columns))
                return
            reader = CopyReader(form.columns)

            async def output(data: bytes) -> None:
                await found(reader.feed(data))

            async def give_up(_: int) -> None:
                # Which server stands behind a replica's name or a pooler is not known; it notices by itself.
                connection.terminate()

            statement = _limited(form.name, "all" if limit is None else limit)
            end = give_up if replica or connection.pooled else self._end
            await copy_out(connection, inlined(statement, arguments), output, end)
            reader.finish()

        await self._answer(ask, lambda: begun)

    async def _answer(self, ask: Callable[[Connection, Replica | None], Awaitable[T]], begun: Callable[[], bool]) -> T:
        """Ask the fresh replicas in turn, then the primary, as long as no answer has begun."""
        for replica in self.replicas.fresh():
            try:
                async with self._connection(replica) as connection:
                    return await ask(connection, replica)
            except Problem as problem:
                if begun() or problem.code != "database_unavailable":
                    raise
        async with self._connection(None) as connection:
            return await ask(connection, None)

    async def _end(self, backend: int) -> None:
        """End the statement of one of our own backends."""
        with contextlib.suppress(*DATABASE_FAILURES):
            async with asyncio.timeout(self._settings.connect_timeout):
                connection = await self._pool.connector.connect()
                try:
                    await connection.execute("select pg_cancel_backend($1)", backend)
                finally:
                    connection.terminate()

    @contextlib.asynccontextmanager
    async def _connection(self, replica: Replica | None) -> AsyncIterator[Connection]:
        """Lend a connection for one question; our own clock ends what the server's cannot.

        A server that waits for a client to take its rows does not look at statement_timeout.
        """
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._settings.connect_timeout):
                    pool = replica.pool if replica else self._pool
                    connection = await stack.enter_async_context(pool.answering())
            except DATABASE_FAILURES as error:
                if replica:
                    self.replicas.away(replica)
                raise _unavailable("no connection to the database could be had", error) from error
            try:
                async with asyncio.timeout(self._timeout), connection.asking():
                    yield connection
            except (TimeoutError, asyncpg.QueryCanceledError) as error:
                raise Problem(
                    "query_timeout",
                    f"the answer was not complete within {self._timeout:g} s; narrow the range, or page by limit",
                ) from error
            except DATABASE_FAILURES as error:
                raise _unavailable("the database failed during the question", error) from error


def _limited(name: str, limit: int | Literal["all"]) -> str:
    """Return a statement of at most `limit` rows; a plan for a limit that it does not know would sort all of them."""
    return f"{_SQL[name]}\nlimit {limit}"


def _unavailable(what: str, error: Exception) -> Problem:
    log.warning(what, action="ask", error=words_of(error))
    lacking = isinstance(error, asyncpg.SyntaxOrAccessError)
    detail = f"{what}: {refused(error)}" if lacking else f"{what}; try again"
    return Problem("database_unavailable", detail, {"Retry-After": "5"})


def _whole_hour(instant: datetime) -> datetime:
    """Return the first whole hour that is not before `instant`: a bucket starts before both or before neither."""
    hour = instant.replace(minute=0, second=0, microsecond=0)
    if hour == instant:
        return hour
    return hour + _HOUR if hour <= LAST - _HOUR else LAST
