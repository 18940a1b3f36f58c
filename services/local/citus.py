"""A Citus cluster of our own on this machine: a coordinator and nodes, each an ordinary PostgreSQL."""

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.platform.postgres.connections import Connector
from services.platform.runtime.starting import StartError
from services.platform.settings import DatabaseSettings, postgres_address

from .installations import Installation, find_installations
from .postgres import PostgresServer

__all__ = ["Cluster", "has_citus", "make_cluster", "with_citus"]

OPTIONS: Mapping[str, str] = {
    "shared_preload_libraries": "citus",
    # A transaction over several nodes has a prepared part for each connection to one.
    "max_prepared_transactions": "400",
    "max_connections": "400",
    # Shards are moved by logical replication.
    "wal_level": "logical",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    "citus.shard_count": "8",
    "citus.local_hostname": "127.0.0.1",
    "citus.node_conninfo": "sslmode=prefer",
    # Parts whose coordinator could not say any more that they are committed are settled this often.
    "citus.recover_2pc_interval": "1s",
    "citus.enable_statistics_collection": "off",
}


def has_citus(installation: Installation) -> bool:
    """Tell whether Citus's files lie beside a PostgreSQL's."""
    program = installation.bin / "pg_config"
    if not program.is_file():
        return False
    share = subprocess.run([program, "--sharedir"], check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603
    return (Path(share) / "extension" / "citus.control").is_file()


def with_citus(pg_bin: Path | None) -> Installation:
    """Return the best PostgreSQL with Citus's files.

    Raises:
        StartError: there is none.
    """
    for installation in find_installations(pg_bin):
        if has_citus(installation):
            return installation
    raise StartError("no PostgreSQL with Citus was found: its files must lie in the folder of pg_config --sharedir")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Servers that together are one database.

    Attributes:
        coordinator: through which everybody writes and asks.
        nodes: on which the readings lie.
        password: of the superuser `postgres` of all.
    """

    coordinator: PostgresServer
    nodes: Sequence[PostgresServer]
    password: str

    @property
    def servers(self) -> list[PostgresServer]:
        """All of them, the coordinator first."""
        return [self.coordinator, *self.nodes]

    async def start(self) -> None:
        """Start all servers.

        Raises:
            StartError: one cannot start.
        """
        await asyncio.gather(*(server.start() for server in self.servers))

    async def stop(self) -> None:
        """Stop all servers, the coordinator first."""
        for server in self.servers:
            await server.stop()

    async def unite(self, name: str) -> None:
        """Make a database of that name on each server, and the nodes known to the coordinator.

        Raises:
            DATABASE_FAILURES: a server is away or refuses.
        """
        for server in self.servers:
            await self.run(server, "postgres", f"create database {name}")
            await self.run(server, name, "create extension citus")
        nodes = [f"select citus_add_node('127.0.0.1', {node.port})" for node in self.nodes]
        host = f"select citus_set_coordinator_host('127.0.0.1', {self.coordinator.port})"
        await self.run(self.coordinator, name, host, *nodes)

    async def run(self, server: PostgresServer, database: str, *statements: str) -> None:
        """Run statements in a database of one of the servers, as superuser.

        Raises:
            DATABASE_FAILURES: the server is away or refuses.
        """
        address = postgres_address(server.url("postgres", self.password, database))
        connection = await Connector(address, DatabaseSettings()).connect()
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


def make_cluster(
    folder: Path, ports: Sequence[int], installation: Installation, password: str, options: Mapping[str, str]
) -> Cluster:
    """Describe a cluster; nothing starts.

    Args:
        folder: of the data, which is there.
        ports: the coordinator's first, then one of each node.
        installation: whose programs; Citus's files lie beside them.
        password: of the superuser.
        options: server settings beyond our own.
    """
    # Nodes log in at each other as whoever asks them.
    trusting = folder / "pg_hba.conf"
    trusting.write_text("host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n")
    trusting.chmod(0o644)
    options = {**options, **OPTIONS, "hba_file": str(trusting)}
    # Its library is not loaded here.
    plain = replace(installation, timescaledb=None)
    names = ("coordinator", *(f"node-{number}" for number in range(1, len(ports))))
    coordinator, *nodes = (
        PostgresServer(folder / name / "data", port, plain, password, options, name=name)
        for name, port in zip(names, ports, strict=True)
    )
    return Cluster(coordinator, nodes, password)
