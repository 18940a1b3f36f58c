"""A plan's columns out of the database, by the reader's role: which server answers, how long, and in which way.

An answer is one statement, and so one snapshot, or several in transactions that keep and share one. Fresh read replicas
are asked first, one after the other, then the primary; an answer of which nothing has come yet starts anew there.
Whatever fails leaves as a problem.

A small answer comes by a prepared statement: COPY prepares none, and planning costs more than the few rows do. What
is larger comes by COPY, which gives columns without an object a row. How large an answer is nobody knows before, so a
few rows are asked for first, and where there are more, COPY begins with the first row again. That was measured: the
few rows cost half a millisecond, about what COPY's start costs. To go on behind them needs a transaction, a round trip
for every small answer, and saves nothing; a cursor that goes on makes an object a value, at six times the cost. Only
where a question names a limit that is not small, as pages of large answers do, COPY begins at once.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import replace
from functools import partial

import asyncpg
import numpy as np
import structlog

from services.platform.http.errors import Problem
from services.platform.postgres.connections import Connection, Connector
from services.platform.postgres.errors import DATABASE_FAILURES, refused, words_of
from services.platform.postgres.pool import Pool
from services.platform.settings import Settings

from .copy_out import CopyReader, copy_out, inlined
from .parts import Parts, exported, imported
from .plan import Plan, RoutedPlan
from .replicas import Replica, Replicas
from .router import Span
from .shares import Shares
from .table import Table
from .tier.source import Joined, Tier

__all__ = ["Batches", "Fetcher"]

log = structlog.get_logger(__name__)

_FIRST_ROWS = (1, 11, 101)
"""Rows that prepared statements are limited to, short of a plan's own: each text is planned anew by each connection,
which keeps a hundred, so that a statement for each limit that clients may name would be planned again and again."""


_PART = 65_536
"""Rows of the tier that are given on at a time."""

_NOT_THERE = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InsufficientPrivilegeError)
"""What a rollup that was dropped, made anew or closed to us since it was last seen ends in."""


class _RollupGoneError(Exception):
    """What a routed plan asks for is not there; the message is the database's, and `otherwise` can be asked."""

    def __init__(self, otherwise: Plan, error: Exception) -> None:
        super().__init__(words_of(error))
        self.otherwise = otherwise


class Batches(AsyncIterator[Table]):
    """The batches of one answer.

    Attributes:
        as_of: microseconds since 1970-01-01 UTC by this machine's clock: what was stored before is in the answer.
        lead: what the plan tells of the answer before its rows.
        tiered: spans whose readings came from the cold tier, as far as rows were asked for.
    """

    def __init__(
        self, as_of: int, lead: Table | None, tables: AsyncGenerator[Table, None], tiered: Sequence[Span] = ()
    ) -> None:
        self.as_of = as_of
        self.lead = lead
        self.tiered = tiered
        self._tables = tables

    async def __anext__(self) -> Table:
        return await anext(self._tables)

    async def aclose(self) -> None:
        """Give up what was not taken."""
        await self._tables.aclose()


