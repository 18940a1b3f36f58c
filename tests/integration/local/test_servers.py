"""The embedded servers."""

import asyncpg

from services.platform.settings import RedisSettings
from services.platform.stream import Durability, durability, redis_client, settings_problem
from tests.support import TestDatabase


async def test_the_embedded_valkey_fsyncs_each_write_and_never_evicts(redis_settings: RedisSettings) -> None:
    async with redis_client(redis_settings) as client:
        assert await durability(client) is Durability.REPLY
        assert await settings_problem(client) is None


async def test_each_mode_has_the_extension_that_it_says(database: TestDatabase) -> None:
    connection = await asyncpg.connect(database.superuser_url)
    try:
        found = await connection.fetchval("select count(*) from pg_extension where extname = 'timescaledb'")
    finally:
        await connection.close()
    assert found == (1 if database.mode == "timescaledb" else 0)
