"""PgBouncer before a server: in session or in transaction mode, strict or lax about startup parameters."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from pydantic import SecretStr

from services.local.process import ordinary_account
from services.local.server import Server
from services.platform.settings import DatabaseSettings, postgres_address

from .patience import free_port

__all__ = ["ABSENT", "PgBouncer", "pgbouncer"]

ABSENT = "PgBouncer was not found here; Debian's package is pgbouncer, and $PGBOUNCER names another one"
CONFIG = """\
[databases]
* = host=127.0.0.1 port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 300
server_round_robin = {robin}
ignore_startup_parameters = {ignored}
"""


def program() -> Path | None:
    """Return PgBouncer, None where there is none."""
    found = os.environ.get("PGBOUNCER") or shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    return Path(found) if found else None


class PgBouncer(Server):
    """A PgBouncer in `folder`, before the server and for the roles of some settings."""

    def __init__(
        self, folder: Path, database: DatabaseSettings, mode: str, *, size: int = 24, robin: int = 0, ignored: str = ""
    ) -> None:
        """Describe it; nothing starts.

        Args:
            folder: whose files it gets.
            database: whom it lets in, and where it leads.
            mode: of PgBouncer's `pool_mode`.
            size: server connections for each role.
            robin: whether they take turns, or the last one is used first.
            ignored: startup parameters that it leaves out instead of refusing the connection.
        """
        super().__init__("PgBouncer", folder / "pgbouncer.log", signal.SIGINT)
        self.port = free_port()
        self.database = database
        urls = (database.owner_url, database.writer_url, database.reader_url)
        addresses = [postgres_address(url.get_secret_value()) for url in urls]
        users = folder / "users"
        users.write_text("".join(f'"{each.user}" "{each.password}"\n' for each in addresses))
        self.config = folder / "pgbouncer.ini"
        _, port = addresses[0].hosts[0]
        self.config.write_text(
            CONFIG.format(port=port, own=self.port, users=users, mode=mode, size=size, robin=robin, ignored=ignored)
        )

    async def start(self) -> None:
        """Start it and wait until it listens."""
        found = program()
        assert found, ABSENT
        await self._launch([found, self.config], ordinary_account())

    async def is_ready(self) -> bool:
        """Tell whether it listens."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    def change_mode(self, mode: str) -> None:
        """Have the running one work in another mode."""
        self.config.write_text(re.sub("pool_mode = .*", f"pool_mode = {mode}", self.config.read_text()))
        self.signal(signal.SIGHUP)

    def before(self, *roles: str) -> DatabaseSettings:
        """Return the settings, with the connections of some roles led by way of this."""
        moved = {}
        for name in (f"{role}_url" for role in roles):
            address = postgres_address(getattr(self.database, name).get_secret_value())
            moved[name] = SecretStr(replace(address, hosts=(("127.0.0.1", self.port),)).url())
        return self.database.model_copy(update=moved)


@contextlib.asynccontextmanager
async def pgbouncer(database: DatabaseSettings, mode: str, **options: str | int) -> AsyncIterator[PgBouncer]:
    """Yield a running one, and stop it behind the block."""
    with tempfile.TemporaryDirectory(prefix="millrace-pooler-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101 -- as another user it reads its files there
        made = PgBouncer(Path(folder), database, mode, **options)  # type: ignore[arg-type]
        await made.start()
        try:
            yield made
        finally:
            await made.stop()
