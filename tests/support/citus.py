"""A Citus cluster of real servers: a coordinator and two nodes, whose databases are copied for each test."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
from pydantic import SecretStr
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from services.database.schema.apply import apply, bootstrap
from services.local.credentials import Credentials, credentials
from services.local.installations import Installation
from services.local.postgres import PostgresServer
from services.platform.settings import DatabaseSettings

from .databases import Databases, TestDatabase, run
from .patience import free_port

__all__ = ["Cluster", "DistributedDatabases", "has_citus", "made_cluster", "standalone_cluster"]

NODES = 2

OPTIONS = {
    "shared_preload_libraries": "citus",
    # Of a transaction over several nodes each has a prepared part.
    "max_prepared_transactions": "400",
    "max_connections": "400",
    # Shards are moved by logical replication.
    "wal_level": "logical",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    "citus.shard_count": "8",
    "citus.local_hostname": "127.0.0.1",
    "citus.node_conninfo": "sslmode=prefer",
    # Parts of transactions whose coordinator's connection was cut are settled this often.
    "citus.recover_2pc_interval": "1s",
    "citus.enable_statistics_collection": "off",
}


def has_citus(installation: Installation) -> bool:
    """Tell whether Citus's files lie ready beside a PostgreSQL."""
    program = installation.bin / "pg_config"
    if not program.is_file():
        return False
    share = subprocess.run([program, "--sharedir"], check=True, capture_output=True, text=True).stdout.strip()
    return (Path(share) / "extension" / "citus.control").is_file()


@dataclass(frozen=True, slots=True)
class Cluster:
    """Servers that together are one database.

    Attributes:
        coordinator: through which everybody writes and asks.
        nodes: on which the shards lie.
        words: the passwords of all.
    """

    coordinator: PostgresServer
    nodes: Sequence[PostgresServer]
    words: Credentials

    @property
    def servers(self) -> list[PostgresServer]:
        """All of them, the coordinator first."""
        return [self.coordinator, *self.nodes]

    async def start(self) -> None:
        """Start all servers."""
        await asyncio.gather(*(server.start() for server in self.servers))

    async def stop(self) -> None:
        """Stop all servers, the coordinator first."""
        for server in self.servers:
            await server.stop()

    async def unite(self, name: str) -> None:
        """Make a database of that name on each server, and the nodes known to the coordinator."""
        await self.everywhere("postgres", f"create database {name}")
        await self.everywhere(name, "create extension citus")
        nodes = [f"select citus_add_node('127.0.0.1', {node.port})" for node in self.nodes]
        host = f"select citus_set_coordinator_host('127.0.0.1', {self.coordinator.port})"
        await run(self.superuser_url(self.coordinator, name), host, *nodes)

    async def everywhere(self, name: str, *statements: str) -> None:
        """Run statements in a database of each server, as superuser."""
        for server in self.servers:
            await run(self.superuser_url(server, name), *statements)

    def superuser_url(self, server: PostgresServer, name: str) -> str:
        """Return the superuser's connection to a database of one of the servers."""
        return server.url("postgres", self.words.superuser, name)

    def describe(self, name: str) -> TestDatabase:
        """Return the database of that name as services know it."""
        server, words = self.coordinator, self.words
        settings = DatabaseSettings(
            owner_url=SecretStr(server.url("millrace_owner", words.owner, name)),
            writer_url=SecretStr(server.url("millrace_writer", words.writer, name)),
            reader_url=SecretStr(server.url("millrace_reader", words.reader, name)),
        )
        return TestDatabase("citus", name, settings, self.superuser_url(server, name), server)


def made_cluster(folder: Path, installation: Installation, options: dict[str, str]) -> Cluster:
    """Describe a cluster in `folder`; nothing starts."""
    words = credentials(folder / "credentials.json")
    # Nodes log in at each other as whoever asks; what they would need for that is another matter than ours.
    trusting = folder / "pg_hba.conf"
    trusting.write_text("host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n")
    trusting.chmod(0o644)
    options = {**options, **OPTIONS, "hba_file": str(trusting)}
    plain = replace(installation, timescaledb=None)
    coordinator, *nodes = [
        PostgresServer(folder / name / "data", free_port(), plain, words.superuser, options)
        for name in ("coordinator", *(f"node-{number}" for number in range(1, NODES + 1)))
    ]
    return Cluster(coordinator, nodes, words)


@asynccontextmanager
async def standalone_cluster(
    folder: Path, installation: Installation, options: dict[str, str]
) -> AsyncIterator[tuple[Cluster, TestDatabase]]:
    """Yield a cluster in `folder` with the database `sensors`, to be killed, and stop it behind the block."""
    cluster = made_cluster(folder, installation, options)
    await cluster.start()
    try:
        await cluster.unite("sensors")
        made = cluster.describe("sensors")
        await bootstrap(cluster.coordinator.superuser_url, made.settings)
        await apply(made.settings)
        yield cluster, made
    finally:
        await cluster.stop()


class DistributedDatabases(Databases):
    """Makes databases on a cluster: each is a copy of the template's on every server."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__("citus", cluster.coordinator, cluster.words)
        self.cluster = cluster

    async def _bootstrap(self, database: TestDatabase) -> None:
        await self.cluster.unite(database.name)
        await super()._bootstrap(database)

    async def _run(self, *statements: str) -> None:
        # Citus looks after each database by a process of its own, which comes back.
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(asyncpg.ObjectInUseError), stop=stop_after_attempt(20), wait=wait_fixed(0.1),
            reraise=True,
        )  # fmt: skip
        for server in self.cluster.servers:
            for statement in statements:
                await retrying(run, self.cluster.superuser_url(server, "postgres"), statement)

    async def stop(self) -> None:
        """Stop what they stand on."""
        await self.cluster.stop()
