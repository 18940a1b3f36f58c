"""Chunks on their way to the cold tier, broken off between each step and the next: each reading is kept once."""

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.platform.runtime.failpoints import Place
from services.platform.settings import Settings
from tests.support import TestDatabase, eventually
from tests.support.faults import Failpoints, Make, ended
from tests.support.late import connected
from tests.support.query import asking
from tests.support.readings import sql
from tests.support.tier import computed, files_in, tiered

START = datetime(2025, 10, 2, tzinfo=UTC)
FILL = """
insert into sensor_data (timestamp, sensor_id, value)
select '2025-10-02T00:00:00Z'::timestamptz + number * interval '10 minutes', sensor, number
from generate_series(0, 2015) number, unnest(array['a', 'b']) sensor
"""
DELETE = """
insert into deletions (deletion_id, sensor_ids, range_start, range_end, reason, requested_by, requested_at,
  last_id, deleted_until, finished_at)
values (gen_random_uuid(), array['a'], '2025-10-03T00:00:00Z', '2025-10-05T00:00:00Z', 'wrong', '', now(),
  1000000, '2025-10-05T00:00:00Z', now())
"""
PLACES: list[Place] = [
    "tier.after_intent",
    "tier.after_write",
    "tier.after_verify",
    "tier.after_drop",
    "tier.after_commit",
]


BRIEFLY = {("tier.after_verify", "kill"), ("tier.after_drop", "kill")}
"""Broken off in `make test`, too: before and behind what no repeat could take back."""


def quick(settings: Settings, folder: Path) -> Settings:
    settings = tiered(settings, folder)
    tier = settings.tier.model_copy(update={"interval": 0.1, "grace": 1.0})
    return settings.model_copy(update={"tier": tier})


async def state(database: TestDatabase) -> tuple[int, int, int]:
    """Return how many readings are in the table, how many in files, and how many files are garbage."""
    async with connected(database, "owner") as owner:
        row = await owner.fetchrow(
            "select (select count(*) from sensor_data), (select coalesce(sum(rows), 0)::bigint from tier_files), "
            "(select count(*) from tier_garbage)"
        )
    return row[0], row[1], row[2]


async def whole(database: TestDatabase, folder: Path, rows: int) -> bool:
    """Tell whether everything is in the tier, and nothing else in its folder."""
    if await state(database) != (0, rows, 0):
        return False
    async with connected(database, "owner") as owner:
        listed = {row[0] for row in await owner.fetch("select path from tier_files")}
    return listed == files_in(folder)


async def readings(settings: Settings, sensor: str) -> list[dict[str, Any]]:
    asked = {"sensor_id": sensor, "start": START.isoformat(), "end": (START + timedelta(days=14)).isoformat()}
    async with asking(settings) as client:
        answer = await client.get("/get_range", params=asked)
        hours: httpx.Response = await client.get("/hourly", params=asked)
    found: list[dict[str, Any]] = answer.json()["data"]
    assert sum(hour["samples"] for hour in hours.json()) == len(found)
    return found


async def killed(settings: Settings, service: Make, failpoints: Failpoints, place: Place, action: str) -> None:
    """Have the process that moves chunks die, or fail, at a place."""
    victim = failpoints.given_to(service("repair", settings))
    failpoints.arm(place, action)
    victim.start()
    if action == "kill":
        await eventually(partial(ended, victim), 60.0)
    else:
        await failpoints.fired(place)
        victim.terminate()


@pytest.mark.parametrize(
    ("place", "action"),
    [
        pytest.param(place, action, marks=() if (place, action) in BRIEFLY else pytest.mark.long)
        for place in PLACES
        for action in ("kill", "fail")
    ],
)
async def test_a_move_that_is_broken_off_anywhere_keeps_each_reading_once_and_no_file_too_many(
    timescaledb_settings: Settings,
    timescaledb: TestDatabase,
    service: Make,
    failpoints: Failpoints,
    tmp_path: Path,
    place: Place,
    action: str,
) -> None:
    folder = tmp_path / "tier"
    folder.mkdir()
    settings = quick(timescaledb_settings, folder)
    await sql(settings.database, FILL)
    await computed(timescaledb)
    before = {sensor: await readings(settings, sensor) for sensor in "ab"}
    async with connected(timescaledb, "owner") as owner:
        await owner.execute("update tier_policy set after = '30 days'")
    await killed(settings, service, failpoints, place, action)
    for sensor in "ab":
        assert await readings(settings, sensor) == before[sensor]
    in_table, in_files, _ = await state(timescaledb)
    assert in_table + in_files == 4032
    async with service("repair", settings):
        await eventually(partial(whole, timescaledb, folder, 4032), 60.0)
    for sensor in "ab":
        assert await readings(settings, sensor) == before[sensor]


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(place, marks=() if place == "tier.after_drop" else pytest.mark.long)
        for place in (*PLACES, "tier.after_removal")
    ],
)
async def test_a_deletion_in_files_that_is_broken_off_anywhere_is_carried_out_once(
    timescaledb_settings: Settings,
    timescaledb: TestDatabase,
    service: Make,
    failpoints: Failpoints,
    tmp_path: Path,
    place: Place,
) -> None:
    folder = tmp_path / "tier"
    folder.mkdir()
    settings = quick(timescaledb_settings, folder)
    await sql(settings.database, FILL)
    await computed(timescaledb)
    async with connected(timescaledb, "owner") as owner:
        await owner.execute("update tier_policy set after = '30 days'")
        async with service("repair", settings):
            await eventually(partial(whole, timescaledb, folder, 4032), 60.0)
        await owner.execute(DELETE)
    left = {sensor: await readings(settings, sensor) for sensor in "ab"}
    assert [len(left[sensor]) for sensor in "ab"] == [2016 - 288, 2016]
    await killed(settings, service, failpoints, place, "kill")
    for sensor in "ab":
        assert await readings(settings, sensor) == left[sensor]
    async with service("repair", settings):
        await eventually(partial(whole, timescaledb, folder, 4032 - 288), 60.0)
    for sensor in "ab":
        assert await readings(settings, sensor) == left[sensor]
