"""What kills, doubles, starves or hurries operators: in the end all is as described, once."""

import asyncio
import random
import uuid
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from services.platform.settings import DatabaseSettings, postgres_address

from ..support import TestDatabase, eventually
from ..support.cluster import Namespace
from ..support.late import connected
from .test_operator_objects import REFRESH_JOBS, asked, begun

HOURLY = ("continuousaggregate", "measurement-hourly")

ROLES = ("owner", "writer", "reader")


async def settled(namespace: Namespace, database: TestDatabase, start: str) -> None:
    """Wait until the last edit stands in the database, in one job."""
    await namespace.ready(*HOURLY)
    config = "select config ->> 'start_offset' from timescaledb_information.jobs where hypertable_name = $1"

    async def as_described() -> bool:
        return bool(await asked(database, config, "measurement_hourly") == start)

    await eventually(as_described, 60)
    assert await asked(database, REFRESH_JOBS, "measurement_hourly") == 1


async def edit(namespace: Namespace, days: int) -> None:
    refresh = {"refresh": {"startOffset": f"{days} days", "endOffset": "1 minute", "schedule": "1 minute"}}
    await asyncio.to_thread(namespace.patch, *HOURLY, {"spec": refresh})


async def test_of_two_operators_one_acts_and_the_other_takes_over(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    first, second = operator(), operator()
    await begun(namespace, timescaledb, first, "schema", "measurement-hourly")
    await namespace.ready(*HOURLY)
    second.start()
    await second.ready()
    assert "active one" not in second.log_text()
    for days in (8, 9, 10):
        await edit(namespace, days)
    await settled(namespace, timescaledb, "10 days")
    first.kill()
    await edit(namespace, 11)
    await settled(namespace, timescaledb, "11 days")
    assert "active one" in second.log_text()


async def test_a_hundred_edits_at_once_end_in_the_last(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    await begun(namespace, timescaledb, operator(), "schema", "measurement-hourly")
    await namespace.ready(*HOURLY)
    for first in range(8, 98, 10):
        await asyncio.gather(*(edit(namespace, days) for days in range(first, first + 10)))
    await edit(namespace, 100)
    await settled(namespace, timescaledb, "100 days")


@pytest.mark.parametrize("seed", [1])
async def test_an_operator_killed_at_any_moment_leaves_nothing_half_done(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any, seed: int
) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    await begun(namespace, timescaledb, operator(), "schema", "measurement-hourly")
    await namespace.ready(*HOURLY)
    process = operator()
    process.start()
    for days in range(8, 14):
        await edit(namespace, days)
        await asyncio.sleep(chance.uniform(0, 3))
        process.kill()
        process.start()
    await settled(namespace, timescaledb, "13 days")


async def test_a_database_that_is_away_is_told_and_worked_on_when_it_is_back(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    await begun(namespace, timescaledb, operator(), "schema", "measurement-hourly")
    await namespace.ready(*HOURLY)
    name = timescaledb.name
    async with connected(timescaledb, "superuser") as superuser:
        await superuser.execute(f"alter database {name} connection limit 0")
        await superuser.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'millrace_owner' and datname = $1",
            name,
        )
        await namespace.reason("schema", "sensors", "Unknown", "DatabaseAway")
        await namespace.reason(*HOURLY, "Unknown", "DatabaseAway")
        await edit(namespace, 9)
        await superuser.execute(f"alter database {name} connection limit -1")
    await settled(namespace, timescaledb, "9 days")


async def test_a_changed_secret_changes_the_passwords_without_a_gap(
    namespace: Namespace, timescaledb: TestDatabase, operator: Any
) -> None:
    await begun(namespace, timescaledb, operator(), "schema", "measurement-hourly")
    await namespace.ready(*HOURLY)
    old = timescaledb.settings
    new = old.model_copy(update={f"{role}_url": _renewed(getattr(old, f"{role}_url")) for role in ROLES})
    async with connected(timescaledb, "reader") as session:
        try:
            namespace.secret(new)
            await eventually(lambda: _accepted(new), 60)
            assert await session.fetchval("select 1") == 1
            await edit(namespace, 9)
            await namespace.ready(*HOURLY)
        finally:
            namespace.secret(old)
            await eventually(lambda: _accepted(old), 60)
    await settled(namespace, timescaledb, "9 days")


async def _accepted(settings: DatabaseSettings) -> bool:
    try:
        for role in ROLES:
            await (await asyncpg.connect(getattr(settings, f"{role}_url").get_secret_value())).close()
    except asyncpg.InvalidPasswordError:
        return False
    return True


def _renewed(url: SecretStr) -> SecretStr:
    return SecretStr(replace(postgres_address(url.get_secret_value()), password=uuid.uuid4().hex).url())
