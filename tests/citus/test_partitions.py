"""Time partitions of a Citus cluster: made ahead, taken over, dropped, with nothing lost, also while workers write."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from services.database.partitions.upkeep import finite, keep, kept_if_possible
from services.database.schema.apply import apply
from services.local.citus import Cluster
from services.operator.reconcile.apply import reconcile_hypertable
from services.operator.refusals import Reason
from services.operator.specs.resources import HypertableSpec
from services.platform.postgres.capability import capability
from services.platform.settings import Settings
from tests.citus.test_nodes import kept
from tests.support import TestDatabase
from tests.support.faults import Make, acknowledged, load, worker
from tests.support.late import connected, insert

DAY = timedelta(days=1)
ROWS = 1_200_000
SPEC = {"table": "sensor_data", "timeColumn": "timestamp", "chunkInterval": "7 days"}

# As after an operator's long absence: nothing but the first partition and the last.
LONG_AGO = """
alter table sensor_data detach partition sensor_data_after;
alter table sensor_data detach partition sensor_data_before;
drop table {old};
alter table sensor_data attach partition sensor_data_before for values from (minvalue) to ('{end}');
alter table sensor_data attach partition sensor_data_after for values from ('{end}') to (maxvalue)
"""


def now() -> datetime:
    return datetime.now(UTC)


async def counted(owner: Any) -> dict[str, int]:
    """Return the rows of each partition that has some, whatever node they are on."""
    names = await owner.fetch(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'sensor_data'::regclass"
    )
    found = {name: await owner.fetchval(f"select count(*) from {name}") for (name,) in names}
    return {name: rows for name, rows in found.items() if rows}


async def absent_since(owner: Any, end: datetime) -> None:
    old = ", ".join(partition.name for partition in await finite(owner))
    async with owner.transaction():
        await owner.execute("set local citus.multi_shard_modify_mode = 'sequential'")
        # Citus takes each by itself.
        for statement in LONG_AGO.format(old=old, end=end.isoformat()).split(";"):
            await owner.execute(statement)


async def test_a_fresh_database_has_partitions_ahead_and_takes_readings_of_any_year(database: TestDatabase) -> None:
    async with connected(database, "owner") as owner:
        there = await finite(owner)
        assert all(one.high == other.low for one, other in pairwise(there))
        assert there[0].low <= now() < there[0].high
        assert there[-1].high >= now() + 14 * DAY
        await insert(owner, datetime(1, 1, 2, tzinfo=UTC), now(), datetime(9999, 12, 30, tzinfo=UTC))
        assert await counted(owner) == {"sensor_data_before": 1, there[0].name: 1, "sensor_data_after": 1}
        identities = await owner.fetch(
            "select relname from pg_class where relreplident <> 'f' and oid in (select inhrelid from pg_inherits"
            " where inhparent = 'sensor_data'::regclass)"
        )
        assert not identities


async def test_who_looks_again_or_applies_the_schema_again_changes_nothing(database: TestDatabase) -> None:
    async with connected(database, "owner") as owner:
        there = await finite(owner)
        done = await keep(owner)
        await apply(database.settings)
        assert not done.made
        assert not done.dropped
        assert await finite(owner) == there


async def test_behind_an_absence_the_last_partition_becomes_one_with_its_readings(database: TestDatabase) -> None:
    async with connected(database, "owner") as owner:
        await absent_since(owner, now() - 40 * DAY)
        await insert(owner, now() - 50 * DAY, now() - 30 * DAY, now())
        done = await keep(owner)
        there = await finite(owner)
        assert len(done.made) == len(there) > 2
        assert there[0].high > now()
        assert await counted(owner) == {"sensor_data_before": 1, there[0].name: 2}
        await insert(owner, now() + 370 * DAY)
        assert (await counted(owner))["sensor_data_after"] == 1
        assert (await keep(owner)).made == ()


async def test_a_reading_of_far_ahead_stops_partitions_and_is_named_until_it_is_deleted(database: TestDatabase) -> None:
    async with connected(database, "owner") as owner:
        await owner.execute("insert into sensor_data (timestamp, sensor_id, value) values ('infinity', 'a', 1)")
        await owner.execute("update partition_policy set width = '60 days'")
        done = await keep(owner)
        assert "sensor_data_after holds readings of more than a year ahead" in done.problem
        assert not done.made
        await owner.execute("delete from sensor_data where timestamp = 'infinity'")
        done = await keep(owner)
        assert not done.problem
        assert done.made


async def test_retention_drops_whole_partitions_and_what_is_older(database: TestDatabase) -> None:
    async with connected(database, "owner") as owner, connected(database, "reader") as reader:
        assert await reader.fetchval("select retention_age()") is None
        await owner.execute("update partition_policy set drop_after = '60 days'")
        assert await reader.fetchval("select retention_age()") == 60 * DAY
        # Nothing is before the first partition yet, so that the past is made by the width.
        assert len((await keep(owner)).made) >= 60 // 7
        ages = [1, 10, 20, 40, 55]
        await insert(owner, *(now() - age * DAY for age in ages), now() - 300 * DAY)
        await keep(owner)
        assert "sensor_data_before" not in await counted(owner)
        assert await owner.fetchval("select count(*) from sensor_data") == len(ages)
        await owner.execute("update partition_policy set drop_after = '30 days'")
        assert (await keep(owner)).dropped
        left = [row[0] for row in await owner.fetch("select now() - timestamp from sensor_data order by 1")]
        assert len(left) == 3
        assert max(left) < 38 * DAY
        there = await finite(owner)
        assert there[0].low <= now() - 30 * DAY < there[0].high
        # A late reading goes to the first partition, and with the next look.
        await insert(owner, now() - 50 * DAY)
        assert (await counted(owner))["sensor_data_before"] == 1
        assert (await keep(owner)).dropped == ("sensor_data_before",)
        assert await owner.fetchval("select count(*) from sensor_data") == 3
        await owner.execute("update partition_policy set drop_after = null")
        await insert(owner, now() - 500 * DAY)
        assert (await keep(owner)).dropped == ()
        assert await owner.fetchval("select count(*) from sensor_data") == 4


async def test_where_old_readings_are_there_already_none_is_moved_and_the_past_goes_by_the_first_edge(
    database: TestDatabase,
) -> None:
    async with connected(database, "owner") as owner:
        await insert(owner, now() - 300 * DAY, now() - 20 * DAY)
        await owner.execute("update partition_policy set drop_after = '10 days'")
        assert (await keep(owner)).dropped == ()
        assert await counted(owner) == {"sensor_data_before": 2}


async def test_where_a_question_holds_the_table_for_long_partitions_wait_for_another_look(
    database: TestDatabase,
) -> None:
    async with connected(database, "owner") as owner, connected(database, "reader") as reader:
        await owner.execute("update partition_policy set width = '30 days'")
        async with reader.transaction():
            await reader.fetch("select count(*) from sensor_data")
            done = await kept_if_possible(owner)
            assert "lock timeout" in done.problem
            assert not done.made
        assert (await kept_if_possible(owner)).made


async def test_a_hypertable_resource_says_how_long_partitions_are_and_stay(database: TestDatabase) -> None:
    async with connected(database, "owner") as owner:
        able = await capability(owner)

        async def steps(**parts: Any) -> int:
            plan = await reconcile_hypertable(owner, HypertableSpec.model_validate(SPEC | parts), able)
            assert not plan.refusals
            assert bool(plan.unsupported) == ("columnstore" in parts)
            return len(plan.steps)

        assert await steps() == 0
        assert await steps(chunkInterval="1 day", retention={"after": "3 months"}) == 2
        assert await steps(chunkInterval="1 day", retention={"after": "3 months"}) == 0
        policy = await owner.fetchrow("select width, drop_after::text from partition_policy")
        assert tuple(policy) == (DAY, "3 mons")
        assert await steps(columnstore={"after": "8 days"}) == 2
        narrow = HypertableSpec.model_validate(SPEC | {"chunkInterval": "10 minutes"})
        [refusal] = (await reconcile_hypertable(owner, narrow, able)).refusals
        assert refusal.reason is Reason.INVALID


async def test_partitions_that_are_made_and_dropped_under_load_lose_and_double_nothing(
    cluster: Cluster, settings: Settings, standing: tuple[Cluster, TestDatabase], service: Make, tmp_path: Path
) -> None:
    journal, changes = tmp_path / "journal", 0
    policies = [("1 day", "40 days"), ("9 days", "20 days"), ("12 days", "3 days"), ("20 days", "2 days")]
    async with (
        service("ingest", settings),
        service("worker", worker(settings, "w")),
        connected(standing[1], "owner") as owner,
    ):
        async with load(settings, journal, ROWS) as sender:
            for width, drop_after in policies:
                assert await acknowledged(journal, sender, 30), "the load ended before the changes"
                await owner.execute(f"update partition_policy set width = '{width}', drop_after = '{drop_after}'")
                done = await kept_if_possible(owner)
                changes += len(done.made) + len(done.dropped)
        await kept(cluster, settings, journal, ROWS)
    assert changes
