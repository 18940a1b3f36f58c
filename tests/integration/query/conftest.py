"""What most tests of questions begin with."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from tests.support import TestDatabase
from tests.support.query import asking, owner, query_settings


@pytest.fixture
async def connection(database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    async with owner(database) as connected:
        yield connected


@pytest.fixture
async def client(database: TestDatabase) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(query_settings(database)) as asked:
        yield asked
