"""Databases that have an older TimescaleDB than the server offers."""

import asyncpg
import pytest

from services.database.schema.apply import apply

from .databases import TestDatabase, run

__all__ = ["aged", "installed", "versions"]

VERSIONS = """
select version, version = default_version as newest
from pg_available_extension_versions join pg_available_extensions using (name)
where name = 'timescaledb' and (version = default_version or exists (
  select from pg_extension_update_paths('timescaledb')
  where source = version and target = default_version and path is not null))
order by string_to_array(version, '.')::int[] desc
"""
THERE = "select extversion from pg_extension where extname = 'timescaledb'"


async def installed(database: TestDatabase) -> str:
    """Return the version of TimescaleDB that a database has."""
    [row] = await _asked(database, THERE)
    return str(row[0])


async def versions(database: TestDatabase) -> tuple[str, str]:
    """Return the version before the newest that the server offers, and the newest."""
    if database.mode != "timescaledb":
        pytest.skip("plain PostgreSQL has no TimescaleDB")
    offered = await _asked(database, VERSIONS)
    if len(offered) < 2:
        pytest.skip("the server offers one version of TimescaleDB; install an older one beside it")
    newest, before = offered[:2]
    assert newest["newest"]
    return before["version"], newest["version"]


async def aged(database: TestDatabase) -> tuple[str, str]:
    """Give a database the version before the newest, and the schema; return both versions."""
    before, newest = await versions(database)
    await run(database.superuser_url, "drop extension timescaledb cascade")
    await run(database.superuser_url, f"create extension timescaledb version '{before}' schema public")
    await apply(database.settings)
    return before, newest


async def _asked(database: TestDatabase, statement: str) -> list[asyncpg.Record]:
    """Return what a superuser's session of its own is answered."""
    connection = await asyncpg.connect(database.superuser_url)
    try:
        found: list[asyncpg.Record] = await connection.fetch(statement)
        return found
    finally:
        await connection.close()
