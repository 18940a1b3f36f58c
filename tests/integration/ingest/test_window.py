"""The window of timestamps before the database has all of its schema."""

import asyncio

import asyncpg

from services.ingest.limits.window import Window
from services.platform.runtime.tasks import end
from services.platform.settings import IngestSettings
from tests.support import TestDatabase, eventually
from tests.support.query import owner

SESSIONS = "select sessions from pg_stat_database where datname = $1"


async def test_what_the_database_does_not_know_yet_is_no_error_in_its_log(database: TestDatabase) -> None:
    async with owner(database) as connection:
        await connection.execute("drop function retention_age()")
    said = len(database.server.log.read_bytes())
    watching = await asyncpg.connect(database.server.superuser_url)
    try:
        before = await watching.fetchval(SESSIONS, database.name)
        looking = asyncio.create_task(Window(IngestSettings(), database.settings).run())
        try:

            async def looked() -> bool:
                # Looks follow each other, so when the second has begun the first is over.
                return bool(await watching.fetchval(SESSIONS, database.name) >= before + 2)

            await eventually(looked)
        finally:
            await end([looking])
    finally:
        await watching.close()
    assert b"retention_age" not in database.server.log.read_bytes()[said:]
