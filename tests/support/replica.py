"""A primary with streaming read replicas, which start by the chart's own script."""

import asyncio
import os
import secrets
import signal
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from pydantic import SecretStr

from services.local.credentials import Credentials
from services.local.installations import Installation
from services.local.postgres import PostgresServer
from services.local.process import ordinary_account, reachable
from services.local.server import Server

from .databases import Databases, TestDatabase
from .service import ROOT

__all__ = ["Primary", "ReplicaServer", "reading_url"]

SCRIPT = ROOT / "charts" / "millrace" / "files" / "replica.sh"
OPTIONS = {
    "fsync": "off",
    "max_worker_processes": "24",
    "max_wal_size": "32MB",
    "max_slot_wal_keep_size": "32MB",
    "autovacuum_naptime": "10min",
}


class ReplicaServer(Server):
    """Replica number `ordinal` of a primary, on an address of its own and the primary's port."""

    def __init__(self, primary: "Primary", database: TestDatabase, ordinal: int) -> None:
        self.folder = primary.folder / f"replica-{ordinal}"
        self.host = f"127.0.0.{2 + ordinal}"
        self.superuser_url = database.superuser_url.replace("127.0.0.1", self.host)
        self.reader_url = database.settings.reader_url.get_secret_value().replace("127.0.0.1", self.host)
        super().__init__(f"replica {ordinal}", primary.folder / f"replica-{ordinal}.log", signal.SIGINT)
        self._primary = primary
        self._ordinal = ordinal

    async def start(self) -> None:
        """Start it and wait until it answers."""
        account = ordinary_account()
        self.folder.mkdir(exist_ok=True, mode=0o700)
        script = self._primary.folder / "replica.sh"
        script.write_text(SCRIPT.read_text())
        if account:
            os.chown(self.folder, account.uid, account.gid)
            assert reachable(script, account)
        variables = {
            "PATH": f"{self._primary.installation.bin}:{os.environ['PATH']}",
            "HOSTNAME": f"replica-{self._ordinal}",
            "PRIMARY": "127.0.0.1",
            "PGPORT": str(self._primary.server.port),
            "PGHOST": str(self.folder),
            "PGDATA": str(self.folder / "data"),
            "TMPDIR": str(self.folder),
            "REPLICATION_PASSWORD": self._primary.replication_password,
        }
        options = {**OPTIONS, "port": str(self._primary.server.port), "listen_addresses": self.host,
                   "unix_socket_directories": str(self.folder), "wal_receiver_status_interval": "1"}  # fmt: skip
        command: list[str | Path] = [
            "/usr/bin/env",
            *(f"{name}={value}" for name, value in variables.items()),
            "sh",
            script,
            "start",
        ]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        await self._launch(command, account)

    async def is_ready(self) -> bool:
        """Tell whether it takes connections."""
        try:
            connection = await asyncpg.connect(self.superuser_url, timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    def kill(self) -> None:
        """End it without a word."""
        assert self.process
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    async def run(self, statement: str) -> object:
        """Run a statement on it as superuser and return its value."""
        return await value(self.superuser_url, statement)


class Primary:
    """A server that replicas may follow, with one database."""

    def __init__(self, folder: Path, port: int, installation: Installation, mode: str) -> None:
        self.folder = folder
        self.installation = installation
        self.replication_password = secrets.token_urlsafe(12)
        words = Credentials(*(secrets.token_urlsafe(12) for _ in Credentials.__struct_fields__))
        self.server = PostgresServer(folder / "primary", port, installation, words.superuser, OPTIONS)
        self._databases = Databases(mode, self.server, words)

    async def start(self) -> TestDatabase:
        """Start it; return a database with the schema."""
        await self.server.start()
        await self.run(f"create role millrace_replica login replication password '{self.replication_password}'")
        return await asyncio.to_thread(self._databases.create)

    async def run(self, statement: str) -> object:
        """Run a statement on it as superuser and return its value."""
        return await value(self.server.superuser_url, statement)


def reading_url(replicas: Sequence[ReplicaServer]) -> SecretStr:
    """Return the reader's connection to all of the replicas."""
    first, *others = (replica.reader_url for replica in replicas)
    more = "".join("," + urlsplit(url).netloc.rpartition("@")[2] for url in others)
    parts = urlsplit(first)
    return SecretStr(parts._replace(netloc=parts.netloc + more).geturl())


async def value(url: str, statement: str) -> object:
    """Run a statement on a connection of its own and return its value."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()
