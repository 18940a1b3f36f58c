"""A TCP proxy that can fall silent, swallow replies and cut connections, as a network does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from services.platform.settings import Settings, postgres_address

__all__ = ["Proxy", "moved", "proxied", "server_of"]


def moved(settings: Settings, port: int, role: str = "reader", **database: Any) -> Settings:
    """Return the settings with the server of a role at another port of this machine."""
    address = postgres_address(getattr(settings.database, f"{role}_url").get_secret_value())
    there = replace(address, hosts=(("127.0.0.1", port),)).url()
    changed = settings.database.model_copy(update={f"{role}_url": SecretStr(there), **database})
    return settings.model_copy(update={"database": changed})


def server_of(settings: Settings, role: str) -> tuple[str, int]:
    """Return host and port of the server of a role."""
    [(host, port)] = postgres_address(getattr(settings.database, f"{role}_url").get_secret_value()).hosts
    return host, port or 5432


class Proxy:
    """Passes bytes on as long as `open` is set.

    Attributes:
        server: host and port that new connections lead to.
        port: where it listens.
        open: cleared, nothing passes, and what comes waits.
        swallows: whether replies are thrown away.
        latency: for each piece that passes the seconds it takes.
    """

    def __init__(self, host: str, port: int) -> None:
        self.server = (host, port)
        self.port = 0
        self.open = asyncio.Event()
        self.open.set()
        self.swallows = False
        self.latency: Callable[[], float] | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def join(self, near: asyncio.StreamWriter, reader: asyncio.StreamReader) -> None:
        """Pass on between a client and the server, until one side ends."""
        await self.open.wait()
        try:
            far_reader, far = await asyncio.open_connection(*self.server)
        except ConnectionError:
            # Older Pythons would leave the client waiting.
            near.transport.abort()
            return
        self._writers |= {near, far}
        try:
            await asyncio.gather(self._pass_on(reader, far), self._pass_on(far_reader, near, replies=True))
        finally:
            self._writers -= {near, far}

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool = False
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self.open.wait()
                if self.latency:
                    await asyncio.sleep(self.latency())
                if not (replies and self.swallows):
                    writer.write(data)
                    await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def proxied(host: str, port: int, address: str = "127.0.0.1") -> AsyncIterator[Proxy]:
    """Yield a proxy in front of a server, listening at an address of this machine."""
    proxy = Proxy(host, port)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await proxy.join(writer, reader)

    server = await asyncio.start_server(connected, address, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.open.set()
        server.close()
        proxy.cut()