class Fetcher:
    """Fetches what plans ask for, over pools of connections that can only read.

    Attributes:
        spread: whether the readings lie on several nodes of a Citus cluster, as far as was seen.
        rollups: whether the repair loop keeps hours in a table of ours, likewise.
        tier: the readings that are not in the table.
    """

    def __init__(self, settings: Settings) -> None:
        """Connect later, when the first question comes."""
        self._settings = settings.database
        self._timeout = settings.query.statement_timeout
        self._shares = Shares(max(int(settings.database.pool_size * settings.query.caller_share), 1))
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
        self._told = ""
        self.spread = self.rollups = False
        self.tier = Tier(settings)
        self.replicas = Replicas(
            self._settings, settings.query.max_replica_lag, lambda address: Pool(connector(address))
        )

    def close(self) -> None:
        """Drop all connections."""
        self._pool.drop()
        self.replicas.close()
        self.tier.close()

    @contextlib.asynccontextmanager
    async def fetch(self, asked: Plan | RoutedPlan, asker: str = "") -> AsyncIterator[Batches]:
        """Yield an iterator of the answer's batches, each with a row or more, the first already in hand.

        The connection counts to the share of `asker`.

        A small answer is the only batch, and its connection is already given back. Of a large one, nothing is read
        from the database's socket while nobody asks for the next batch. The block in which the iterator is used is
        then held to the deadline as a whole, whatever it waits for: a client that does not take its rows loses its
        turn like a statement that takes too long. Where the block is left early, the statement ends.

        Raises:
            Problem: rate_limited before the block; database_unavailable, query_timeout, from it as well as before.
        """
        servers = deque([*self.replicas.fresh(), None])
        reads = asked.reads if isinstance(asked, Plan) else asked.otherwise.reads
        tier = self.tier.concerns(reads)
        joined: Joined | None = None
        while servers:
            replica = servers.popleft()
            begun = False
            try:
                held = {"snapshot": True, "first": self.tier.lock} if tier else {"snapshot": asked.snapshot}
                async with self._connection(replica, asker, **held) as connection:
                    as_of = _now() if replica is None else replica.as_of
                    with _not_there(asked):
                        plan = asked if isinstance(asked, Plan) else await _routed(connection, asked)
                        if tier:
                            joined = await self.tier.joined(connection, plan)
                            plan = joined.plan
                        slices = joined.slices if joined else ()
                        small = None if slices else await _small(connection, plan, inline=self.spread)
                    if small is None:
                        rest = (
                            self._sliced(connection, slices, replica)
                            if slices
                            else self._all(connection, plan, replica, asker)
                        )
                        async with contextlib.aclosing(rest) as batches:
                            with _not_there(asked):
                                first = await anext(batches, None)
                            begun = True
                            rows = _continued(_beside(joined), first, batches)
                            async with contextlib.aclosing(Batches(as_of, plan.lead, rows, _spans(joined))) as answer:
                                yield answer
            except _RollupGoneError as gone:
                # Until the next look at the rollups every such question comes here.
                if str(gone) != self._told:
                    self._told = str(gone)
                    log.info("a rollup is not there any more, rows answer", action="leave_rollup", error=self._told)
                asked = gone.otherwise
                servers.appendleft(replica)
            except Problem as problem:
                if begun or replica is None or problem.code != "database_unavailable":
                    raise
            else:
                if small is not None:
                    rows = _continued(_beside(joined), plan.finish(small) if len(small) else None)
                    yield Batches(as_of, plan.lead, rows, _spans(joined))
                return

    async def _all(
        self, connection: Connection, plan: Plan, replica: Replica | None, asker: str
    ) -> AsyncGenerator[Table, None]:
        """Yield all of a plan's rows, by a second connection too where that helps and costs nobody else theirs."""
        read = partial(self._copied, replica=replica)
        async with contextlib.AsyncExitStack() as held:
            tables = None
            # Behind a pooler another connection may be another server's, and no snapshot is one of several nodes.
            if plan.divisible and not connection.pooled and not self.spread:
                name = await held.enter_async_context(exported(connection))
                if name is not None:
                    tables = Parts(plan, read, partial(self._spare, replica, asker, name)).tables(connection)
            tables = tables or read(connection, plan)
            async for table in await held.enter_async_context(contextlib.aclosing(tables)):
                yield table

    async def _sliced(
        self, connection: Connection, slices: Sequence[Plan], replica: Replica | None
    ) -> AsyncGenerator[Table, None]:
        """Yield all rows of plans one after the other, each with its own readings of the tier in the order of time."""
        for plan in slices:
            tiered = await self.tier.rows(connection, plan)
            if tiered is None:
                async with contextlib.aclosing(self._copied(connection, plan, replica)) as tables:
                    async for table in tables:
                        yield table
                continue
            bare = replace(plan, finish=lambda table: table)
            async with contextlib.aclosing(self._copied(connection, bare, replica)) as tables:
                late = [table async for table in tables]
            whole = await asyncio.to_thread(_by_time, [tiered, *late]) if late else tiered
            for begin in range(0, len(whole), _PART):
                yield plan.finish(whole.taken(slice(begin, begin + _PART)))

    @contextlib.asynccontextmanager
    async def _spare(self, replica: Replica | None, asker: str, snapshot: str) -> AsyncIterator[Connection | None]:
        """Lend a connection that sees a snapshot; none where the caller has its share, or all have half."""
        pool = replica.pool if replica else self._pool
        connection = None
        async with contextlib.AsyncExitStack() as held:
            try:
                async with asyncio.timeout(self._settings.connect_timeout):
                    if pool.idle():
                        await held.enter_async_context(self._shares.turn((pool, asker), 0))
                        connection = await held.enter_async_context(pool.answering())
                        await held.enter_async_context(imported(connection, snapshot))
            except (Problem, *DATABASE_FAILURES) as error:
                # A replica's name may stand for several servers, of which this one does not know the snapshot.
                log.debug("a range is read by one connection", action="share_snapshot", error=words_of(error))
                connection = None
            yield connection

    async def _copied(self, connection: Connection, plan: Plan, replica: Replica | None) -> AsyncGenerator[Table, None]:
        """Yield all of a plan's rows as COPY brings them."""

        async def end(backend: int) -> None:
            if replica or connection.pooled:
                # Which server stands behind a replica's name or a pooler is not known; it notices by itself.
                connection.terminate()
            else:
                await self._cancel(backend)

        reader = CopyReader(plan.kinds)
        statement = inlined(plan.limited(plan.limit), plan.arguments)
        async with contextlib.aclosing(copy_out(connection, statement, end)) as pieces:
            async for piece in pieces:
                batch = reader.feed(piece)
                if len(batch):
                    yield plan.finish(batch)
        reader.finish()

    async def _cancel(self, backend: int) -> None:
        """End the statement of one of our own backends."""
        with contextlib.suppress(*DATABASE_FAILURES):
            async with asyncio.timeout(self._settings.connect_timeout):
                connection = await self._pool.connector.connect()
                try:
                    await connection.execute("select pg_cancel_backend($1::int)", backend)
                finally:
                    connection.terminate()

    @contextlib.asynccontextmanager
    async def _connection(
        self, replica: Replica | None, asker: str = "", *, snapshot: bool = False, first: str = ""
    ) -> AsyncIterator[Connection]:
        """Lend a connection for one question, which may have one `snapshot` for several statements.

        `first` is executed before there is one.

        Our own clock ends what the server's cannot.

        A server that waits for a client to take its rows does not look at statement_timeout.
        """
        pool = replica.pool if replica else self._pool
        connected = False
        try:
            async with (
                self._shares.turn((pool, asker), self._settings.connect_timeout),
                asyncio.timeout(self._settings.connect_timeout) as deadline,
                pool.answering() as connection,
            ):
                connected = True
                deadline.reschedule(asyncio.get_running_loop().time() + self._timeout)
                async with connection.asking(snapshot=snapshot, first=first):
                    yield connection
        except DATABASE_FAILURES as error:
            if not connected:
                if replica:
                    self.replicas.away(replica)
                raise _unavailable("no connection to the database could be had", error) from error
            if isinstance(error, (TimeoutError, asyncpg.QueryCanceledError)):
                raise Problem(
                    "query_timeout",
                    f"the answer was not complete within {self._timeout:g} s; narrow the range, or page by limit",
                ) from error
            raise _unavailable("the database failed during the question", error) from error


