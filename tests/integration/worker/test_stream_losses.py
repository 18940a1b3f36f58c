"""What somebody takes out of the stream is noticed and told, with its size; what workers take off it is not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.contract import GROUP, DeadLetter
from services.platform.runtime.tasks import end
from services.platform.settings import RedisSettings, Settings
from services.platform.stream import Losses, Settlement, Stream, names_of, redis_client
from services.worker.janitor import keep_house
from tests.support import eventually
from tests.support.moments import counted
from tests.support.readings import add_entry, entry_of, rows_in
from tests.support.service import Service
from tests.support.worker import Start, parts_of

NOW = 1_790_000_000_000_000
NONE = Losses(0, 0)


@pytest.fixture
async def stream(redis_settings: RedisSettings) -> AsyncIterator[Stream]:
    async with redis_client(redis_settings) as client:
        yield Stream(client, names_of(redis_settings))


async def fill(stream: Stream, *rows: int) -> list[bytes]:
    """Add an entry for each number of rows; return their ids."""
    for count in rows:
        await add_entry(stream, entry_of([("a", NOW, 1.0)] * count))
    found: Any = await stream.client.xrange(stream.names.stream)
    return [entry_id for entry_id, _ in found]


@pytest.fixture
async def filled(stream: Stream) -> list[bytes]:
    """Ids of five entries of 1, 2, 4, 8 and 16 rows, of which three are delivered; losses were looked for before."""
    await stream.ensure_group()
    ids = await fill(stream, 1, 2, 4, 8, 16)
    await stream.read_new("w", 3, 0.1)
    assert await stream.losses() == NONE
    return ids


async def test_what_vanishes_is_told_once_with_its_size_and_the_counts_are_right_again(
    stream: Stream, filled: list[bytes]
) -> None:
    name: Any = stream.names.stream
    await stream.client.xtrim(name, maxlen=3, approximate=False)
    assert await stream.losses() == Losses(2, 3)
    assert await stream.losses() == NONE
    assert ((await stream.backlog()).entries, (await stream.backlog()).rows) == (3, 28)
    await stream.client.xdel(name, filled[4])
    await stream.client.xadd(name, {"by": "hand"})
    assert await stream.losses() == Losses(1, 16)
    await stream.client.xadd(name, {"by": "hand"}, maxlen=1, approximate=False)
    assert await stream.losses() == Losses(3, 12)
    await stream.client.xtrim(name, maxlen=0)
    assert await stream.losses() == Losses(1, 0)
    assert not await stream.client.exists(stream.names.backlog, stream.names.queued)


@pytest.mark.usefixtures("filled")
async def test_a_stream_that_is_deleted_tells_the_rows_that_went(stream: Stream) -> None:
    [delivery] = await stream.read_new("w", 1, 0.1)
    await stream.settle(Settlement(entries=[(delivery, [])]))
    assert await stream.losses() == NONE
    await stream.client.delete(stream.names.stream)
    await stream.ensure_group()
    await fill(stream, 5)
    assert await stream.losses() == Losses(0, 23)
    assert (await stream.backlog()).rows == 5
    assert await stream.losses() == NONE


@pytest.mark.usefixtures("filled")
async def test_nothing_is_told_of_what_workers_and_operators_do(stream: Stream) -> None:
    """Settled, dead-lettered, redelivered, taken over, put in by hand, group made again, all forgotten."""
    name: Any = stream.names.stream
    [first, second, third] = await stream.read_pending("w", b"0", 10)
    letter = DeadLetter("refused", "why", first.entry_id.decode(), first.fields or {})
    for _ in range(2):
        await stream.settle(Settlement(entries=[(first, [letter]), (second, [])]))
        assert await stream.losses() == NONE
    await stream.client.xadd(name, {"by": "hand", "n": "9"})
    await stream.client.xgroup_destroy(name, GROUP)
    await stream.ensure_group()
    deliveries = await stream.reclaim("v", 0.0, 10) + await stream.read_new("v", 10, 0.1)
    assert len(deliveries) == 4
    assert await stream.losses() == NONE
    await stream.settle(Settlement(entries=[(delivery, []) for delivery in [*deliveries, third]]))
    assert await stream.losses() == NONE
    # As FLUSHALL does.
    names = stream.names
    await stream.client.delete(names.stream, names.backlog, names.queued, names.dead, names.totals)
    await stream.ensure_group()
    await fill(stream, 3)
    assert await stream.losses() == NONE


async def test_nothing_is_told_while_workers_settle_that_do_not_count(stream: Stream, filled: list[bytes]) -> None:
    """As those of the release before do, in a rolling upgrade."""
    names: Any = stream.names
    await stream.client.xdel(names.stream, filled[0])
    await stream.client.hincrby(names.totals, "settled", 1)
    await stream.client.hincrby(names.backlog, "rows", -1)
    assert await stream.losses() == NONE
    await stream.client.xdel(names.stream, filled[1])
    assert await stream.losses() == Losses(1, 2)


async def test_nothing_is_told_at_the_first_look_at_a_stream_that_has_lived(stream: Stream) -> None:
    await fill(stream, 1, 1, 1)
    await stream.client.xtrim(stream.names.stream, maxlen=1, approximate=False)
    await stream.client.delete(stream.names.totals)
    assert await stream.losses() == NONE


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as found:
        yield found


async def test_the_janitor_tells_what_was_trimmed(settings: Settings, stream: Stream, lines: list[Any]) -> None:
    await stream.ensure_group()
    await fill(stream, 1, 2, 4)
    quick = settings.worker.model_copy(update={"janitor_interval": 0.05})
    parts = await parts_of(settings, quick)
    house = asyncio.create_task(keep_house(parts.stream, parts.store, parts.letters, quick))
    await eventually(lambda: stream.client.hexists(stream.names.totals, "missing"))
    await stream.client.xtrim(stream.names.stream, maxlen=1, approximate=False)
    await eventually(lambda: [line for line in lines if line.get("action") == "lose"])
    await end([house])
    parts.store.close()
    told = [(line["log_level"], line["entries"], line["rows"]) for line in lines if line.get("action") == "lose"]
    assert told == [("error", 2, 3)]


async def test_several_workers_under_load_tell_nothing(
    settings: Settings, stream: Stream, start: Start, lines: list[Any]
) -> None:
    for number in range(3):
        await start(f"w{number}", reclaim_idle=0.05)
    for number in range(60):
        await fill(stream, 1 + number % 3)
        if number % 5 == 0:
            await stream.losses()

    async def drained() -> bool:
        return (await stream.backlog()).entries == 0

    await eventually(drained)
    assert await stream.losses() == NONE
    assert len(await rows_in(settings.database)) == 120
    assert not [line for line in lines if line.get("action") == "lose"]


async def test_a_trim_is_counted_by_a_worker_process(
    settings: Settings, stream: Stream, service: Callable[[str, Settings], Service]
) -> None:
    quick = settings.worker.model_copy(update={"janitor_interval": 0.2})
    async with service("worker", settings.model_copy(update={"worker": quick})) as process:
        newer: Any = {"v": "9", "n": "5", "e": b""}
        await stream.client.xadd(stream.names.stream, newer)
        await stream.client.xadd(stream.names.stream, newer)
        await eventually(lambda: stream.client.hexists(stream.names.totals, "missing"))
        await stream.client.xtrim(stream.names.stream, maxlen=0)

        async def two() -> bool:
            return await counted(process, "millrace_stream_losses_total") == 2

        await eventually(two)
