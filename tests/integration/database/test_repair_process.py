"""The repair loop as a process, and what it says of itself."""

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest

from services.database.repair.catalogue import CatalogueLoop
from services.database.repair.deletions import DeletionLoop
from services.database.repair.loop import RepairLoop
from services.database.schema.apply import apply
from services.platform.postgres.capability import Capability, capability
from services.platform.runtime.health import Health
from services.platform.runtime.tasks import end
from services.platform.settings import DatabaseSettings, RepairSettings, Settings
from tests.support import Service, TestDatabase, eventually
from tests.support.admin import both_ports
from tests.support.deletions import ask_deletion
from tests.support.late import LATE, connected, insert, insert_late, notes
from tests.support.tier import computed, files_in, tiered

HOUR = 3_600_000_000


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


async def test_a_database_that_is_read_only_by_default_is_repaired_corrected_and_upgraded(
    settings: Settings, database: TestDatabase, service: Callable[[str, Settings], Service]
) -> None:
    async with connected(database, "writer") as writer:
        await insert_late(writer, LATE)
    async with connected(database, "superuser") as superuser:
        await superuser.execute(f"alter database {database.name} set default_transaction_read_only = on")
    await apply(settings.database)
    start = int(LATE.timestamp()) * 1_000_000
    async with both_ports(settings) as ports:
        asked = await ask_deletion(ports.admin, ["a"], start, start + HOUR)
        async with service("repair", settings) as process:
            await eventually(lambda: _struck_off(database))

            async def carried_out() -> bool:
                found = (await ports.admin.get(f"/deletions/{asked['deletion_id']}")).json()
                return found["rows"] == 1 and found["finished_at"] is not None

            await eventually(carried_out)
    assert '"level":"warning"' not in process.log_text().replace(" ", "")


async def test_the_process_moves_chunks_to_the_tier_and_counts_what_it_did_and_could_not(
    timescaledb: TestDatabase, timescaledb_settings: Settings, tmp_path: Path
) -> None:
    settings, folder = tiered(timescaledb_settings, tmp_path / "tier"), tmp_path / "tier"
    async with (
        connected(timescaledb, "owner") as owner,
        Service("repair", settings, tmp_path / "repair.log") as process,
        httpx.AsyncClient() as client,
    ):

        async def says(line: str) -> bool:
            return re.search(line, (await client.get(f"{process.url}/metrics")).text) is not None

        await insert(owner, LATE - timedelta(days=40), LATE - timedelta(days=40))
        await computed(timescaledb)
        # What cannot be a folder.
        folder.touch()
        await owner.execute("update tier_policy set after = interval '30 days'")
        await eventually(partial(says, r"(?m)^millrace_tier_failures_total(\{.*\})? [1-9]"))
        # Pass after pass fails, and none of them is ready for a moment.
        for _ in range(20):
            assert not await process.is_ready()
            await asyncio.sleep(0.05)
        folder.unlink()
        await eventually(partial(says, r"(?m)^millrace_tier_rows_moved_total(\{.*\})? 2.0$"))
        await eventually(partial(says, r"(?m)^millrace_tier_chunks_waiting(\{.*\})? 0.0$"))
        await eventually(process.is_ready)
    assert files_in(folder)


class Told(Health):
    """Keeps what was told of it."""

    def __init__(self) -> None:
        super().__init__("repair", "deletions", "catalogue")
        self.ready, self.problems = list[str](), list[str]()

    def has(self, part: str) -> None:
        self.ready.append(part)
        super().has(part)

    def lacks(self, part: str, what: str) -> None:
        self.problems.append(part)
        super().lacks(part, what)


@pytest.mark.parametrize(
    ("kind", "part", "rights"),
    [
        (RepairLoop, "repair", "delete on late_ranges"),
        (DeletionLoop, "deletions", "select on deletions"),
        (CatalogueLoop, "catalogue", "update on catalogue_filling"),
    ],
)
async def test_what_refuses_each_round_is_no_moment_ready_until_a_round_has_succeeded(
    database: TestDatabase, kind: type[RepairLoop] | type[DeletionLoop] | type[CatalogueLoop], part: str, rights: str
) -> None:
    health, work = Told(), RepairSettings(interval=0.1)

    async def found() -> tuple[DatabaseSettings, Capability]:
        return database.settings, able

    async with connected(database, "owner") as owner, connected(database, "writer") as writer:
        able = await capability(owner)
        await owner.execute(f"revoke {rights} from millrace_owner")
        await insert_late(writer, LATE - timedelta(hours=1))
        loop = asyncio.create_task(kind(work, health, found).run())
        await eventually(lambda: len(health.problems) > 2)
        assert health.ready == []
        await owner.execute(f"grant {rights} to millrace_owner")
        await eventually(lambda: part not in health.reasons())
        await owner.execute(f"revoke {rights} from millrace_owner")
        await insert_late(writer, LATE)
        health.problems.clear()
        await eventually(lambda: health.problems)
        health.ready.clear()
        await eventually(lambda: len(health.problems) > 2)
        assert health.ready == []
        await end([loop])


async def _struck_off(database: TestDatabase) -> bool:
    return await notes(database) == 0


async def _is_not_ready(process: Service) -> bool:
    return not await process.is_ready()
