import asyncio

import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError

from services.platform.settings import RedisSettings
from services.platform.stream.connection import redis_client
from tests.support import eventually


def test_a_connection_that_closes_under_a_command_is_lost_and_made_anew(redis_settings: RedisSettings) -> None:
    async def close_and_ask() -> None:
        async with redis_client(redis_settings, single=True) as client:
            await client.ping()
            assert client.connection is not None
            reader, writer = client.connection._reader, client.connection._writer
            assert reader is not None
            assert writer is not None
            writer.transport.abort()
            await eventually(reader.at_eof)
            with pytest.raises(RedisConnectionError):
                await client.connection.send_command("PING")
            assert await client.ping()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(close_and_ask())
