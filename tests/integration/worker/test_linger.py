"""What waits for more before it is written. Where nothing but what is tested may end a wait, it would take an hour."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable

import pytest

from services.contract import GROUP
from services.platform.runtime.health import Health
from services.platform.settings import Settings
from services.platform.stream import Stream
from services.worker.linger import Arrivals, Bounds, Hand, wait_for_more
from services.worker.loop import Loop
from tests.support import eventually
from tests.support.readings import add_entry, entry_of, rows_in, sql
from tests.support.worker import Start, parts_of

NOW = 1_790_000_000_000_000
AN_HOUR = 3600.0


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no silence end a wait."""
    monkeypatch.setattr("services.worker.linger._MISSED", math.inf)


@contextlib.asynccontextmanager
async def lingering(settings: Settings, **changed: object) -> AsyncIterator[Callable[[], None]]:
    """Run a worker that waits for an hour; behind the block it has ended, and what is given ends it before."""
    worker = settings.worker.model_copy(update={"block": 0.05, "linger": AN_HOUR, **changed})
    stop = asyncio.Event()
    parts = await parts_of(settings, worker)
    loop = Loop(parts.stream, parts.letters, parts.store, settings=worker, health=Health(), stop=stop)
    running = asyncio.create_task(loop.run())
    try:
        yield stop.set
    finally:
        stop.set()
        await running
        parts.store.close()
        await parts.stream.client.aclose()


async def send(stream: Stream, count: int, *, notify: bool = False) -> None:
    for number in range(count):
        await add_entry(stream, entry_of([(f"s{number}", NOW, 1.0)], notify=notify))


async def held(stream: Stream, count: int) -> None:
    """Wait until a worker was given so many entries and has acknowledged none."""

    async def given() -> bool:
        pending = await stream.client.xpending(stream.names.stream, GROUP)
        return int(pending["pending"]) == count

    await eventually(given)


async def three_wait(settings: Settings, stream: Stream) -> None:
    """Have three entries wait in a worker's hand."""
    await send(stream, 3)
    await held(stream, 3)
    assert await rows_in(settings.database) == []


async def test_a_reading_that_comes_alone_is_written_without_a_wait(
    settings: Settings, stream: Stream, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def watched(hand: Hand, arrivals: Arrivals, now: float, bounds: Bounds) -> float:
        waits.append(wait_for_more(hand, arrivals, now, bounds))
        return waits[-1]

    monkeypatch.setattr("services.worker.reading.wait_for_more", watched)
    await start()
    for number in range(1, 6):
        await add_entry(stream, entry_of([("a", NOW + number, 1.0)]))

        async def stored(number: int = number) -> bool:
            return len(await rows_in(settings.database)) == number

        await eventually(stored)
    assert waits == [0.0] * 5


@pytest.mark.usefixtures("patient")
async def test_many_small_entries_share_full_transactions(settings: Settings, stream: Stream) -> None:
    await stream.ensure_group()
    await send(stream, 5)
    async with lingering(settings, batch_entries=10):
        await held(stream, 5)
        await send(stream, 25)

        async def stored() -> bool:
            return len(await rows_in(settings.database)) == 30

        await eventually(stored)
    transactions = await sql(settings.database, "select count(*) from ingest_ledger group by committed_at")
    assert [count for (count,) in transactions] == [10, 10, 10]


async def test_what_waits_is_written_when_nothing_more_comes(settings: Settings, stream: Stream) -> None:
    await stream.ensure_group()
    await send(stream, 5)
    async with lingering(settings):

        async def stored() -> bool:
            return len(await rows_in(settings.database)) == 5

        await eventually(stored)


@pytest.mark.usefixtures("patient")
async def test_as_many_rows_as_make_a_large_transaction_wait_for_no_more(settings: Settings, stream: Stream) -> None:
    await stream.ensure_group()
    async with lingering(settings, batch_rows=100):
        await three_wait(settings, stream)
        await add_entry(stream, entry_of([("large", NOW + second, 1.0) for second in range(47)]))
        await eventually(lambda: rows_in(settings.database))
    assert len(await rows_in(settings.database)) == 50


@pytest.mark.usefixtures("patient")
async def test_who_asks_to_hear_that_a_batch_is_stored_ends_the_wait(settings: Settings, stream: Stream) -> None:
    await stream.ensure_group()
    async with lingering(settings):
        await three_wait(settings, stream)
        async with stream.client.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(stream.names.settled)
            await channel.get_message(timeout=1.0)
            await send(stream, 1, notify=True)
            await eventually(lambda: channel.get_message(timeout=1.0))
        assert len(await rows_in(settings.database)) == 4


@pytest.mark.usefixtures("patient")
async def test_a_worker_that_is_told_to_stop_writes_what_waits(settings: Settings, stream: Stream) -> None:
    await stream.ensure_group()
    async with lingering(settings) as stop:
        await three_wait(settings, stream)
        stop()
    assert len(await rows_in(settings.database)) == 3
    assert (await stream.backlog()).entries == 0


@pytest.mark.usefixtures("patient")
async def test_what_waits_while_the_stream_is_lost_is_stored_once(settings: Settings, stream: Stream) -> None:
    await stream.ensure_group()
    async with lingering(settings):
        await three_wait(settings, stream)
        await stream.client.xgroup_destroy(stream.names.stream, GROUP)
        await eventually(lambda: stream.workers(60.0))
        await held(stream, 3)
    assert len(await rows_in(settings.database)) == 3
