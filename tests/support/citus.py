"""A Citus cluster of real servers, whose databases are copied for each test."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from pydantic import SecretStr
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from services.database.schema.apply import apply, bootstrap
from services.local.citus import Cluster, make_cluster
from services.local.credentials import Credentials, credentials
from services.local.installations import Installation
from services.platform.settings import DatabaseSettings

from .databases import Databases, TestDatabase
from .patience import free_port

__all__ = ["DistributedDatabases", "free_cluster", "standalone_cluster"]

NODES = 2


def free_cluster(
    folder: Path, installation: Installation, words: Credentials, options: Mapping[str, str], nodes: int = NODES
) -> Cluster:
    """Describe a cluster on free ports."""
    ports = [free_port() for _ in range(1 + nodes)]
    return make_cluster(folder, ports, installation, words.superuser, options)


@asynccontextmanager
async def standalone_cluster(
    folder: Path, installation: Installation, options: Mapping[str, str], nodes: int = NODES
) -> AsyncIterator[tuple[Cluster, TestDatabase]]:
    """Yield a cluster in `folder` and its database `sensors`, to be killed, and stop it behind the block."""
    words = credentials(folder / "credentials.json")
    cluster = free_cluster(folder, installation, words, options, nodes)
    server = cluster.coordinator
    settings = DatabaseSettings(
        owner_url=SecretStr(server.url("millrace_owner", words.owner)),
        writer_url=SecretStr(server.url("millrace_writer", words.writer)),
        reader_url=SecretStr(server.url("millrace_reader", words.reader)),
    )
    await cluster.start()
    try:
        await cluster.unite("sensors")
        await bootstrap(server.superuser_url, settings)
        await apply(settings)
        yield cluster, TestDatabase("citus", "sensors", settings, server.url("postgres", words.superuser), server)
    finally:
        await cluster.stop()


class DistributedDatabases(Databases):
    """Makes databases on a cluster: each is a copy of the template's on every server."""

    def __init__(self, cluster: Cluster, words: Credentials) -> None:
        super().__init__("citus", cluster.coordinator, words)
        self._cluster = cluster

    async def stop(self) -> None:
        """Stop what they stand on."""
        await self._cluster.stop()

    async def _bootstrap(self, database: TestDatabase) -> None:
        await self._cluster.unite(database.name)
        await super()._bootstrap(database)

    async def _run(self, *statements: str) -> None:
        # Citus looks after each database by a process of its own, which comes back.
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(asyncpg.ObjectInUseError),
            stop=stop_after_attempt(20),
            wait=wait_fixed(0.1),
            reraise=True,
        )
        for server in self._cluster.servers:
            for statement in statements:
                await retrying(self._cluster.run, server, "postgres", statement)
