"""A database for each test, copied from one whose schema was applied once in the session."""

import asyncio
import itertools
from dataclasses import dataclass

import asyncpg
from pydantic import SecretStr

from services.database.schema.apply import apply, bootstrap
from services.local.credentials import Credentials
from services.local.postgres import PostgresServer
from services.platform.settings import DatabaseSettings

__all__ = ["Databases", "TestDatabase", "run"]

TEMPLATE = "template_sensors"

# A policy that begins in the middle of a test takes locks that the test did not ask for.
POSTPONE_POLICIES = (
    "select alter_job(job_id, next_start => now() + interval '1 year') from timescaledb_information.jobs"
)


@dataclass(frozen=True, slots=True)
class TestDatabase:
    """A database of one test.

    Attributes:
        mode: "timescaledb" or "plain".
        name: of the database.
        settings: the connections of owner, writer and reader.
        superuser_url: for what none of them may do.
        server: what it stands on.
    """

    __test__ = False

    mode: str
    name: str
    settings: DatabaseSettings
    superuser_url: str
    server: PostgresServer


class Databases:
    """Makes databases on one server."""

    def __init__(self, mode: str, server: PostgresServer, credentials: Credentials) -> None:
        self.mode = mode
        self.server = server
        self._credentials = credentials
        self._numbers = itertools.count(1)
        self._ready = False

    def create(self) -> TestDatabase:
        """Return a fresh database with the schema in it; the policies that came with it do not run by themselves."""
        return asyncio.run(self._create())

    def empty(self) -> TestDatabase:
        """Return a database that only bootstrap.sql has seen."""
        database = self._describe(f"empty_{next(self._numbers)}")
        asyncio.run(self._bootstrap(database))
        return database

    def drop(self, database: TestDatabase) -> None:
        """Drop a database, whoever is still connected."""
        asyncio.run(self._run(f"drop database if exists {database.name} with (force)"))

    async def stop(self) -> None:
        """Stop what they stand on."""
        await self.server.stop()

    async def _bootstrap(self, database: TestDatabase) -> None:
        await bootstrap(self.server.superuser_url, database.settings)

    async def _create(self) -> TestDatabase:
        if not self._ready:
            await self._make_template()
        database = self._describe(f"test_{next(self._numbers)}")
        # Without fsync, copying files is cheaper than writing each page to the log, and than dropping what that cached.
        made = f"create database {database.name} template {TEMPLATE} strategy file_copy owner millrace_owner"
        await self._run(made)
        return database

    async def _make_template(self) -> None:
        template = self._describe(TEMPLATE)
        await self._bootstrap(template)
        await apply(template.settings)
        if self.mode == "timescaledb":
            await run(template.superuser_url, POSTPONE_POLICIES)
        # TimescaleDB's scheduler would sit in the template, and a template must have no sessions.
        await self._run(
            f"alter database {TEMPLATE} allow_connections false",
            f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '{TEMPLATE}'",
        )
        self._ready = True

    def _describe(self, name: str) -> TestDatabase:
        server, words = self.server, self._credentials
        settings = DatabaseSettings(
            owner_url=SecretStr(server.url("millrace_owner", words.owner, name)),
            writer_url=SecretStr(server.url("millrace_writer", words.writer, name)),
            reader_url=SecretStr(server.url("millrace_reader", words.reader, name)),
        )
        superuser_url = server.url("postgres", words.superuser, name)
        return TestDatabase(self.mode, name, settings, superuser_url, server)

    async def _run(self, *statements: str) -> None:
        await run(self.server.superuser_url, *statements)


async def run(url: str, *statements: str) -> None:
    """Run statements by a connection of their own, one after the other."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
