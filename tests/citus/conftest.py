"""Fixtures of the tests on a Citus cluster of a test's own, whose servers are killed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.local.citus import Cluster
from services.platform.settings import RedisSettings, Settings
from tests.conftest import ABSENT, whole
from tests.support import TestDatabase
from tests.support.citus import standalone_cluster
from tests.support.faults import Failpoints
from tests.support.servers import OPTIONS, installations


@pytest.fixture
def database_mode() -> str:
    """Of the tests here; where this machine lacks it, `database` skips them."""
    return "citus"


@pytest.fixture
async def standing(open_folder: Path) -> AsyncIterator[tuple[Cluster, TestDatabase]]:
    """A cluster of two nodes, and its database with the schema."""
    installation = installations().get("citus")
    if installation is None:
        pytest.skip(ABSENT["citus"])
    async with standalone_cluster(open_folder, installation, OPTIONS) as made:
        yield made


@pytest.fixture
def cluster(standing: tuple[Cluster, TestDatabase]) -> Cluster:
    """Its servers."""
    return standing[0]


@pytest.fixture
def settings(standing: tuple[Cluster, TestDatabase], redis_settings: RedisSettings) -> Settings:
    """The whole settings tree, pointing at its coordinator."""
    return whole(standing[1], redis_settings)


@pytest.fixture
def failpoints(tmp_path: Path) -> Failpoints:
    """Failpoints of the test's own; none is armed."""
    return Failpoints(tmp_path / "failpoints")
