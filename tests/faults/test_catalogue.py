"""The filling of the catalogue, broken off by the death of who does it, while readings come."""

from functools import partial

from services.database.repair.catalogue import fill_once
from services.platform.postgres.capability import capability
from services.platform.settings import Settings
from tests.support import TestDatabase, eventually
from tests.support.faults import Failpoints, Make, ended
from tests.support.late import connected
from tests.support.readings import sql

STORE = """
insert into sensor_data (timestamp, sensor_id, value)
select timestamptz '2026-01-01' + n * interval '10 seconds', 'sensor-' || (n % 12000), n
from generate_series(1, 240000) n
"""
EXPECTED = "select sensor_id, min(timestamp) as first_seen from sensor_data group by 1"


async def test_row_39_a_filling_of_the_catalogue_that_is_killed_twice_ends_with_all_sensors(
    settings: Settings, database: TestDatabase, service: Make, failpoints: Failpoints
) -> None:
    await sql(settings.database, STORE)
    if database.mode == "timescaledb":
        await sql(settings.database, "select compress_chunk(chunk) from show_chunks('sensor_data') as chunk limit 2")
    for _ in range(2):
        victim = failpoints.given_to(service("repair", settings))
        failpoints.arm("catalogue.before_commit", "kill")
        victim.start()
        await eventually(partial(ended, victim), 60.0)
        assert await sql(settings.database, "select from catalogue_filling where passes > 0") == []
        async with connected(database, "owner") as owner:
            # The next one begins in the middle, and there are readings of somebody's SQL.
            await fill_once(owner, await capability(owner))
            await owner.execute("insert into sensor_data (timestamp, sensor_id, value) values (now(), 'a', 1)")

    async def finished() -> bool:
        return bool(await sql(settings.database, "select from catalogue_filling where passes = 1"))

    async with service("repair", settings) as process:
        await eventually(finished, 60.0)
        await process.ready()
    async with connected(database, "reader") as reader:
        wrong = await reader.fetch(
            f"select * from ({EXPECTED}) as expected full join sensors using (sensor_id)"
            " where expected.first_seen is distinct from sensors.first_seen"
        )
        assert wrong == []
        assert await reader.fetchval("select added from catalogue_filling") == 12_001
