"""What the roles may do, and their passwords."""

from dataclasses import replace

import asyncpg
import pytest
from pydantic import SecretStr

from services.database.schema.apply import apply
from services.platform.settings import postgres_address
from tests.support import TestDatabase
from tests.support.late import connected

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
    async with connected(database, role) as connection:
        # The rights must hold without the session's read-only default, which a reader could take back.
        await connection.execute("set default_transaction_read_only = off")
        for statement in FORBIDDEN[role]:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"permission|owner"):
                await connection.execute(statement)


async def test_the_reader_reads_all_that_it_needs(database: TestDatabase) -> None:
    async with connected(database, "reader") as reader:
        for relation in ("sensor_data", "measurement_hourly", "late_ranges", "ingest_ledger", "schema_migrations"):
            await reader.fetch(f"select * from {relation}")
        assert await reader.fetchval("show default_transaction_read_only") == "on"


async def test_the_writer_writes_all_that_it_needs(database: TestDatabase) -> None:
    async with connected(database, "writer") as writer, writer.transaction():
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
    async with connected(database, "reader") as reader:
        assert await reader.fetchval("select count(*) from sensor_data") == 2000
        assert await reader.fetchval("select sum(samples) from measurement_hourly") == 2000


@pytest.mark.parametrize("password", ["plain words", "zwölf ½\u00a0Boxkämpfer\u00ad", "a'b\"c\\d$e%:/@#?"])
async def test_a_password_changes_under_open_connections(database: TestDatabase, password: str) -> None:
    settings = database.settings
    new = replace(postgres_address(settings.reader_url.get_secret_value()), password=password)
    changed = settings.model_copy(update={"reader_url": SecretStr(new.url())})
    try:
        async with connected(database, "reader") as old:
            await apply(changed)
            assert await old.fetchval("select true"), "who is connected stays"
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(settings.reader_url.get_secret_value())
            login = await asyncpg.connect(settings.reader_url.get_secret_value(), password=password)
            await login.close()
            new = await asyncpg.connect(changed.reader_url.get_secret_value())
            assert await new.fetchval("select current_user") == "millrace_reader"
            await new.close()
    finally:
        # The server's databases share its roles.
        await apply(settings)


async def test_a_url_without_password_leaves_the_role_as_it_is(database: TestDatabase) -> None:
    address = replace(postgres_address(database.settings.reader_url.get_secret_value()), password=None)
    await apply(database.settings.model_copy(update={"reader_url": SecretStr(address.url())}))
    async with connected(database, "reader") as reader:
        assert await reader.fetchval("select true")
