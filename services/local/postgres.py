"""The embedded PostgreSQL: an ordinary, durable server of our own, with TimescaleDB where it is installed."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from services.platform.runtime.starting import StartError
from services.platform.settings import PostgresAddress

from .installations import Installation
from .process import Account, adorned, end_strays, ordinary_account, reachable
from .server import Server

__all__ = ["PostgresServer"]

OPTIONS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "max_worker_processes": "24",
    "log_checkpoints": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
TIMESCALEDB_OPTIONS: Mapping[str, str] = {
    "timescaledb.telemetry_level": "off",
    "timescaledb.max_background_workers": "8",
}
PRELOAD = "shared_preload_libraries = 'timescaledb'"
"""Stands in the configuration of a data folder that was made with TimescaleDB, and so tells those apart."""


class PostgresServer(Server):
    """A PostgreSQL of our own in `folder`, on 127.0.0.1 and `port`.

    As root it runs as an ordinary user, which may then pass closed folders above its programs and data.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        installation: Installation,
        password: str,
        options: Mapping[str, str] | None = None,
        *,
        name: str = "PostgreSQL",
    ) -> None:
        """Describe the server; nothing starts.

        Args:
            folder: its data, made when absent.
            port: where it listens.
            installation: whose programs.
            password: of the superuser `postgres`.
            options: server settings beyond our own.
            name: for people.
        """
        self.folder = folder.resolve()
        self.port = port
        self.installation = installation
        self.superuser_url = self.url("postgres", password, "postgres")
        super().__init__(name, self.folder.with_name("postgresql.log"), signal.SIGINT)
        self._password = password
        ours = {**OPTIONS, **(TIMESCALEDB_OPTIONS if installation.timescaledb else {}), **(options or {})}
        self._options = [f"--{name}={value}" for name, value in ours.items()]

    def url(self, role: str, password: str, database: str = "sensors") -> str:
        """Return the connection of a role."""
        return PostgresAddress(role, password, database, (("127.0.0.1", self.port),), ()).url()

    async def start(self) -> None:
        """Start the server and wait until it answers, having recovered from whatever ended it before.

        Raises:
            StartError: the data folder does not fit the programs, or the server ended at once.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        account = self._account()
        await end_strays(self.folder, "postgres")
        if original := self._original():
            raise StartError(
                f"{self.folder} was copied from {original} while a server ran there, or had been killed, and is not "
                f"whole; stop that one in good order and copy it again, or delete {self.folder.parent} to begin afresh"
            )
        # No server works here now. PostgreSQL itself would take a zombie, or whoever got the old id, for one.
        (self.folder / "postmaster.pid").unlink(missing_ok=True)
        if not (self.folder / "PG_VERSION").exists():
            self._make(account)
        if problem := self.misfit():
            raise StartError(problem)
        postgres = self.installation.bin / "postgres"
        await self._launch([postgres, "-D", self.folder, "-p", str(self.port), *self._options], account)

    async def is_ready(self) -> bool:
        """Tell whether it takes connections; postmaster.pid says so, and pg_ctl itself reads it there."""
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        ours = self.process is not None and lines[:1] == [str(self.process.pid)]
        return ours and len(lines) > 7 and lines[7].strip() == "ready"

    def misfit(self) -> str | None:
        """Return why the programs do not fit the data folder, None where they do or there is none yet.

        It may be of another major version, or made with TimescaleDB where these have none, or without.
        """
        if not (self.folder / "PG_VERSION").exists():
            return None
        major = int((self.folder / "PG_VERSION").read_text())
        extended = PRELOAD in (self.folder / "postgresql.conf").read_text()
        if (major, extended) == (self.installation.major, self.installation.timescaledb is not None):
            return None
        made = f"PostgreSQL {major} {'with' if extended else 'without'} TimescaleDB"
        return (
            f"{self.folder} was made by {made}, but the programs found are {self.installation}; "
            "name those that fit (MILLRACE_PG_BIN) or another folder (MILLRACE_LOCAL_DATA_DIR)"
        )

    def _original(self) -> Path | None:
        """Return the data folder that this is a copy of, if a server had that one open; its postmaster.pid tells."""
        with contextlib.suppress(OSError, IndexError):
            opened = Path((self.folder / "postmaster.pid").read_text().splitlines()[1])
            # A folder that was moved is no copy.
            if (opened / "PG_VERSION").exists() and not opened.samefile(self.folder):
                return opened
        return None

    def _account(self) -> Account | None:
        account = ordinary_account()
        if account is None:
            return None
        ways = (self.folder, self.installation.bin / "postgres")
        return replace(account, override=not all(reachable(path, account) for path in ways))

    def _make(self, account: Account | None) -> None:
        self.folder.mkdir(exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=self.folder.parent, prefix="pw") as password:
            password.write(self._password)
            password.flush()
            if account:
                os.chown(self.folder, account.uid, account.gid)
                os.chown(password.name, account.uid, account.gid)
            command: list[str | Path] = [
                self.installation.bin / "initdb",
                f"--pgdata={self.folder}",
                "--username=postgres",
                f"--pwfile={password.name}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                "--no-instructions",
            ]
            made = subprocess.run(  # noqa: S603 -- our own command
                adorned(command, account), capture_output=True, text=True, cwd="/", check=False
            )
        if made.returncode:
            raise StartError(f"PostgreSQL's data folder cannot be made: {made.stderr.strip()}")
        if self.installation.timescaledb:
            with (self.folder / "postgresql.conf").open("a") as configuration:
                configuration.write(f"\n{PRELOAD}\n")
