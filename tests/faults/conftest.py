"""Fixtures of the fault tests: servers of a test's own, to be killed, a folder of failpoints, and how much load."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.local.valkey import ValkeyServer
from tests.support import TestDatabase, free_port
from tests.support.faults import Failpoints
from tests.support.results import Results
from tests.support.servers import MODES, installations, standalone


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the options that `make test-faults` gives."""
    parser.addoption("--scale", type=float, default=1.0, help="times the load and the kills of the fault tests")
    parser.addoption("--results", type=Path, help="file that a whole run of the fault tests writes its table to")


def pytest_configure(config: pytest.Config) -> None:
    """Let the process that hears of all tests write the table."""
    file = config.getoption("--results")
    if file is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(file, config.getoption("--scale")))


@pytest.fixture
def scale(request: pytest.FixtureRequest) -> float:
    """What the load and the kills of a test are multiplied by."""
    chosen: float = request.config.getoption("--scale")
    return chosen


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[ValkeyServer]:
    """A Valkey of the test's own, to be killed."""
    server = ValkeyServer(tmp_path / "own" / "valkey", free_port(), "secret", 256 * 1024 * 1024)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def postgres(open_folder: Path, database_mode: str) -> AsyncIterator[TestDatabase]:
    """A PostgreSQL of the test's own, to be killed."""
    async with standalone(open_folder, database_mode, installations()[database_mode]) as made:
        yield made


@pytest.fixture
def database_mode() -> str:
    """The first mode that this machine offers: what a fault does to a batch is the same in both."""
    return next(mode for mode in MODES if mode in installations())


@pytest.fixture
def failpoints(tmp_path: Path) -> Failpoints:
    """Failpoints of the test's own; none is armed."""
    return Failpoints(tmp_path / "failpoints")
