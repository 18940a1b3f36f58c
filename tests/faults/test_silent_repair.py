"""The repair loop before a database that takes connections and says nothing."""

from collections.abc import Callable

import pytest

from services.database.repair.late_ranges import PATIENCE
from services.platform.settings import Settings
from tests.support import Service, eventually
from tests.support.proxy import moved, proxied, server_of

pytestmark = pytest.mark.long


async def test_the_process_is_not_ready_while_the_database_is_silent(
    timescaledb_settings: Settings, service: Callable[[str, Settings], Service]
) -> None:
    settings = timescaledb_settings
    async with proxied(*server_of(settings, "owner")) as proxy:
        behind = moved(settings, proxy.port, "owner", connect_timeout=0.5)
        process = service(
            "repair", behind.model_copy(update={"repair": settings.repair.model_copy(update={"interval": 0.1})})
        )
        process.start()
        await process.ready()
        proxy.open.clear()
        # Where silence falls into a round, its statement's patience comes first.
        await eventually(lambda: _is_not_ready(process), timeout=PATIENCE + 15)
        proxy.open.set()
        await process.ready()
        assert process.terminate() == 0


async def _is_not_ready(process: Service) -> bool:
    return not await process.is_ready()
