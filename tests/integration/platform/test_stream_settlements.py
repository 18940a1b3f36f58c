"""The settled channel before its server is there, and when it is lost."""

import asyncio
import contextlib
from pathlib import Path

from pydantic import SecretStr
from structlog.testing import capture_logs

from services.local.valkey import ValkeyServer
from services.platform.settings import RedisSettings
from services.platform.stream.connection import names_of, redis_client
from services.platform.stream.settlements import Listener
from tests.support import eventually, free_port


async def test_a_server_that_comes_last_is_no_loss_and_one_that_goes_is(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "valkey", free_port(), "secret", 64 * 1024 * 1024)
    settings = RedisSettings(url=SecretStr(server.url))
    with capture_logs() as logs:

        def levels() -> list[str]:
            return [line["log_level"] for line in logs if line.get("action") == "listen"]

        async with redis_client(settings) as client:
            listening = asyncio.create_task(Listener(client, names_of(settings)).run())
            try:
                await eventually(lambda: levels() == ["info"])
                await server.start()
                await eventually(lambda: levels() == ["info", "info"])
                await server.stop()
                await eventually(lambda: levels() == ["info", "info", "warning"])
            finally:
                listening.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await listening
                await server.stop()
