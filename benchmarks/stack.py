"""The stack under measurement: `millrace up` as a process of its own, and the harness's own ways into it."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis

from services.contract import StreamNames
from services.local.plan import make_plan
from services.platform.postgres.capability import Capability, capability
from services.platform.runtime.starting import StartError
from services.platform.settings import Settings
from services.platform.stream import Stream, redis_client
from tests.support.stack import RunningStack, stack_settings

__all__ = ["Bench", "make_empty", "running"]

DRAINED_WITHIN = 300.0
YARDSTICK = ("yardstick.sql", "yardstick_timescaledb.sql")


@dataclass(frozen=True, slots=True)
class Bench:
    """A running stack.

    Attributes:
        stack: the processes.
        settings: those that the services have.
        folder: where the data and the prepared requests are.
        database: a superuser's connection to the stack's database.
        redis: a client of the stream's server.
        capability: what the database can do.
    """

    stack: RunningStack
    settings: Settings
    folder: Path
    database: Any
    redis: Redis
    capability: Capability

    @property
    def compresses(self) -> bool:
        """Whether there is a columnstore."""
        return self.capability.compresses_on_copy

    @property
    def ingest(self) -> str:
        """Base URL of ingest."""
        return f"http://127.0.0.1:{self.settings.ingest.port}"

    @property
    def query(self) -> str:
        """Base URL of query."""
        return f"http://127.0.0.1:{self.settings.query.port}"

    async def empty(self) -> None:
        """Bring all tables back to the start, and the server to where nothing waits to be written."""
        while True:
            # A policy of TimescaleDB that is at work takes its locks in another order.
            with contextlib.suppress(asyncpg.DeadlockDetectedError):
                await self.database.execute(
                    "truncate sensor_data, yardstick, ingest_ledger, ingest_recent, late_ranges"
                )
                break
        await self.database.execute("checkpoint")

    async def drained(self) -> float:
        """Wait until no entry stands in the stream; return when that came about, in seconds since 1970.

        Raises:
            StartError: it did not within five minutes, or there are dead letters.
        """
        names = StreamNames(self.settings.redis.stream)
        await self._gone("entries", lambda: self.redis.xlen(names.stream), 0.02)
        at = time.time()
        if dead := await self.redis.xlen(names.dead):
            raise StartError(f"{dead} dead letters; see {self.stack.log}")
        return at

    async def repaired(self) -> None:
        """Wait until no late range is noted: a refresh and a policy may lock each other out, and one be ended.

        Raises:
            StartError: some were after five minutes.
        """
        await self._gone("late ranges", lambda: self.database.fetchval("select count(*) from late_ranges"), 0.2)

    async def _gone(self, what: str, count: Callable[[], Awaitable[int]], interval: float) -> None:
        deadline = time.monotonic() + DRAINED_WITHIN
        while await count():
            if time.monotonic() > deadline:
                raise StartError(f"{what} wait for {DRAINED_WITHIN:g} s after the load; see {self.stack.log}")
            await asyncio.sleep(interval)

    async def waiting(self) -> int:
        """Return how many rows wait in the stream."""
        return (await Stream(self.redis, StreamNames(self.settings.redis.stream)).backlog()).rows

    async def size(self, table: str) -> int:
        """Return a table's bytes on disk, indexes included."""
        function = "hypertable_size" if self.capability.edition == "full" else "pg_total_relation_size"
        return int(await self.database.fetchval(f"select {function}($1::regclass)", table))


@contextlib.asynccontextmanager
async def running(
    folder: Path, sections: Mapping[str, Mapping[str, Any]], pg_bin: Path | None = None
) -> AsyncIterator[Bench]:
    """Run a stack in `folder`, which is emptied first.

    Args:
        folder: on a real disk.
        sections: settings beside those that MILLRACE_ variables make, by section and name.
        pg_bin: the programs of PostgreSQL, where not the best are wanted.
    """
    make_empty(folder)
    settings = stack_settings(folder, pg_bin)
    changed = {name: getattr(settings, name).model_copy(update=update) for name, update in sections.items()}
    settings = settings.model_copy(update=changed)
    async with contextlib.AsyncExitStack() as held:
        stack = await held.enter_async_context(RunningStack(settings, folder / "stack.log"))
        plan = make_plan(settings, folder)
        url = plan.postgres.url("postgres", plan.credentials.superuser)
        database = await asyncpg.connect(url)
        held.push_async_callback(database.close)
        redis = await held.enter_async_context(redis_client(plan.settings.redis))
        bench = Bench(stack, plan.settings, folder, database, redis, await capability(database))
        await _make_yardstick(bench)
        yield bench


def make_empty(folder: Path) -> None:
    """Make a folder that has nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


async def _make_yardstick(bench: Bench) -> None:
    for name in YARDSTICK if bench.capability.edition == "full" else YARDSTICK[:1]:
        await bench.database.execute(Path(__file__).with_name(name).read_text())
