"""Real workers moved step by step, each on the same stream and database, so that a test can choose where they die."""

import asyncio
import dataclasses
import itertools
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import asyncpg

from services.contract import Columns, Entry, StreamNames, encode
from services.dead_letters.replay import Replay
from services.ingest.limits.admission import Admission
from services.platform.http.errors import Problem
from services.platform.runtime import failpoints
from services.platform.runtime.health import Health
from services.platform.settings import Settings
from services.platform.stream import DeadLetters, Delivery, Stream, redis_client
from services.worker.loop import Loop
from services.worker.reading import opened
from services.worker.transaction import Store

from .readings import sql
from .worker import parts_of

__all__ = ["NAMES", "Walk", "World", "world"]

NAMES = ("w1", "w2", "w3", "heir")
_ROUNDS = 50


class Died(BaseException):
    """A worker came to the place where it was to die."""


class World:
    """What all walks share: a loop, connections, a database that takes no sensor called poison."""

    def __init__(self, settings: Settings, runner: asyncio.Runner) -> None:
        self.settings = settings
        self.runner = runner
        self.numbers = itertools.count(1)
        self.now = time.time_ns() // 1000
        self.death: str | None = None
        self.client = redis_client(settings.redis)
        self.stores: dict[str, Store] = {}

    async def begin(self) -> None:
        query = "alter table sensor_data add constraint no_poison check (sensor_id <> 'poison')"
        await sql(self.settings.database, query)
        self.stores = {name: (await parts_of(self.settings)).store for name in NAMES}
        self.reader = await asyncpg.connect(self.settings.database.reader_url.get_secret_value())

    async def end(self) -> None:
        for store in self.stores.values():
            store.close()
        await self.reader.close()
        await self.client.aclose()

    def reach(self, place: str) -> None:
        """Stand in a failpoint's place."""
        if place == self.death:
            raise Died(place)


@contextmanager
def world(settings: Settings) -> Iterator[World]:
    """Yield a world; while it lasts, failpoints are its own."""
    before = failpoints.reach
    with asyncio.Runner() as runner:
        made = World(settings, runner)
        failpoints.reach = made.reach
        runner.run(made.begin())
        try:
            yield made
        finally:
            failpoints.reach = before
            runner.run(made.end())


class Walk:
    """Workers on a stream of their own, and what each has in hand."""

    def __init__(self, world: World) -> None:
        self.world = world
        settings = world.settings
        self.names = StreamNames(f"walk_{uuid.uuid4().hex[:12]}")
        self.stream = Stream(world.client, self.names)
        self.letters = DeadLetters(world.client, self.names)
        self._hands: dict[str, list[Delivery]] = {name: [] for name in NAMES}
        self._loops = {name: self._loop(name, store) for name, store in world.stores.items()}
        health = Health("stream")
        self._admission = Admission(self.stream, self.letters, settings.redis, settings.ingest, health)
        self._replay = Replay(self.stream, self.letters, self._admission.admit, settings.worker.ledger_horizon)

    def _loop(self, name: str, store: Store) -> Loop:
        health = Health("contract", "database", "stream")
        worker = self.world.settings.worker.model_copy(update={"name": name, "dead_letter_limit": 10_000})
        return Loop(self.stream, self.letters, store, settings=worker, health=health, stop=asyncio.Event())

    async def begin(self) -> None:
        await self.stream.ensure_group()
        await self._admission._look()

    async def add(self, entry: Entry) -> bool:
        """Add an entry as ingest does; tell whether it was, for a key may stand there with other readings."""
        marks = {entry.ledger_id(batch): batch.digest or b"1" for batch in entry.batches}
        return not await self.stream.add(encode(entry), marks)

    async def read(self, worker: str, most: int) -> None:
        self._take(worker, await self.stream.read_new(worker, most, 0.001))

    async def start_again(self, worker: str) -> None:
        """Let a process of that name forget what it had and ask for it again."""
        self._hands[worker] = await self.stream.read_pending(worker, b"0", 100)

    async def take_over(self, worker: str) -> None:
        self._take(worker, await self.stream.reclaim(worker, 0, 100))

    def _take(self, worker: str, deliveries: list[Delivery]) -> None:
        hand = self._hands[worker]
        there = {delivery.entry_id for delivery in hand}
        hand += [delivery for delivery in deliveries if delivery.entry_id not in there]

    async def work(self, worker: str, death: str | None = None) -> None:
        """Write and settle what a worker has in hand, as far as it comes before it dies at `death`."""
        hand, self._hands[worker], self.world.death = self._hands[worker], [], death
        with suppress(Died):
            async with asyncio.timeout(30):
                await self._loops[worker]._process(list(map(opened, hand)))
        self.world.death = None

    async def replay(self, letter_id: str, mended: Columns | None) -> None:
        # It may be gone, damaged, or its key may stand in the stream with other readings.
        with suppress(Problem):
            await self._replay.one(letter_id, mended)

    async def drain(self) -> None:
        """Let one worker do what is left, with the janitor at its side."""
        for _ in range(_ROUNDS):
            await self.take_over("heir")
            await self.work("heir")
            # Few at a time, so that what repeats something comes in a transaction of its own.
            await self.read("heir", 2)
            await self.work("heir")
            await self.stream.keep_group(0)
            if not (await self.stream.backlog()).entries:
                return
        raise AssertionError(f"not drained after {_ROUNDS} rounds")

    async def values(self, behind: int) -> Counter[float]:
        """Return how often each value above `behind` is stored."""
        found: Any = await self.world.reader.fetch("select value from sensor_data where value > $1", float(behind))
        return Counter(row["value"] for row in found)

    async def forget(self) -> None:
        names = self.names
        await self.world.client.delete(names.stream, names.dead, names.backlog, names.queued, names.totals)


def mended(entry: Entry) -> Columns:
    """Return an entry's readings under a name that nobody refuses."""
    return dataclasses.replace(entry.columns, sensor_ids=[f"mended-{each}" for each in entry.columns.sensor_ids])
