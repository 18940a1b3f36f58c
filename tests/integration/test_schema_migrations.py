"""Numbered migrations and their ledger."""

import shutil
from pathlib import Path

import pytest

from services.operator.schema import SchemaError, apply
from services.operator.scripts import SQL

from ..support import TestDatabase
from ..support.late import connected


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    """A copy of sql/ without its migrations."""
    copy = tmp_path / "sql"
    shutil.copytree(SQL, copy)
    for path in (copy / "migrations").glob("*.sql"):
        path.unlink()
    return copy


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
    async with connected(database, "owner") as owner:
        assert await owner.fetchval("select max(version) from schema_migrations") == 2


async def test_a_failed_migration_leaves_nothing_and_is_named_with_its_line(database: TestDatabase, sql: Path) -> None:
    (sql / "migrations" / "0002_good.sql").write_text("create table good (id int);")
    (sql / "migrations" / "0003_bad.sql").write_text("create table half (id int);\nselect *\nfrom nowhere;")
    with pytest.raises(SchemaError, match=r'0003 bad line 3: relation "nowhere" does not exist'):
        await apply(database.settings, sql)
    async with connected(database, "owner") as owner:
        assert await owner.fetchval("select max(version) from schema_migrations") == 2
        assert await owner.fetchval("select to_regclass('good') is not null and to_regclass('half') is null")