def _now() -> int:
    return time.time_ns() // 1000


async def _routed(connection: Connection, asked: RoutedPlan) -> Plan:
    found = await connection.fetch(asked.statement, *asked.arguments)
    return await asyncio.to_thread(asked.plan, found) if asked.long else asked.plan(found)


@contextlib.contextmanager
def _not_there(asked: Plan | RoutedPlan) -> Iterator[None]:
    """Tell that a rollup is gone from all else that fails in the block, if a plan has rollups."""
    try:
        yield
    except _NOT_THERE as error:
        if isinstance(asked, RoutedPlan):
            raise _RollupGoneError(asked.otherwise, error) from error
        raise


async def _small(connection: Connection, plan: Plan, *, inline: bool) -> Table | None:
    """Return all rows of a small answer, by a prepared statement; None where it is not small.

    Where `inline`, the arguments stand in the statement: Citus makes no plan over several nodes for unknown ones.
    """
    if plan.limit is not None and plan.limit > plan.few:
        return None
    asked = plan.limit or plan.few + 1
    first = next((step for step in _FIRST_ROWS if step >= asked), plan.few + 1)
    statement, arguments = plan.limited(first), plan.arguments
    if inline:
        statement, arguments = inlined(statement, arguments), ()
    rows = (await connection.fetch(statement, *arguments))[: plan.limit]
    return Table.of(plan.kinds, rows) if len(rows) <= plan.few else None


def _by_time(tables: Sequence[Table]) -> Table:
    """Return readings in the order of (timestamp, id)."""
    whole = Table.joined(tables)
    return whole.taken(np.lexsort((whole["id"].values, whole["timestamp"].values)))


def _beside(joined: Joined | None) -> Table | None:
    return joined.beside if joined else None


def _spans(joined: Joined | None) -> Sequence[Span]:
    return joined.spans if joined else ()


async def _continued(
    beside: Table | None, first: Table | None, rest: AsyncGenerator[Table, None] | None = None
) -> AsyncGenerator[Table, None]:
    for table in (beside, first):
        if table is not None:
            yield table
    if rest is not None:
        async for table in rest:
            yield table


def _unavailable(what: str, error: Exception) -> Problem:
    log.warning(what, action="ask", error=words_of(error))
    lacking = isinstance(error, asyncpg.SyntaxOrAccessError)
    detail = f"{what}: {refused(error)}" if lacking else f"{what}; try again"
    return Problem("database_unavailable", detail, {"Retry-After": "5"})
