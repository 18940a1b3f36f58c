"""What most tests of questions begin with."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import httpx
import pytest

from tests.support import TestDatabase
from tests.support.query import LARGE, LARGE_ROWS, asking, fill, owner, query_settings
from tests.support.servers import Servers


@pytest.fixture
async def connection(database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    async with owner(database) as connected:
        yield connected


@pytest.fixture
async def client(database: TestDatabase) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(query_settings(database)) as asked:
        yield asked


@pytest.fixture(scope="session")
def large_databases(servers: Servers) -> Iterator[dict[str, TestDatabase]]:
    """The large database of each mode, as far as it was asked for."""
    made: dict[str, TestDatabase] = {}
    yield made
    for mode, database in made.items():
        servers.databases(mode).drop(database)


@pytest.fixture
def large(servers: Servers, database_mode: str, large_databases: dict[str, TestDatabase]) -> TestDatabase:
    """A database with `LARGE_ROWS` readings of `LARGE`, once in each mode; tests share it, and only read."""
    if database_mode not in large_databases:
        large_databases[database_mode] = servers.databases(database_mode).create()
        asyncio.run(_fill(large_databases[database_mode]))
    return large_databases[database_mode]


async def _fill(database: TestDatabase) -> None:
    await fill(database, LARGE, range(LARGE_ROWS), 7)
    async with owner(database) as connected:
        # Soon autovacuum would; before, all rows are sorted rather than read in the order of the index.
        await connected.execute("analyze sensor_data")


@pytest.fixture
async def watching(large: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """The superuser's connection to the large database, who sees what every backend does."""
    connection = await asyncpg.connect(large.superuser_url)
    try:
        yield connection
    finally:
        await connection.close()
