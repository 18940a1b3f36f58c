"""`millrace send` against real services: what it says was accepted is in the database, exactly once."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from services.local.environment import environment
from services.platform.settings import Settings
from tests.support import Service, TestDatabase, eventually
from tests.support.readings import sql
from tests.support.service import ROOT

START = ["--start", "2026-01-01T00:00:00Z"]
Make = Callable[[str, Settings], Service]


def millrace(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", *arguments],
        cwd=ROOT,
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    told, complained = await asyncio.to_thread(process.communicate, None, 120)
    return process.returncode, told, complained


def journal_of(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def acked(path: Path) -> int:
    return sum(line["rows"] for line in journal_of(path) if line["state"] == "acked")


async def values(settings: Settings) -> Counter[float]:
    found = await sql(settings.database, "select value from sensor_data")
    return Counter(row["value"] for row in found)


async def test_what_is_sent_is_stored_and_a_repeat_of_the_run_adds_nothing(
    settings: Settings, service: Make, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    arguments = ["send", "--rows", "5000", "--batch", "300", "--ack", "stored", "--run", "one", *START]
    async with service("ingest", settings), service("worker", settings):
        for connections in ("3", "5"):
            sending = millrace(settings, *arguments, "--connections", connections, "--journal", str(journal))
            code, told, complained = await finished(sending)
            assert code == 0, complained
            assert "rows accepted     5,000" in told
    assert acked(journal) == 10_000
    assert await values(settings) == Counter(map(float, range(5000)))


async def test_a_killed_senders_run_is_completed_by_its_repeat(
    timescaledb_settings: Settings, service: Make, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    arguments = ["send", "--rows", "60000", "--batch", "100", "--run", "one", *START, "--journal", str(journal)]
    async with service("ingest", timescaledb_settings), service("worker", timescaledb_settings):
        sending = millrace(timescaledb_settings, *arguments)
        await eventually(lambda: acked(journal))
        sending.kill()
        sending.communicate()
        assert acked(journal) < 60_000
        code, _, complained = await finished(millrace(timescaledb_settings, *arguments))
        assert code == 0, complained
        await eventually(lambda: _all_stored(timescaledb_settings, 60_000), 60)
    assert await values(timescaledb_settings) == Counter(map(float, range(60_000)))


async def _all_stored(settings: Settings, rows: int) -> bool:
    return bool((await sql(settings.database, "select count(*) as n from sensor_data"))[0]["n"] >= rows)


async def test_an_ingest_that_is_killed_and_comes_back_costs_no_row(
    timescaledb_settings: Settings, service: Make, tmp_path: Path
) -> None:
    settings, journal = timescaledb_settings, tmp_path / "journal"
    arguments = ["send", "--rows", "40000", "--batch", "50", *START, "--journal", str(journal)]
    async with service("worker", settings):
        first = service("ingest", settings)
        first.start()
        await first.ready()
        sending = millrace(settings, *arguments)
        await eventually(lambda: acked(journal))
        first.kill()
        async with service("ingest", settings):
            code, told, complained = await finished(sending)
            await eventually(lambda: _all_stored(settings, 40_000), 60)
    assert code == 0, complained
    assert "answers none" in told
    assert await values(settings) == Counter(map(float, range(40_000)))


async def test_a_refused_batch_is_told_with_its_problem(
    timescaledb_settings: Settings, service: Make, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    arguments = ["send", "--rows", "3", "--start", "1990-01-01T00:00:00Z", "--journal", str(journal)]
    async with service("ingest", timescaledb_settings):
        code, told, complained = await finished(millrace(timescaledb_settings, *arguments))
    assert code == 1
    assert "batches refused   1" in told
    assert "refused: 422 invalid_readings" in complained
    assert [line["state"] for line in journal_of(journal)] == ["sent", "refused"]


async def test_the_schema_is_applied_once_and_told_each_time(empty_database: TestDatabase) -> None:
    settings = Settings(database=empty_database.settings)
    for ran in ("0001 init", "nothing new"):
        code, told, complained = await finished(millrace(settings, "schema", "apply"))
        assert code == 0, complained
        assert told.startswith("schema version ")
        assert f"ran {ran}" in told
        assert ("not supported here: " in told) == (empty_database.mode == "plain")
    await sql(settings.database, "drop function retention_age()")
    _, told, _ = await finished(millrace(settings, "schema", "apply"))
    assert "ran nothing new; made retention_age()\n" in told
