"""The session's servers: one Valkey and a PostgreSQL a mode, each started when it is first asked for."""

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.database.schema.apply import apply, bootstrap
from services.local.citus import has_citus
from services.local.credentials import credentials
from services.local.installations import Installation, find_installations
from services.local.postgres import PostgresServer
from services.local.valkey import ValkeyServer
from services.platform.settings import DatabaseSettings

from .citus import DistributedDatabases, free_cluster
from .databases import Databases, TestDatabase
from .patience import free_port

__all__ = ["MODES", "Servers", "installations", "one_mode", "standalone", "two_majors"]

MODES = tuple(os.environ.get("TEST_MODES", "timescaledb plain").split())
"""Of the databases that tests run on; `make test-citus` has `citus` alone."""

OPTIONS: Mapping[str, str] = {
    # A process that is killed loses nothing by it; only a machine that loses power would.
    "fsync": "off",
    "full_page_writes": "off",
    "wal_init_zero": "off",
    "max_worker_processes": "48",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "autovacuum_naptime": "10min",
}


@functools.cache
def installations() -> dict[str, Installation]:
    """Return the installation that serves each mode that can be had here."""
    bin_folder = os.environ.get("MILLRACE_PG_BIN")
    found = find_installations(Path(bin_folder) if bin_folder else None)
    by_mode: dict[str, Installation] = {}
    for installation in found:
        by_mode.setdefault("timescaledb" if installation.timescaledb else "plain", installation)
        if has_citus(installation):
            by_mode.setdefault("citus", installation)
    return {mode: by_mode[mode] for mode in MODES if mode in by_mode}


def two_majors() -> tuple[Installation, Installation]:
    """Return installations of two major versions with one TimescaleDB, the older first; skipped where there are none.

    `TEST_OLDER_PG_BIN` names one that is not where others are looked for.
    """
    named = os.environ.get("TEST_OLDER_PG_BIN")
    extended = [one for one in find_installations(Path(named) if named else None) if one.timescaledb]
    for new in sorted(extended, key=lambda one: one.major, reverse=True):
        for old in extended:
            if old.major < new.major and old.timescaledb == new.timescaledb:
                return old, new
    pytest.skip(
        "no two major versions of PostgreSQL with the same TimescaleDB were found; TEST_OLDER_PG_BIN names the older"
    )


def one_mode() -> pytest.MarkDecorator:
    """Return the mark of tests that one kind of database answers for all, though their fixtures offer each."""
    found = list(installations())[:1]
    none = pytest.param("", marks=pytest.mark.skip("no PostgreSQL was found here"))
    return pytest.mark.parametrize("database_mode", found or [none])


@asynccontextmanager
async def standalone(
    folder: Path, mode: str, installation: Installation, **options: str
) -> AsyncIterator[TestDatabase]:
    """Yield a PostgreSQL in `folder` with a database of its own, to be killed, and stop it behind the block."""
    words = credentials(folder / "credentials.json")
    server = PostgresServer(folder / "data", free_port(), installation, words.superuser, {**OPTIONS, **options})
    await server.start()
    settings = DatabaseSettings(
        owner_url=SecretStr(server.url("millrace_owner", words.owner)),
        writer_url=SecretStr(server.url("millrace_writer", words.writer)),
        reader_url=SecretStr(server.url("millrace_reader", words.reader)),
    )
    try:
        await bootstrap(server.superuser_url, settings)
        await apply(settings)
        superuser_url = server.url("postgres", words.superuser)
        yield TestDatabase(mode, "sensors", settings, superuser_url, server)
    finally:
        await server.stop()


class Servers:
    """Starts servers in `folder` and stops all of them in the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._installations = installations()
        self._credentials = credentials(folder / "credentials.json")
        self._valkey: ValkeyServer | None = None
        self._databases: dict[str, Databases] = {}

    def valkey(self) -> ValkeyServer:
        """Return the running Valkey."""
        if self._valkey is None:
            folder = self._folder / "valkey"
            self._valkey = ValkeyServer(folder, free_port(), self._credentials.redis, 512 * 1024 * 1024)
            asyncio.run(self._valkey.start())
        return self._valkey

    def databases(self, mode: str) -> Databases:
        """Return the maker of databases on the running server of `mode`."""
        if mode not in self._databases:
            self._databases[mode] = self._on_cluster() if mode == "citus" else self._on_server(mode)
        return self._databases[mode]

    def _on_server(self, mode: str) -> Databases:
        password = self._credentials.superuser
        server = PostgresServer(self._folder / mode / "data", free_port(), self._installations[mode], password, OPTIONS)
        asyncio.run(server.start())
        return Databases(mode, server, self._credentials)

    def _on_cluster(self) -> Databases:
        folder = self._folder / "citus"
        folder.mkdir(mode=0o711)
        cluster = free_cluster(folder, self._installations["citus"], self._credentials, OPTIONS)
        asyncio.run(cluster.start())
        return DistributedDatabases(cluster, self._credentials)

    def stop(self) -> None:
        """Stop what was started."""
        for databases in self._databases.values():
            asyncio.run(databases.stop())
        if self._valkey:
            asyncio.run(self._valkey.stop())
