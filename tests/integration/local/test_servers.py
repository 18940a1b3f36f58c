"""The embedded servers."""

import signal
from pathlib import Path

import asyncpg
from pydantic import SecretStr

from services.local.valkey import ValkeyServer
from services.platform.settings import RedisSettings
from services.platform.stream import Durability, durability, redis_client, settings_problem
from tests.support import TestDatabase, free_port


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


async def test_a_server_that_does_not_end_is_killed_and_keeps_what_it_fsynced(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "valkey", free_port(), "secret", 64 * 1024 * 1024)
    await server.start()
    settings = RedisSettings(url=SecretStr(server.url))
    async with redis_client(settings) as client:
        await client.set("kept", "1")
    server.grace = 0.2
    server.signal(signal.SIGSTOP)
    await server.stop()
    assert server.pid is None
    await server.start()
    async with redis_client(settings) as client:
        assert await client.get("kept") == b"1"
    await server.stop()
