"""The embedded PostgreSQL: an ordinary, durable server of our own, with TimescaleDB where it is installed."""

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from services.platform.serving import StartError

from .installations import Installation
from .process import Account, adorned, end_strays, ordinary_account, reachable

__all__ = ["PostgresServer"]

OPTIONS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "max_worker_processes": "24",
    "log_checkpoints": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
TIMESCALEDB_OPTIONS: Mapping[str, str] = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "timescaledb.max_background_workers": "8",
}


class PostgresServer:
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
    ) -> None:
        """Describe the server; nothing starts.

        Args:
            folder: its data, made when absent.
            port: where it listens.
            installation: whose programs.
            password: of the superuser `postgres`.
            options: server settings beyond our own.
        """
        self.folder = folder.resolve()
        self.port = port
        self.installation = installation
        self.superuser_url = self.url("postgres", password, "postgres")
        self.log = self.folder.with_name("postgresql.log")
        self.process: subprocess.Popen[bytes] | None = None
        self._password = password
        ours = {**OPTIONS, **(TIMESCALEDB_OPTIONS if installation.timescaledb else {}), **(options or {})}
        self._options = [f"--{name}={value}" for name, value in ours.items()]

    def url(self, role: str, password: str, database: str = "sensors") -> str:
        """Return the connection of a role."""
        return f"postgresql://{role}:{password}@127.0.0.1:{self.port}/{database}"

    async def start(self) -> None:
        """Start the server and wait until it answers, having recovered from whatever ended it before.

        Raises:
            StartError: the data folder belongs to another major version, or the server ended at once.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        account = self._account()
        await end_strays(self.folder, "postgres")
        if not (self.folder / "PG_VERSION").exists():
            self._make(account)
        self._check_version()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220, S603
                adorned(
                    [
                        self.installation.bin / "postgres",
                        "-D",
                        self.folder,
                        "-p",
                        str(self.port),
                        *self._options,
                    ],
                    account,
                    signal.SIGINT,
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        await self._ready()

    async def stop(self) -> None:
        """Stop the server as fast as is safe: sessions are ended, memory is written."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            await asyncio.to_thread(self.process.wait)

    def _account(self) -> Account | None:
        account = ordinary_account()
        if account is None:
            return None
        open_ways = all(reachable(path, account) for path in (self.folder, self.installation.bin / "postgres"))
        return replace(account, override=not open_ways)

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
            made = subprocess.run(  # noqa: S603
                adorned(command, account), capture_output=True, text=True, cwd="/", check=False
            )
        if made.returncode:
            raise StartError(f"PostgreSQL's data folder cannot be made: {made.stderr.strip()}")

    def _check_version(self) -> None:
        major = int((self.folder / "PG_VERSION").read_text())
        if major != self.installation.major:
            raise StartError(
                f"{self.folder} was made by PostgreSQL {major}, but the programs found are "
                f"{self.installation}; name those of version {major} (MILLRACE_PG_BIN) or another folder "
                "(MILLRACE_LOCAL_DATA_DIR)"
            )

    async def _ready(self) -> None:
        # The last line of postmaster.pid is what pg_ctl itself waits for.
        while self.process and self.process.poll() is None:
            if self._told().get(0) == str(self.process.pid) and self._told().get(7) == "ready":
                return
            await asyncio.sleep(0.05)
        words = self.log.read_text(errors="replace").strip().splitlines()[-3:]
        raise StartError(f"PostgreSQL does not start: {' / '.join(words)}; all of it: {self.log}")

    def _told(self) -> dict[int, str]:
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return {}
        return dict(enumerate(line.strip() for line in lines))
