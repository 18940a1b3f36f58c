"""The database is changed under load: by a migration, and by a new version of TimescaleDB."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from services.database.schema.apply import apply
from services.database.schema.scripts import SQL, migrations
from services.local.installations import Installation, find_installations
from services.platform.settings import RedisSettings, Settings
from tests.conftest import ABSENT, whole
from tests.support import TestDatabase, eventually
from tests.support.faults import Make, drained, load, worker
from tests.support.late import connected
from tests.support.moments import told
from tests.support.oracle import check
from tests.support.servers import installations, standalone

pytestmark = pytest.mark.long

ROWS = 200_000
MIGRATION = "alter table sensor_data add column quality smallint;\nselect pg_sleep(8);\n"


async def test_row_32_a_migration_that_locks_the_table_under_load_is_waited_for_and_nothing_is_lost_or_doubled(
    settings: Settings, service: Make, tmp_path: Path, scale: float
) -> None:
    rows = round(ROWS * scale)
    changed = shutil.copytree(SQL, tmp_path / "sql")
    version = migrations(SQL / "migrations")[-1].version + 1
    (changed / "migrations" / f"{version:04}_add_quality.sql").write_text(MIGRATION)
    hasty = worker(settings, "w", transaction_timeout=2.0)
    async with service("ingest", settings), service("worker", hasty) as process:
        async with load(settings, tmp_path / "journal", rows):
            applying = asyncio.create_task(apply(settings.database, changed))
            await eventually(lambda: told(process, "database"), 30)
            assert (await applying).version == version
        await drained(settings)
        await process.ready()
    verdict = await check(tmp_path / "journal", settings.database)
    assert verdict.clean, verdict
    assert (verdict.promised, verdict.stored) == (rows, rows)


@pytest.fixture(scope="module")
def two_versions() -> Iterator[tuple[Installation, str]]:
    """A copy of PostgreSQL whose default TimescaleDB is the release before, and the newer one's version.

    The release before is made of the newer one's files under its own name: what is shown is what becomes of sessions
    that have one library loaded when the catalog goes over to the other, and that is the same.
    """
    found = installations().get("timescaledb")
    if found is None or found.timescaledb is None:
        pytest.skip(ABSENT["timescaledb"])
    new, old = found.timescaledb, _before(found.timescaledb)
    original = found.bin.parent
    if not (original / "share" / "extension" / f"timescaledb--{old}--{new}.sql").exists():
        pytest.skip(f"no upgrade from TimescaleDB {old} to {new} lies below {original}")
    # Not below pytest's own folder, which is closed to the user that PostgreSQL runs as.
    folder = Path(tempfile.mkdtemp(prefix="millrace-tests-"))
    folder.chmod(0o755)
    copy = shutil.copytree(original, folder / "postgresql", symlinks=True)
    for library in (copy / "lib").glob(f"timescaledb*-{new}.so"):
        _renamed(library, new, old)
    _renamed(copy / "share" / "extension" / f"timescaledb--{new}.sql", new, old)
    control = copy / "share" / "extension" / "timescaledb.control"
    control.write_text(control.read_text().replace(new, old))
    yield find_installations(copy / "bin")[0], new
    shutil.rmtree(folder)


def _before(version: str) -> str:
    return re.sub(r"\d+$", lambda last: str(int(last[0]) - 1), version)


def _renamed(file: Path, new: str, old: str) -> None:
    """Copy a file of the newer version under the older one's name, with that name in it."""
    content = file.read_bytes().replace(new.encode(), old.encode())
    file.with_name(file.name.replace(new, old)).write_bytes(content)


@pytest.fixture
async def older(two_versions: tuple[Installation, str], open_folder: Path) -> AsyncIterator[TestDatabase]:
    async with standalone(open_folder, "timescaledb", two_versions[0]) as made:
        yield made


async def test_row_32_timescaledb_upgraded_under_load_is_gone_over_to_and_nothing_is_lost_or_doubled(
    older: TestDatabase, two_versions: tuple[Installation, str], redis_settings: RedisSettings, service: Make,
    tmp_path: Path, scale: float,
) -> None:  # fmt: skip
    rows = round(ROWS * scale)
    settings = whole(older, redis_settings)
    async with (
        service("ingest", settings),
        service("query", settings) as query,
        service("worker", worker(settings, "w")) as process,
    ):
        async with load(settings, tmp_path / "journal", rows) as sender:
            await eventually(lambda: _stored(older))
            assert sender.poll() is None, "the load ended before the fault"
            await _upgrade(older, two_versions[1])
        await drained(settings)
        await process.ready()
        await query.ready()
    async with connected(older, "superuser") as superuser:
        now = await superuser.fetchval("select extversion from pg_extension where extname = 'timescaledb'")
    assert now == two_versions[1]
    verdict = await check(tmp_path / "journal", settings.database)
    assert verdict.clean, verdict
    assert (verdict.promised, verdict.stored) == (rows, rows)


async def _stored(database: TestDatabase) -> bool:
    async with connected(database, "reader") as reader:
        return bool(await reader.fetchval("select exists (select from sensor_data)"))


async def _upgrade(database: TestDatabase, version: str) -> None:
    """Upgrade the extension as its documentation says: first statement of a session, tried again where it waits."""

    async def done() -> bool:
        async with connected(database, "superuser") as superuser:
            try:
                await superuser.execute(f"alter extension timescaledb update to '{version}'")
            except (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError):
                return False
        return True

    await eventually(done, 60)
