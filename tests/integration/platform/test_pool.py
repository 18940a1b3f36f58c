"""A connection that its server closes is noticed as such, whenever that is, and replaced."""

import asyncio
import os
import signal
import time

import asyncpg
import pytest

from services.platform.postgres.connections import Connection, Connector
from services.platform.postgres.errors import DATABASE_AWAY
from services.platform.postgres.pool import Pool
from tests.support import TestDatabase, eventually

SIZE = 3


@pytest.fixture
def pool(timescaledb: TestDatabase) -> Pool:
    """A pool of a few connections."""
    settings = timescaledb.settings.model_copy(update={"pool_size": SIZE})
    return Pool(Connector(settings.reader_url, settings))


async def filled(pool: Pool) -> list[int]:
    """Have all connections of a pool made, and return the ids of their processes."""
    everybody = asyncio.Barrier(SIZE)

    async def use() -> int:
        async with pool.answering() as connection:
            await everybody.wait()
            return int(connection.get_server_pid())

    return await asyncio.gather(*(use() for _ in range(SIZE)))


async def close(connection: Connection) -> None:
    """Have the server close a connection, and see that this was noticed."""
    os.kill(connection.get_server_pid(), signal.SIGTERM)
    await eventually(connection.is_closed, 10)


@pytest.mark.parametrize("noticed", [False, True], ids=["unnoticed", "noticed"])
async def test_connections_that_were_closed_while_they_lay_idle_are_replaced(pool: Pool, noticed: bool) -> None:
    old = await filled(pool)
    for process in old:
        os.kill(process, signal.SIGTERM)
    # The event loop sees nothing of it while it stands still.
    time.sleep(0.3)  # noqa: ASYNC251
    if noticed:
        await asyncio.sleep(0.1)
    assert not set(old) & set(await filled(pool))
    pool.drop()


async def test_one_that_is_closed_while_it_is_lent_is_told_to_be_away_whatever_is_done_with_it(pool: Pool) -> None:
    async with pool.lent() as connection:
        await close(connection)
        for use in (connection.asking(snapshot=True), connection.writing()):
            with pytest.raises(DATABASE_AWAY):
                async with use:
                    pytest.fail("there is no transaction")
        with pytest.raises(DATABASE_AWAY):
            await connection.fetch("select 1")
        connection.terminate()
        assert not connection.pooled
    assert len(set(await filled(pool))) == SIZE
    pool.drop()


async def test_one_that_is_closed_within_a_transaction_ends_it_by_the_first_error(pool: Pool) -> None:
    async def work(connection: Connection) -> None:
        async with connection.writing():
            await close(connection)
            raise asyncpg.PostgresConnectionError("the first")

    async with pool.lent() as connection:
        with pytest.raises(asyncpg.PostgresConnectionError, match="the first"):
            await work(connection)
    assert len(set(await filled(pool))) == SIZE
    pool.drop()
