"""Numbered migrations and their ledger, counted on behind those that were released."""

import shutil
from pathlib import Path

import pytest

from services.database.schema.apply import SchemaError, apply
from services.database.schema.scripts import SQL, migrations
from tests.support import TestDatabase
from tests.support.late import connected

NEXT = migrations(SQL / "migrations")[-1].version + 1


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    """A copy of sql/ for migrations of a test's own."""
    return shutil.copytree(SQL, tmp_path / "sql")


def write(sql: Path, version: int, name: str, body: str) -> str:
    """Write a migration; return how it is called."""
    (sql / "migrations" / f"{version:04}_{name}.sql").write_text(body)
    return f"{version:04} {name.replace('_', ' ')}"


async def test_a_migration_runs_once_and_is_in_the_ledger(database: TestDatabase, sql: Path) -> None:
    column = write(sql, NEXT, "add_note", "alter table late_ranges add column note text;")
    index = write(
        sql,
        NEXT + 1,
        "index_dead",
        "-- no transaction\ncreate index concurrently if not exists dead_idx on ingest_ledger ((dead is null));\n",
    )
    first = await apply(database.settings, sql)
    assert (first.version, first.migrations) == (NEXT + 1, (column, index))
    second = await apply(database.settings, sql)
    assert (second.version, second.migrations) == (NEXT + 1, ())


async def test_a_changed_migration_is_refused_before_anything_runs(database: TestDatabase, sql: Path) -> None:
    write(sql, NEXT, "released", "select 1;")
    await apply(database.settings, sql)
    released = write(sql, NEXT, "released", "select 2;")
    write(sql, NEXT + 1, "next", "create table next (id int);")
    with pytest.raises(SchemaError, match=f"{released} was changed"):
        await apply(database.settings, sql)
    async with connected(database, "owner") as owner:
        assert await owner.fetchval("select max(version) from schema_migrations") == NEXT


async def test_a_failed_migration_leaves_nothing_and_is_named_with_its_line(database: TestDatabase, sql: Path) -> None:
    write(sql, NEXT, "good", "create table good (id int);")
    bad = write(sql, NEXT + 1, "bad", "create table half (id int);\nselect *\nfrom nowhere;")
    with pytest.raises(SchemaError, match=f'{bad} line 3: relation "nowhere" does not exist'):
        await apply(database.settings, sql)
    async with connected(database, "owner") as owner:
        assert await owner.fetchval("select max(version) from schema_migrations") == NEXT
        assert await owner.fetchval("select to_regclass('good') is not null and to_regclass('half') is null")


async def test_a_dropped_rollup_stays_away_until_the_file_of_its_migration_runs_again(
    timescaledb: TestDatabase,
) -> None:
    there = "select has_table_privilege('millrace_reader', to_regclass('sensor_rollup_15m'), 'select')"
    file = (SQL / "migrations" / "0006_sensor_rollup_15m.sql").read_text()
    async with connected(timescaledb, "owner") as owner:
        await owner.execute("drop materialized view sensor_rollup_15m")
        await apply(timescaledb.settings)
        assert not await owner.fetchval(there)
        await owner.execute(file)
        await owner.execute(file)
        assert await owner.fetchval(there)
    assert (await apply(timescaledb.settings)).did == ()
