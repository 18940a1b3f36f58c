"""Updating TimescaleDB where the server offers more than one version of it."""

from pathlib import Path

import asyncpg
import pytest

from services.database.schema.apply import apply
from services.database.schema.extension import NotUpdatedError, update_timescaledb
from services.platform.settings import RedisSettings
from tests.conftest import whole
from tests.support import TestDatabase
from tests.support.databases import run
from tests.support.extension import aged, installed, versions
from tests.support.faults import Make, acknowledged, drained, load, worker
from tests.support.oracle import check

ROWS = 100_000


async def test_an_update_under_load_loses_and_doubles_nothing(
    empty_database: TestDatabase, redis_settings: RedisSettings, service: Make, tmp_path: Path
) -> None:
    before, newest = await aged(empty_database)
    settings = whole(empty_database, redis_settings)
    journal = tmp_path / "journal"
    async with service("ingest", settings), service("worker", worker(settings, "worker-1")):
        async with load(settings, journal, ROWS) as sender:
            assert await acknowledged(journal, sender, 100), "the load ended before the update"
            did = await update_timescaledb(empty_database.superuser_url, empty_database.settings, newest)
            assert did == f"updated TimescaleDB from {before} to {newest}"
        await drained(settings)
    verdict = await check(journal, settings.database)
    assert (verdict.promised, verdict.stored, verdict.clean) == (ROWS, ROWS, True), verdict
    assert await installed(empty_database) == newest
    assert await update_timescaledb(empty_database.superuser_url, empty_database.settings, newest) is None
    assert (await apply(empty_database.settings)).did == ()


async def test_what_cannot_be_had_is_refused_and_leaves_what_is_there(empty_database: TestDatabase) -> None:
    before, newest = await versions(empty_database)
    url, settings = empty_database.superuser_url, empty_database.settings
    with pytest.raises(NotUpdatedError, match=rf"does not offer TimescaleDB 1\.2\.3 but .*{newest}"):
        await update_timescaledb(url, settings, "1.2.3")
    with pytest.raises(NotUpdatedError, match=f"no way from TimescaleDB {newest} to {before}"):
        await update_timescaledb(url, settings, before)
    assert await installed(empty_database) == newest


async def test_an_update_that_something_holds_up_is_given_up(
    empty_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, newest = await aged(empty_database)
    url, settings = empty_database.superuser_url, empty_database.settings
    monkeypatch.setattr("services.database.schema.extension._LOCK_TIMEOUT", "200ms")
    holder = await asyncpg.connect(url)
    await holder.execute("begin; lock _timescaledb_catalog.chunk in access share mode")
    with pytest.raises(NotUpdatedError, match=f"TimescaleDB {before} waits for its update to {newest}"):
        await update_timescaledb(url, settings, newest)
    await holder.close()
    assert await installed(empty_database) == before
    assert await update_timescaledb(url, settings, newest)


async def test_a_database_without_timescaledb_says_so(empty_database: TestDatabase) -> None:
    if empty_database.mode == "timescaledb":
        await run(empty_database.superuser_url, "drop extension timescaledb cascade")
    with pytest.raises(NotUpdatedError, match="has no TimescaleDB"):
        await update_timescaledb(empty_database.superuser_url, empty_database.settings, "2.29.2")
