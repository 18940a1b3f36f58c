"""The repair loop as a process."""

from collections.abc import Callable

import httpx

from services.platform.settings import Settings

from ..support import Service, TestDatabase, eventually
from ..support.late import LATE, connected, insert_late, notes


async def test_the_process_repairs_survives_a_restart_of_the_database_and_ends_politely(
    settings: Settings, database: TestDatabase, service: Callable[[str, Settings], Service]
) -> None:
    quick = settings.model_copy(update={"repair": settings.repair.model_copy(update={"interval": 0.1})})
    process = service("repair", quick)
    process.start()
    await process.ready()
    async with connected(database, "writer") as writer:
        await insert_late(writer, LATE)
    await eventually(lambda: _struck_off(database))
    await database.server.stop()
    await eventually(lambda: _is_not_ready(process))
    await database.server.start()
    async with connected(database, "writer") as writer:
        await insert_late(writer, LATE)
    await eventually(lambda: _struck_off(database))
    await process.ready()
    async with httpx.AsyncClient() as client:
        metrics = (await client.get(f"{process.url}/metrics")).text
    assert "millrace_late_ranges_waiting" in metrics
    if database.mode == "timescaledb":
        assert "millrace_repair_refresh_seconds_count" in metrics
    assert process.terminate() == 0
    assert "Traceback" not in process.log_text()


async def _struck_off(database: TestDatabase) -> bool:
    return await notes(database) == 0


async def _is_not_ready(process: Service) -> bool:
    return not await process.is_ready()
