"""A large range read by two connections at once: rows cost the database most, and it has a core for each connection.

Both see one snapshot. Moving a chunk to the columnstore truncates it, which no snapshot undoes; so the first connection
locks the table and its chunks before it takes the snapshot. Where a lock is not to be had at once, or there are so many
chunks that the server's table of locks would fill, it reads alone.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import structlog

from services.contract.instants import instant_of, micros_of
from services.platform.postgres.connections import Connection
from services.platform.postgres.errors import DATABASE_FAILURES, words_of

from .plan import Plan
from .table import Table

__all__ = ["LARGE", "Parts", "exported", "imported", "parts_of"]

log = structlog.get_logger(__name__)

Read = Callable[[Connection, Plan], AsyncGenerator[Table, None]]
Spare = Callable[[], AbstractAsyncContextManager[Connection | None]]

LARGE = 65_536
"""Rows from which on a second connection helps: for fewer the wait for it would be most of the time."""

_EIGHTHS = (0, 4, 6, 8)
"""Where a range is cut: who is done with a half, or finds nothing in it, takes a part of the rest."""

_MOST_CHUNKS = 256
"""Of the table. A server has room for some thousand locks, of all sessions together, unless it is told otherwise."""

_CHUNKS = "select count(*) from pg_catalog.pg_inherits where inhparent = 'sensor_data'::regclass"

_LOCKED = """
select not exists (
  select from pg_catalog.pg_inherits
  where inhparent = 'sensor_data'::regclass and inhrelid not in (
    select relation from pg_catalog.pg_locks where pid = pg_backend_pid() and relation is not null and granted
  )
)
"""

_AT_ONCE = 2
"""Batches that may wait to be taken."""


def parts_of(plan: Plan) -> list[Plan]:
    """Return plans of parts of a plan's range, which together have its rows, each once."""
    sensor, first, last = plan.arguments
    assert isinstance(first, datetime) and isinstance(last, datetime)  # noqa: S101, PT018 -- narrows for the type checker
    start, span = micros_of(first), micros_of(last) - micros_of(first)
    edges = [first, *(instant_of(start + span * eighths // 8) for eighths in _EIGHTHS[1:-1]), last]
    return [replace(plan, arguments=(sensor, *ends)) for ends in pairwise(edges)]


@contextlib.asynccontextmanager
async def exported(connection: Connection) -> AsyncIterator[str | None]:
    """Have a snapshot in the block that another connection can see; yield its name, None where it cannot be had.

    A transaction that is under way is not begun anew in the middle; what it has locked, it locked before its snapshot.
    """
    if connection.is_in_transaction():
        locked = await connection.fetchval(_LOCKED)
        yield await connection.fetchval("select pg_export_snapshot()") if locked else None
        return
    async with contextlib.AsyncExitStack() as held:
        name: str | None = None
        try:
            if await connection.fetchval(_CHUNKS) <= _MOST_CHUNKS:
                await held.enter_async_context(connection.writing("repeatable read"))
                await connection.execute("lock table sensor_data in access share mode nowait")
                name = await connection.fetchval("select pg_export_snapshot()")
        except DATABASE_FAILURES as error:
            log.debug("a range is read by one connection", action="share_snapshot", error=words_of(error))
            await held.aclose()
        yield name


@contextlib.asynccontextmanager
async def imported(connection: Connection, name: str) -> AsyncIterator[None]:
    """Have a connection see another one's snapshot in the block."""
    async with connection.writing("repeatable read"):
        await connection.execute(f"set transaction snapshot '{name}'")
        yield


class Parts:
    """The parts of a plan's range, read by one connection, and by a second one once there are `LARGE` rows."""

    def __init__(self, plan: Plan, read: Read, spare: Spare) -> None:
        """Take what gives a plan's rows by a connection, and what lends a second one that sees the same."""
        self._left = deque(parts_of(plan))
        self._read = read
        self._spare = spare
        self._found: asyncio.Queue[Table | Exception | None] = asyncio.Queue(_AT_ONCE)
        self._second: asyncio.Task[None] | None = None
        self._joined = False

    async def tables(self, connection: Connection) -> AsyncGenerator[Table, None]:
        """Yield all rows, in any order; to be closed by whoever may leave early."""
        rows = 0
        first = asyncio.create_task(self._all(connection))
        try:
            while (batch := await self._found.get()) is not None:
                if isinstance(batch, Exception):
                    raise batch
                rows += len(batch)
                if self._second is None and rows >= LARGE and self._left:
                    self._second = asyncio.create_task(self._helping())
                yield batch
        finally:
            tasks = [task for task in (first, self._second) if task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _all(self, connection: Connection) -> None:
        try:
            await self._reading(connection)
            # One that still waits for its connection would come too late.
            if self._second is not None and self._joined:
                await self._second
        except Exception as error:  # noqa: BLE001 -- raised where the rows are taken
            await self._found.put(error)
        else:
            await self._found.put(None)

    async def _helping(self) -> None:
        async with self._spare() as connection:
            if connection is not None:
                self._joined = True
                await self._reading(connection)

    async def _reading(self, connection: Connection) -> None:
        while self._left:
            async with contextlib.aclosing(self._read(connection, self._left.popleft())) as tables:
                async for table in tables:
                    await self._found.put(table)
