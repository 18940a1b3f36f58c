"""Rollups on a Citus cluster: at every moment, whoever changes rows or drops partitions, hours are right."""

import asyncio
import random
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.database.partitions.upkeep import keep
from services.database.repair import rollups
from services.database.repair.buckets import SPREAD
from services.database.repair.rollups import RollupKeeper
from services.database.schema.apply import apply
from services.database.schema.scripts import SQL
from services.platform.postgres.capability import capability
from tests.support import TestDatabase
from tests.support.faults import chance
from tests.support.late import HOUR, connected
from tests.support.rollups import (
    AGREE,
    CLOSE,
    DIFFERENT,
    SENSORS,
    agree,
    copied,
    keep_until,
    keeper,
    kept,
    written,
)

BEGIN = datetime(2025, 10, 22, tzinfo=UTC)


class Counted:
    """Readings whose commit was begun, and those whose commit is over."""

    begun = over = 0


async def test_at_every_moment_hours_have_what_was_committed_and_nothing_that_was_not(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No moment is that of several nodes: what is shown lies between what was there before and behind the question."""
    monkeypatch.setattr(rollups, "CLOSE", CLOSE)
    dice, done, counted = chance(), asyncio.Event(), Counted()
    seeds = [dice.getrandbits(32) for _ in range(3)]
    async with connected(database, "reader") as reader, connected(database, "owner") as owner:
        keeps = [asyncio.create_task(keep_until(done, database)) for _ in range(2)]
        asks = asyncio.create_task(_asking(reader, counted, done))
        await asyncio.gather(*(_counting(database, random.Random(seed), counted) for seed in seeds))
        done.set()
        rounds = await asks
        await asyncio.gather(*keeps)
        assert rounds >= 3
        assert await owner.fetchval("select count(*) from sensor_rollup_1h") > 0
        await kept(database)
        await agree(owner)
        assert await owner.fetchval("select sum(samples) from sensor_rollup_1h") == counted.over == counted.begun


async def _counting(database: TestDatabase, choice: random.Random, counted: Counted) -> None:
    async with connected(database, "writer") as writer:
        for _ in range(120):
            counted.begun += len(SENSORS)
            await written(writer, BEGIN + timedelta(hours=choice.uniform(0, 330)), value=choice.randrange(100))
            counted.over += len(SENSORS)


async def _asking(reader: Any, counted: Counted, done: asyncio.Event) -> int:
    rounds = 0
    while not done.is_set():
        rounds += 1
        for isolation in ("read_committed", "repeatable_read"):
            async with reader.transaction(isolation=isolation):
                before = counted.over
                found = await reader.fetchrow(AGREE)
                for shown_ in (found["hours"], found["quarters"], found["shown"], found["stored"]):
                    assert before <= shown_ <= counted.begun, (before, found, counted.begun)
    return rounds


async def test_buckets_are_computed_where_the_readings_are(database: TestDatabase) -> None:
    ends = (f"'{BEGIN.isoformat()}'", f"'{(BEGIN + HOUR).isoformat()}'")
    async with connected(database, "owner") as owner:
        shards = await owner.fetchval("select count(*) from pg_dist_shard where logicalrelid = 'sensor_data'::regclass")
        for statement in (statement for statements in SPREAD.statements.values() for statement in statements):
            explained = statement.replace("$1", ends[0]).replace("$2", ends[1])
            plan = "\n".join(row[0] for row in await owner.fetch(f"explain (costs off) {explained}"))
            # Each node does all of it with its own shards, and no row goes to the coordinator or to another node.
            assert f"Task Count: {shards}" in plan, plan
            assert "Subplan" not in plan, plan
            assert "SELECT method" not in plan, plan


async def test_one_process_at_a_time_keeps_them(database: TestDatabase) -> None:
    async with connected(database, "writer") as writer, keeper(database) as one, connected(database, "owner") as other:
        await written(writer, BEGIN)
        await other.execute(rollups.ALONE)
        await one.round()
        assert await other.fetchval("select closed_until = '-infinity' from rollup_state")
        await other.execute(rollups.NOT_ALONE)
        await kept(database)
        assert await other.fetchval("select sum(samples) from sensor_rollup_1h") == len(SENSORS)


async def test_notes_that_are_struck_off_during_a_step_undo_it(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the repair process of the release before does, which knows of no rollups here."""
    async with connected(database, "writer") as writer, connected(database, "owner") as other, keeper(database) as one:
        await written(writer, BEGIN)
        await one.round()
        assert await other.fetchval("select computed_from = computed_until from rollup_state") is False
        await other.execute("update rollup_state set computed_from = computed_until")
        told = RollupKeeper._tell

        async def late(self: RollupKeeper, telling: Any) -> None:
            async with connected(database, "owner") as somebody:
                await written(writer, BEGIN, value=2.0)
                await somebody.execute("delete from late_ranges")
            await told(self, telling)

        with monkeypatch.context() as patched:
            patched.setattr(RollupKeeper, "_tell", late)
            await one.round()
        assert await other.fetchval("select computed_from = computed_until from rollup_state")
        await agree(other)
        await kept(database)
        await agree(other)
        assert await other.fetchval(DIFFERENT) == 0


async def test_buckets_go_with_the_partitions_that_retention_drops(database: TestDatabase) -> None:
    now = datetime.now(UTC)
    async with connected(database, "owner") as owner, connected(database, "writer") as writer:
        await owner.execute("update partition_policy set drop_after = '60 days'")
        await keep(owner)
        await written(writer, *(now - timedelta(days=age) for age in (1, 20, 40, 55)))
        await kept(database)
        assert await owner.fetchval("select sum(samples) from sensor_rollup_1h") == 4 * len(SENSORS)
        await owner.execute("update partition_policy set drop_after = '30 days'")
        assert (await keep(owner)).dropped
        await agree(owner)
        await kept(database)
        await agree(owner)
        assert await owner.fetchval("select sum(samples) from sensor_rollup_1h") == 2 * len(SENSORS)
        assert await owner.fetchval(DIFFERENT) == 0
        # A late one stands before them until the next look.
        async with writer.transaction():
            await copied(writer, now - timedelta(days=50))
        await agree(owner)
        await kept(database)
        assert await owner.fetchval("select sum(samples) from sensor_rollup_1h") == 3 * len(SENSORS)
        assert (await keep(owner)).dropped == ("sensor_data_before",)
        await agree(owner)
        await kept(database)
        assert await owner.fetchval("select sum(samples) from sensor_rollup_1h") == 2 * len(SENSORS)


@pytest.mark.parametrize("by_hand", ["select", "create view mine as select * from measurement_hourly"])
async def test_a_cluster_of_the_release_before_gets_rollups_and_has_its_history_computed(
    empty_database: TestDatabase, tmp_path: Path, by_hand: str
) -> None:
    before = shutil.copytree(SQL, tmp_path / "sql")
    script = before / "citus.sql"
    body, *_ = script.read_text().partition("  -- The buckets that migration 12 makes")
    script.write_text(f"{body}end\n$$;\n")
    await apply(empty_database.settings, before)
    shown_then = "select bucket, sensor_id, min, max, samples from measurement_hourly order by 1, 2"
    async with connected(empty_database, "owner") as owner, connected(empty_database, "writer") as writer:
        assert not (await capability(owner)).rollups
        await written(writer, BEGIN, BEGIN + 5 * HOUR, datetime.now(UTC) - 3 * HOUR)
        rows = await owner.fetch(shown_then)
        await owner.execute(by_hand)
        assert (await apply(empty_database.settings)).capability.rollups
        for _ in range(2):
            assert await owner.fetch(shown_then) == rows
            await kept(empty_database)
        assert await owner.fetchval("select count(*) from sensor_rollup_1h") == len(rows) == 3 * len(SENSORS)
        assert (await apply(empty_database.settings)).did == ()
