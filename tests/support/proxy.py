"""A TCP proxy that can fall silent, as a network does whose packets nobody answers any more."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from pydantic import SecretStr
from sqlalchemy.engine import make_url

from services.platform.settings import Settings

__all__ = ["Proxy", "moved", "proxied"]


def moved(settings: Settings, port: int, role: str = "reader", **database: Any) -> Settings:
    """Return the settings with the server of a role at another port of this machine."""
    url = make_url(getattr(settings.database, f"{role}_url").get_secret_value())
    there = url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
    changed = settings.database.model_copy(update={f"{role}_url": SecretStr(there), **database})
    return settings.model_copy(update={"database": changed})


class Proxy:
    """Passes bytes on as long as `open` is set."""

    def __init__(self) -> None:
        self.port = 0
        self.open = asyncio.Event()
        self.open.set()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, until one side ends."""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self.open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def proxied(host: str, port: int) -> AsyncIterator[Proxy]:
    """Yield a proxy in front of a server."""
    proxy = Proxy()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await proxy.open.wait()
        there_reader, there_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(proxy.pass_on(reader, there_writer), proxy.pass_on(there_reader, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.open.set()
        server.close()
