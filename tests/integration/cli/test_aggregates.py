"""`millrace aggregates` on a real database in each mode."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from services.platform.settings import DatabaseSettings, Settings
from tests.support import TestDatabase, free_port
from tests.support.late import connected, insert_late
from tests.support.stack import said_by


async def test_aggregates_are_told_with_policies_and_late_ranges(database: TestDatabase, settings: Settings) -> None:
    async with connected(database, "writer") as writer:
        await insert_late(writer, datetime.now(UTC) - timedelta(days=30))
    table = await asyncio.to_thread(said_by, "aggregates", settings)
    told = await asyncio.to_thread(said_by, "aggregates --json", settings)
    assert (table.returncode, told.returncode) == (0, 0), table.stderr + told.stderr
    found = json.loads(told.stdout)
    if database.mode == "timescaledb":
        assert "measurement_hourly" in table.stdout
        assert found["measurement_hourly"]["late_ranges"] == 1
        assert set(found["measurement_hourly"]["jobs"]) == {"refresh"}
    elif database.mode == "plain":
        assert found["sensor_rollup_1h"] == found["sensor_rollup_15m"]
        assert (found["sensor_rollup_1h"]["watermark"], found["sensor_rollup_1h"]["late_ranges"]) == (None, 1)
        assert "not supported here" in table.stdout
    else:
        assert found == {}
        assert "not supported here" in table.stdout


def test_a_database_that_is_away_is_one_line() -> None:
    away = SecretStr(f"postgresql://millrace_owner@127.0.0.1:{free_port()}/sensors")
    said = said_by("aggregates", Settings(database=DatabaseSettings(owner_url=away)))
    assert said.returncode == 2
    assert len(said.stderr.splitlines()) == 1
