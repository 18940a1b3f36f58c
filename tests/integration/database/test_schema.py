"""Applying sql/ to real databases, in both modes."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from services.database.schema import apply as schema
from services.database.schema.apply import SchemaError, apply, bootstrap
from services.database.schema.scripts import SQL
from services.local.credentials import credentials
from services.local.postgres import PostgresServer
from services.platform.postgres.capability import capability
from services.platform.postgres.schema import SCHEMA_NEEDED
from services.platform.settings import DatabaseSettings
from tests.support import TestDatabase, free_port
from tests.support.databases import Databases
from tests.support.late import connected
from tests.support.servers import installations

# Everything that a second apply could change, as one document; oid and xmin betray an object that was made anew.
STATE = """
select jsonb_build_object(
  'relations', (select jsonb_agg(to_jsonb(r) order by r.oid) from
    (select c.oid, c.xmin, relname, relacl, reloptions, relowner::regrole from pg_class c
     where relnamespace = 'public'::regnamespace) r),
  'functions', (select jsonb_agg(jsonb_build_array(p.oid, proacl, pg_get_functiondef(p.oid)) order by p.oid)
    from pg_proc p where proowner = 'millrace_owner'::regrole),
  'roles', (select jsonb_agg(to_jsonb(r) order by rolname) from pg_roles r where rolname like 'millrace%'),
  'ledger', (select jsonb_agg(to_jsonb(m) order by version) from schema_migrations m)
)::text
"""
JOBS = "select jsonb_agg(to_jsonb(j) - 'next_start' order by job_id)::text from timescaledb_information.jobs j"


async def state(database: TestDatabase) -> list[Any]:
    async with connected(database, "owner") as owner:
        found = [json.loads(await owner.fetchval(STATE))]
        if database.mode == "timescaledb":
            found.append(json.loads(await owner.fetchval(JOBS)))
        return found


def psql(database: TestDatabase, url: str) -> None:
    program = database.server.installation.bin / "psql"
    script = str(SQL / "init.sql")
    subprocess.run([program, "-qX1", "-v", "ON_ERROR_STOP=1", "-f", script, url], check=True)


async def test_what_was_lost_is_made_again_and_told(database: TestDatabase) -> None:
    async with connected(database, "owner") as owner:
        await owner.execute(f"drop {'' if database.mode == 'plain' else 'materialized '}view measurement_hourly")
        await owner.execute("drop function hours_from_rows(tstzrange)")
        await owner.execute("drop index sensor_data_sensor_id_timestamp_idx")
    again = await apply(database.settings)
    lost = ("hours_from_rows(tstzrange)", "measurement_hourly", "sensor_data_sensor_id_timestamp_idx")
    assert (again.migrations, again.made) == ((), lost)
    assert again.did[1] == "made measurement_hourly"
    assert (await apply(database.settings)).did == ()


async def test_applying_again_changes_nothing(database: TestDatabase) -> None:
    await apply(database.settings)
    before = await state(database)
    again = await apply(database.settings)
    assert again.did == ()
    assert again.version >= SCHEMA_NEEDED
    assert await state(database) == before


# A server whose roles have their passwords: those of a fresh one get them from the first apply.
@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("who", ["owner", "superuser"])
async def test_a_database_initialised_by_hand_is_taken_as_it_is(
    empty_database: TestDatabase, who: str, tmp_path: Path
) -> None:
    by_owner = empty_database.settings.owner_url.get_secret_value()
    psql(empty_database, by_owner if who == "owner" else empty_database.superuser_url)
    before = await state(empty_database)
    without_migrations = shutil.copytree(SQL, tmp_path / "sql", ignore=shutil.ignore_patterns("0*"))
    assert (await apply(empty_database.settings, without_migrations)).migrations == ()
    assert await state(empty_database) == before
    applied = await apply(empty_database.settings)
    assert len(applied.migrations) == applied.version - 1
    after = await state(empty_database)
    assert after[0]["functions"] == before[0]["functions"]
    assert {relation["relowner"] for relation in after[0]["relations"]} >= {"millrace_owner"}


async def test_psql_after_an_apply_changes_nothing(database: TestDatabase) -> None:
    await apply(database.settings)
    before = await state(database)
    psql(database, database.settings.owner_url.get_secret_value())
    assert await state(database) == before


async def test_of_many_applies_at_once_one_does_it(empty_database: TestDatabase) -> None:
    done = await asyncio.gather(*(apply(empty_database.settings) for _ in range(5)))
    assert sorted("0001 init" in applied.migrations for applied in done) == [False] * 4 + [True]


async def test_applies_to_several_databases_of_one_server_do_not_trip_over_its_roles(
    database: TestDatabase, empty_database: TestDatabase
) -> None:
    await asyncio.gather(
        *(apply(chosen.settings) for chosen in (database, empty_database) * 5),
        *(bootstrap(chosen.superuser_url, chosen.settings) for chosen in (database, empty_database) * 5),
    )


async def test_apply_says_what_the_database_can_do(database: TestDatabase) -> None:
    applied = await apply(database.settings)
    assert applied.capability.edition == ("full" if database.mode == "timescaledb" else "none")


async def test_measurement_hourly_has_the_same_columns_in_each_mode(database: TestDatabase) -> None:
    async with connected(database, "reader") as reader:
        rows = await reader.fetch(
            """
            select attname, format_type(atttypid, atttypmod) from pg_attribute
            where attrelid = 'measurement_hourly'::regclass and attnum > 0 order by attnum
            """
        )
    assert [tuple(row) for row in rows] == [
        ("bucket", "timestamp with time zone"),
        ("sensor_id", "text"),
        ("avg", "double precision"),
        ("min", "double precision"),
        ("max", "double precision"),
        ("samples", "bigint"),
    ]


async def test_the_policies_are_those_of_the_demo(timescaledb: TestDatabase) -> None:
    async with connected(timescaledb, "owner") as owner:
        job = await owner.fetchrow(
            "select schedule_interval::text as every, config from timescaledb_information.jobs"
            " where proc_name = 'policy_refresh_continuous_aggregate'"
        )
        real_time = await owner.fetchval(
            "select not materialized_only from timescaledb_information.continuous_aggregates"
        )
    config = json.loads(job["config"])
    assert (job["every"], config["start_offset"], config["end_offset"]) == ("00:01:00", "7 days", "00:01:00")
    assert real_time


async def test_a_fresh_database_has_late_rows_only_where_there_are_aggregates(database: TestDatabase) -> None:
    late = "now() - interval '59 minutes'" if database.mode == "timescaledb" else "'-infinity'"
    async with connected(database, "writer") as writer:
        assert await writer.fetchval(f"select late_before() = {late}")


async def test_late_is_what_an_aggregate_may_have_read(timescaledb: TestDatabase) -> None:
    late = "select late_before() = {} from (select time_bucket(interval '1 hour', now()) as hour) now"
    fifty_nine = late.format("now() - interval '59 minutes'")
    refresh = "call refresh_continuous_aggregate('{}', now() - interval '2 days', now() + interval '2 hours')"
    async with connected(timescaledb, "owner") as owner:
        await owner.execute(
            "select alter_job(job_id, scheduled => false) from timescaledb_information.jobs"
            " where proc_name = 'policy_refresh_continuous_aggregate'"
        )
        assert await owner.fetchval(fifty_nine)
        await owner.execute("insert into sensor_data (timestamp, sensor_id, value) values (now(), 'a', 1)")
        await owner.execute(
            """
            create materialized view by_minute with (timescaledb.continuous) as
            select time_bucket(interval '1 minute', timestamp) as bucket, count(*) from sensor_data group by 1
            with no data
            """
        )
        await owner.execute(refresh.format("by_minute"))
        assert await owner.fetchval(fifty_nine), "an aggregate below the hour is its policy's affair"
        await owner.execute(refresh.format("measurement_hourly"))
        assert await owner.fetchval(late.format("hour + interval '1 hour'")), "the open hour is materialised"


async def test_a_database_that_is_away_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "RETRY_FOR", 2.0)
    settings = DatabaseSettings(owner_url=SecretStr(f"postgresql://millrace_owner@127.0.0.1:{free_port()}/x"))
    with capture_logs() as lines, pytest.raises(SchemaError, match="cannot be reached"):
        await apply(settings)
    assert [line["event"] for line in lines] == ["waiting for the database"]


async def test_bootstrap_may_be_repeated(empty_database: TestDatabase) -> None:
    await bootstrap(empty_database.superuser_url, empty_database.settings)
    await apply(empty_database.settings)
    await bootstrap(empty_database.superuser_url, empty_database.settings)
    async with connected(empty_database, "owner") as owner:
        is_super = await owner.fetchval("select rolsuper from pg_roles where rolname = current_user")
        assert not is_super


async def test_without_bootstrap_the_hint_names_it(empty_database: TestDatabase) -> None:
    settings = empty_database.settings
    async with connected(empty_database, "superuser") as superuser:
        await superuser.execute("alter role millrace_owner rename to somebody_else")
    try:
        url = SecretStr(empty_database.superuser_url)
        with pytest.raises(SchemaError, match=r"bootstrap\.sql"):
            await apply(settings.model_copy(update={"owner_url": url}))
    finally:
        async with connected(empty_database, "superuser") as superuser:
            await superuser.execute("alter role somebody_else rename to millrace_owner")


async def test_a_newer_database_is_left_alone(database: TestDatabase) -> None:
    async with connected(database, "owner") as owner:
        await owner.execute("insert into schema_migrations (version, name) values (99, 'from tomorrow')")
    before = await state(database)
    applied = await apply(database.settings)
    assert (applied.version, applied.migrations) == (99, ())
    assert await state(database) == before


@pytest.fixture
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestDatabase]:
    """A database under TimescaleDB's Apache edition, on a server of its own."""
    if "timescaledb" not in installations():
        pytest.skip("no PostgreSQL 16 to 18 with TimescaleDB was found here")
    folder = Path(tmp_path_factory.mktemp("apache"))
    words = credentials(folder / "credentials.json")
    options = {"timescaledb.license": "apache", "fsync": "off"}
    server = PostgresServer(folder / "data", free_port(), installations()["timescaledb"], words.superuser, options)
    asyncio.run(server.start())
    yield Databases("apache", server, words).empty()
    asyncio.run(server.stop())


async def test_the_apache_edition_falls_to_the_plain_way(apache: TestDatabase) -> None:
    applied = await apply(apache.settings)
    assert applied.capability.edition == "apache"
    assert (await apply(apache.settings)).migrations == ()
    async with connected(apache, "owner") as owner:
        await owner.execute("insert into sensor_data (timestamp, sensor_id, value) values (now(), 'a', 1)")
        assert await owner.fetchval("select samples from measurement_hourly where sensor_id = 'a'") == 1
        assert await owner.fetchval("select late_before() = '-infinity'")
        assert (await capability(owner)).edition == "apache"
