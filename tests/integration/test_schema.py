"""Applying sql/ to real databases, in both modes."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from services.local.credentials import credentials
from services.local.postgres import PostgresServer
from services.operator import schema
from services.operator.schema import SchemaError, apply, bootstrap
from services.operator.scripts import SQL
from services.platform.postgres import SCHEMA_NEEDED, capability
from services.platform.settings import DatabaseSettings

from ..support import TestDatabase, free_port
from ..support.databases import Databases
from ..support.servers import installations

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


@asynccontextmanager
async def connected(url: SecretStr | str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url.get_secret_value() if isinstance(url, SecretStr) else url)
    try:
        yield connection
    finally:
        await connection.close()


async def state(database: TestDatabase) -> list[Any]:
    async with connected(database.settings.owner_url) as owner:
        found = [json.loads(await owner.fetchval(STATE))]
        if database.mode == "timescaledb":
            found.append(json.loads(await owner.fetchval(JOBS)))
        return found


def psql(database: TestDatabase, url: str) -> None:
    program = database.server.installation.bin / "psql"
    script = str(SQL / "init.sql")
    subprocess.run([program, "-qX1", "-v", "ON_ERROR_STOP=1", "-f", script, url], check=True)


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    """A copy of sql/ without its migrations."""
    copy = tmp_path / "sql"
    shutil.copytree(SQL, copy)
    for path in (copy / "migrations").glob("*.sql"):
        path.unlink()
    return copy


async def test_applying_again_changes_nothing(database: TestDatabase) -> None:
    await apply(database.settings)
    before = await state(database)
    again = await apply(database.settings)
    assert again.migrations == ()
    assert again.version >= SCHEMA_NEEDED
    assert await state(database) == before


@pytest.mark.parametrize("who", ["owner", "superuser"])
async def test_a_database_initialised_by_hand_is_taken_as_it_is(empty_database: TestDatabase, who: str) -> None:
    by_owner = empty_database.settings.owner_url.get_secret_value()
    psql(empty_database, by_owner if who == "owner" else empty_database.superuser_url)
    before = await state(empty_database)
    applied = await apply(empty_database.settings)
    assert "0001 init" not in applied.migrations
    after = await state(empty_database)
    assert after[0]["relations"] == before[0]["relations"]
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


async def test_apply_says_what_the_database_can_do(database: TestDatabase) -> None:
    applied = await apply(database.settings)
    assert applied.capability.edition == ("full" if database.mode == "timescaledb" else "none")


async def test_measurement_hourly_has_the_same_columns_in_each_mode(database: TestDatabase) -> None:
    async with connected(database.settings.reader_url) as reader:
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
    async with connected(timescaledb.settings.owner_url) as owner:
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


FORBIDDEN = {
    "reader": [
        "insert into sensor_data (timestamp, sensor_id, value) values (now(), 'a', 1)",
        "delete from sensor_data",
        "update ingest_ledger set repeats = 0",
        "insert into late_ranges (range_start, range_end) values (now(), now() + interval '1 hour')",
        "delete from schema_migrations",
        "create table mine (id int)",
        "create temporary table mine (id int)",
        "drop table sensor_data",
        "select late_before()",
    ],
    "writer": [
        "select * from sensor_data",
        "delete from sensor_data",
        "update sensor_data set value = 0",
        "truncate sensor_data",
        "drop table sensor_data",
        "alter table sensor_data add column more int",
        "select * from measurement_hourly",
        "delete from late_ranges",
        "insert into schema_migrations (version, name) values (9, 'mine')",
        "create table mine (id int)",
        "create temporary table mine (id int)",
        "alter role millrace_reader superuser",
    ],
}


@pytest.mark.parametrize("role", ["reader", "writer"])
async def test_what_is_not_a_roles_work_is_forbidden(database: TestDatabase, role: str) -> None:
    await apply(database.settings)
    async with connected(getattr(database.settings, f"{role}_url")) as connection:
        # The rights must hold without the session's read-only default, which a reader could take back.
        await connection.execute("set default_transaction_read_only = off")
        for statement in FORBIDDEN[role]:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"permission|owner"):
                await connection.execute(statement)


async def test_the_reader_reads_all_that_it_needs(database: TestDatabase) -> None:
    async with connected(database.settings.reader_url) as reader:
        for relation in ("sensor_data", "measurement_hourly", "late_ranges", "ingest_ledger", "schema_migrations"):
            await reader.fetch(f"select * from {relation}")
        assert await reader.fetchval("show default_transaction_read_only") == "on"


async def test_the_writer_writes_all_that_it_needs(database: TestDatabase) -> None:
    async with connected(database.settings.writer_url) as writer, writer.transaction():
        if database.mode == "timescaledb":
            await writer.execute("set local timescaledb.enable_direct_compress_copy = on")
            await writer.execute("set local timescaledb.enable_direct_compress_copy_sort_batches = off")
        base = await writer.fetchval("select now() - interval '30 days'")
        records = [(base, "sensor-1", float(i)) for i in range(2000)]
        columns = ["timestamp", "sensor_id", "value"]
        await writer.copy_records_to_table("sensor_data", records=records, columns=columns)
        await writer.execute(
            "insert into ingest_ledger (batch_id, batches, rows, accepted_at)"
            " values (gen_random_uuid(), 1, 2000, now()) on conflict do nothing returning batch_id"
        )
        await writer.execute("update ingest_ledger set repeats = repeats + 1")
        await writer.execute("delete from ingest_ledger where committed_at < now() - interval '72 hours'")
        await writer.execute(
            "insert into late_ranges (range_start, range_end)"
            " select now(), now() + interval '1 hour' where now() < (select late_before())"
        )
    async with connected(database.settings.reader_url) as reader:
        assert await reader.fetchval("select count(*) from sensor_data") == 2000
        assert await reader.fetchval("select sum(samples) from measurement_hourly") == 2000


async def test_a_fresh_database_has_late_rows_only_where_there_are_aggregates(database: TestDatabase) -> None:
    late = "now() - interval '59 minutes'" if database.mode == "timescaledb" else "'-infinity'"
    async with connected(database.settings.writer_url) as writer:
        assert await writer.fetchval(f"select late_before() = {late}")


async def test_late_is_what_an_aggregate_may_have_read(timescaledb: TestDatabase) -> None:
    late = "select late_before() = {} from (select time_bucket(interval '1 hour', now()) as hour) now"
    fifty_nine = late.format("now() - interval '59 minutes'")
    refresh = "call refresh_continuous_aggregate('{}', now() - interval '2 days', now() + interval '2 hours')"
    async with connected(timescaledb.settings.owner_url) as owner:
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


async def test_a_migration_runs_once_and_is_in_the_ledger(database: TestDatabase, sql: Path) -> None:
    (sql / "migrations" / "0002_add_note.sql").write_text("alter table late_ranges add column note text;")
    (sql / "migrations" / "0003_index_dead.sql").write_text(
        "-- no transaction\ncreate index concurrently if not exists dead_idx on ingest_ledger ((dead is null));\n"
    )
    first = await apply(database.settings, sql)
    assert (first.version, first.migrations) == (3, ("0002 add note", "0003 index dead"))
    second = await apply(database.settings, sql)
    assert (second.version, second.migrations) == (3, ())


async def test_a_changed_migration_is_refused_before_anything_runs(database: TestDatabase, sql: Path) -> None:
    released = sql / "migrations" / "0002_released.sql"
    released.write_text("select 1;")
    await apply(database.settings, sql)
    released.write_text("select 2;")
    (sql / "migrations" / "0003_next.sql").write_text("create table next (id int);")
    with pytest.raises(SchemaError, match="0002 released was changed"):
        await apply(database.settings, sql)
    async with connected(database.settings.owner_url) as owner:
        assert await owner.fetchval("select max(version) from schema_migrations") == 2


async def test_a_failed_migration_leaves_nothing_and_is_named_with_its_line(database: TestDatabase, sql: Path) -> None:
    (sql / "migrations" / "0002_good.sql").write_text("create table good (id int);")
    (sql / "migrations" / "0003_bad.sql").write_text("create table half (id int);\nselect *\nfrom nowhere;")
    with pytest.raises(SchemaError, match=r'0003 bad line 3: relation "nowhere" does not exist'):
        await apply(database.settings, sql)
    async with connected(database.settings.owner_url) as owner:
        assert await owner.fetchval("select max(version) from schema_migrations") == 2
        assert await owner.fetchval("select to_regclass('good') is not null and to_regclass('half') is null")


async def test_a_newer_database_is_left_alone(database: TestDatabase, sql: Path) -> None:
    async with connected(database.settings.owner_url) as owner:
        await owner.execute("insert into schema_migrations (version, name) values (99, 'from tomorrow')")
    before = await state(database)
    applied = await apply(database.settings, sql)
    assert (applied.version, applied.migrations) == (99, ())
    assert await state(database) == before


@pytest.mark.parametrize("password", ["plain words", "zwölf ½\u00a0Boxkämpfer\u00ad", "a'b\"c\\d$e%:/@#?"])
async def test_a_password_changes_under_open_connections(database: TestDatabase, password: str) -> None:
    settings = database.settings
    new_url = make_url(settings.reader_url.get_secret_value()).set(password=password)
    changed = settings.model_copy(update={"reader_url": SecretStr(new_url.render_as_string(hide_password=False))})
    try:
        async with connected(settings.reader_url) as old:
            await apply(changed)
            assert await old.fetchval("select true"), "who is connected stays"
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(settings.reader_url.get_secret_value())
            login = await asyncpg.connect(settings.reader_url.get_secret_value(), password=password)
            await login.close()
            async with connected(changed.reader_url) as new:
                assert await new.fetchval("select current_user") == "millrace_reader"
    finally:
        # The server's databases share its roles.
        await apply(settings)


async def test_a_url_without_password_leaves_the_role_as_it_is(database: TestDatabase) -> None:
    url = make_url(database.settings.reader_url.get_secret_value())._replace(password=None)
    await apply(database.settings.model_copy(update={"reader_url": SecretStr(str(url))}))
    async with connected(database.settings.reader_url) as reader:
        assert await reader.fetchval("select true")


async def test_a_database_that_is_away_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "PATIENCE", 0.1)
    settings = DatabaseSettings(owner_url=SecretStr(f"postgresql://millrace_owner@127.0.0.1:{free_port()}/x"))
    with pytest.raises(SchemaError, match="cannot be reached"):
        await apply(settings)


async def test_bootstrap_may_be_repeated(empty_database: TestDatabase) -> None:
    await bootstrap(empty_database.superuser_url, empty_database.settings)
    await apply(empty_database.settings)
    await bootstrap(empty_database.superuser_url, empty_database.settings)
    async with connected(empty_database.settings.owner_url) as owner:
        is_super = await owner.fetchval("select rolsuper from pg_roles where rolname = current_user")
        assert not is_super


async def test_without_bootstrap_the_hint_names_it(empty_database: TestDatabase) -> None:
    settings = empty_database.settings
    stranger = make_url(empty_database.superuser_url)
    async with connected(empty_database.superuser_url) as superuser:
        await superuser.execute("alter role millrace_owner rename to somebody_else")
    try:
        url = SecretStr(stranger.render_as_string(hide_password=False))
        with pytest.raises(SchemaError, match=r"bootstrap\.sql"):
            await apply(settings.model_copy(update={"owner_url": url}))
    finally:
        async with connected(empty_database.superuser_url) as superuser:
            await superuser.execute("alter role somebody_else rename to millrace_owner")


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
    async with connected(apache.settings.owner_url) as owner:
        await owner.execute("insert into sensor_data (timestamp, sensor_id, value) values (now(), 'a', 1)")
        assert await owner.fetchval("select samples from measurement_hourly where sensor_id = 'a'") == 1
        assert await owner.fetchval("select late_before() = '-infinity'")
        assert (await capability(owner)).edition == "apache"
