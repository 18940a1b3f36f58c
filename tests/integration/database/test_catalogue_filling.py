"""Filling the catalogue from the readings that are there: all sensors, as old as is known, step by step."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from services.database.repair.catalogue import Step, fill_once
from services.database.schema.status import catalogue_filling
from services.platform.postgres.capability import capability
from tests.support import TestDatabase
from tests.support.late import connected

SENSORS = 3000
STORE = """
insert into sensor_data (timestamp, sensor_id, value)
select timestamptz '2026-01-01' + n * interval '1 minute', 'sensor-' || (n % 3000), n from generate_series(1, 90000) n
union all
select timestamptz '2026-01-20', 'größe/' || n, n from generate_series(1, 500) n
"""
EXPECTED = "select sensor_id, min(timestamp) as first_seen from sensor_data group by 1"
WRONG = f"""
select * from ({EXPECTED}) as expected full join sensors using (sensor_id)
where expected.first_seen is distinct from sensors.first_seen
"""


@asynccontextmanager
async def stored(database: TestDatabase) -> AsyncIterator[Any]:
    """Give the owner's connection to a store of before the catalogue, with chunks of all sorts."""
    async with connected(database, "owner") as owner:
        await owner.execute(STORE)
        if database.mode == "timescaledb":
            chunks = await owner.fetch("select chunk from show_chunks('sensor_data') as chunk order by chunk::text")
            assert len(chunks) > 5
            for (chunk,) in chunks[:4]:
                await owner.execute(f"select compress_chunk('{chunk}')")
            await owner.execute(
                "insert into sensor_data (timestamp, sensor_id, value) values ('2026-01-02', 'late', 1)"
            )
        yield owner


async def one_pass(owner: asyncpg.Connection, most: int = 700) -> list[Step]:
    able = await capability(owner)
    steps = [await fill_once(owner, able, most)]
    while steps[-1].more:
        steps.append(await fill_once(owner, able, most))
    return steps


async def test_every_stored_sensor_gets_in_with_the_instant_of_its_first_reading(database: TestDatabase) -> None:
    async with stored(database) as owner:
        assert "is being filled" in await catalogue_filling(owner)
        steps = await one_pass(owner)
        assert len(steps) > 4
        assert await owner.fetch(WRONG) == []
        count = await owner.fetchval(f"select count(*) from ({EXPECTED}) as expected")
        assert sum(step.added for step in steps) == steps[-1].total == count
        assert steps[-1].finished
        assert await catalogue_filling(owner) == "the catalogue has all sensors"
        assert await one_pass(owner) == [Step(more=False)]


async def test_what_workers_entered_keeps_its_labels_and_is_as_old_as_its_readings(database: TestDatabase) -> None:
    async with stored(database) as owner:
        await owner.execute(
            "insert into sensors (sensor_id, name, labels) values ('sensor-7', 'heat', '{\"a\": \"b\"}')"
        )
        await owner.execute("insert into sensors (sensor_id) values ('sensor-8'), ('not-stored')")
        [steps] = [await one_pass(owner)]
        left = await owner.fetch(WRONG)
        assert [row["sensor_id"] for row in left] == ["not-stored"]
        row = await owner.fetchrow("select name, labels, first_seen from sensors where sensor_id = 'sensor-7'")
        assert tuple(row) == ("heat", '{"a": "b"}', datetime(2026, 1, 1, 0, 7, tzinfo=UTC))
        assert steps[-1].total == await owner.fetchval(f"select count(*) - 2 from ({EXPECTED}) as expected")


async def test_what_came_by_sql_is_found_by_the_next_pass_and_nothing_is_taken_out(database: TestDatabase) -> None:
    async with stored(database) as owner:
        await one_pass(owner, 5000)
        seen = await owner.fetchval("select first_seen from sensors where sensor_id = 'sensor-1'")
        await owner.execute("delete from sensor_data where sensor_id = 'sensor-2'")
        await owner.execute(
            "insert into sensor_data (timestamp, sensor_id, value)"
            " values ('2025-06-01', 'by-hand', 1), ('2025-06-01', 'sensor-1', 1), ('9000-01-01', 'future', 1)"
        )
        assert await one_pass(owner) == [Step(more=False)]
        await owner.execute("update catalogue_filling set finished_at = finished_at - interval '25 hours'")
        assert (await one_pass(owner))[-1].finished
        # The second pass is a day behind the first, for old workers; from then on there is one a week.
        await owner.execute("update catalogue_filling set finished_at = finished_at - interval '25 hours'")
        assert await one_pass(owner) == [Step(more=False)]
        await owner.execute("update catalogue_filling set finished_at = finished_at - interval '7 days'")
        assert (await one_pass(owner))[-1].finished
        rows = await owner.fetch("select sensor_id, first_seen from sensors where sensor_id ~ '^(by-hand|future)$'")
        first_seen = dict(map(tuple, rows))
        assert first_seen["by-hand"] == datetime(2025, 6, 1, tzinfo=UTC)
        assert first_seen["future"] <= datetime.now(UTC)
        assert await owner.fetchval("select first_seen from sensors where sensor_id = 'sensor-1'") == seen
        assert await owner.fetchval("select count(*) from sensors where sensor_id = 'sensor-2'") == 1


async def test_an_empty_store_has_a_whole_catalogue_at_once(database: TestDatabase) -> None:
    async with connected(database, "owner") as owner:
        assert [step.finished for step in await one_pass(owner)] == [True]


async def test_while_another_process_takes_a_step_none_is_taken(database: TestDatabase) -> None:
    async with stored(database) as owner, connected(database, "owner") as other, other.transaction():
        await other.execute("select from catalogue_filling for update")
        assert await fill_once(owner, await capability(owner)) == Step(more=False)


@pytest.mark.parametrize("instants", ["'0001-01-01Z', '0001-01-03Z', '9998-12-31Z'"])
async def test_the_first_and_the_last_instants_do_no_harm(database: TestDatabase, instants: str) -> None:
    async with connected(database, "owner") as owner:
        await owner.execute(
            "insert into sensor_data (timestamp, sensor_id, value) "
            f"select instant, 's' || instant, 1 from unnest(array[{instants}]::timestamptz[]) as instant"
        )
        assert (await one_pass(owner))[-1].finished
        assert await owner.fetchval("select count(*) from sensors") == 3
