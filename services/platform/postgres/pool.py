"""Pools of connections to PostgreSQL, each made when it is first needed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from .connections import Connection, Connector
from .errors import DATABASE_AWAY

__all__ = ["Pool"]


class Pool:
    """Connections of a role, each made when it is first needed.

    Who uses one leaves no session state behind, so none is reset: that would be a round trip a use.
    """

    def __init__(self, connector: Connector, size: int | None = None) -> None:
        """Connect later; `size` caps the pool below the setting."""
        self.connector = connector
        most = connector.settings.pool_size
        self._size = min(size or most, most)
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def lent(self) -> AsyncIterator[Connection]:
        """Lend a connection.

        Raises:
            DATABASE_AWAY: there is none.
            DatabaseRefusedError: the server refuses.
        """
        pool = await self._opened()
        async with pool.acquire() as proxy:
            yield proxy.itself

    @contextlib.asynccontextmanager
    async def answering(self) -> AsyncIterator[Connection]:
        """Lend a connection that has just answered; one that was lost while it lay idle is replaced.

        Raises:
            DATABASE_AWAY: there is none.
            DatabaseRefusedError: the server refuses.
        """
        pool = await self._opened()
        while True:
            async with pool.acquire() as proxy:
                connection: Connection = proxy.itself
                try:
                    await connection.execute("select 1")
                except BaseException as error:
                    connection.terminate()
                    if not isinstance(error, DATABASE_AWAY):
                        raise
                    continue
                yield connection
                return

    def idle(self) -> bool:
        """Tell whether less than half of the connections are in use."""
        return self._pool is not None and 2 * (self._pool.get_size() - self._pool.get_idle_size()) < self._size

    def drop(self) -> None:
        """Drop the connections; the next use makes new ones."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    async def _opened(self) -> asyncpg.Pool:
        async def connect(*_: Any, **__: Any) -> Connection:
            return await self.connector.connect()

        async def keep(_: asyncpg.Connection) -> None:
            return

        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    connect=connect, connection_class=Connection, reset=keep, min_size=0, max_size=self._size
                )
            return self._pool
