"""Fixtures of the fault tests: servers of a test's own, to be killed, and a folder of failpoints."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.local.credentials import credentials
from services.local.postgres import PostgresServer
from services.local.valkey import ValkeyServer
from services.operator.schema import apply, bootstrap
from services.platform.settings import DatabaseSettings
from tests.support import TestDatabase, free_port
from tests.support.faults import Failpoints
from tests.support.servers import MODES, OPTIONS, installations


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[ValkeyServer]:
    """A Valkey of the test's own, to be killed."""
    server = ValkeyServer(tmp_path / "own" / "valkey", free_port(), "secret", 256 * 1024 * 1024)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def postgres(tmp_path_factory: pytest.TempPathFactory, database_mode: str) -> AsyncIterator[TestDatabase]:
    """A PostgreSQL of the test's own, to be killed."""
    folder = tmp_path_factory.mktemp("postgres")
    for above in (folder, folder.parent, folder.parent.parent):
        above.chmod(0o711)
    words = credentials(folder / "credentials.json")
    server = PostgresServer(folder / "data", free_port(), installations()[database_mode], words.superuser, OPTIONS)
    await server.start()
    settings = DatabaseSettings(
        owner_url=SecretStr(server.url("millrace_owner", words.owner)),
        writer_url=SecretStr(server.url("millrace_writer", words.writer)),
        reader_url=SecretStr(server.url("millrace_reader", words.reader)),
    )
    await bootstrap(server.superuser_url, settings)
    await apply(settings)
    yield TestDatabase(database_mode, "sensors", settings, server.superuser_url, server)
    await server.stop()


@pytest.fixture
def database_mode() -> str:
    """The first mode that this machine offers: what a fault does to a batch is the same in both."""
    return next(mode for mode in MODES if mode in installations())


@pytest.fixture
def failpoints(tmp_path: Path) -> Failpoints:
    """Failpoints of the test's own; none is armed."""
    return Failpoints(tmp_path / "failpoints")
