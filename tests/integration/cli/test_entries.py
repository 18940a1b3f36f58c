"""`millrace entries` on a real stream changes nothing and shows everything."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from services.cli.entries import Which, show
from services.contract import DeadLetter, StreamNames, encode
from services.platform.settings import RedisSettings
from services.platform.stream import Settlement, Stream, redis_client
from tests.unit.cli.test_entries import ENTRY

Shown = list[dict[str, Any]]


@pytest.fixture
async def stream(redis_settings: RedisSettings) -> AsyncIterator[Stream]:
    found = Stream(redis_client(redis_settings), StreamNames(redis_settings.stream))
    await found.ensure_group()
    yield found
    await found.client.aclose()


async def shown(
    settings: RedisSettings, capsys: pytest.CaptureFixture[str], which: Which = Which.ALL, count: int = 10
) -> Shown:
    await show(settings, which, count=count, rows=1, as_json=True)
    return [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]


async def test_entries_are_shown_in_order_up_to_the_count(
    redis_settings: RedisSettings, stream: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        await stream.add(encode(ENTRY), {})
    found = await shown(redis_settings, capsys)
    entries: Any = await stream.client.xrange(stream.names.stream)
    ids = [entry_id.decode() for entry_id, _ in entries]
    assert [entry["id"] for entry in found] == ids
    assert found[0]["rows"] == "3"
    assert len(found[0]["first_rows"]) == 1
    assert [entry["id"] for entry in await shown(redis_settings, capsys, count=2)] == ids[:2]


async def test_damaged_and_newer_entries_are_shown_as_such(
    redis_settings: RedisSettings, stream: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    await stream.client.xadd(stream.names.stream, {"some": "thing"})
    await stream.add({**encode(ENTRY), b"v": b"999"}, {})
    problems = [entry["problem"].split(":")[0] for entry in await shown(redis_settings, capsys)]
    assert problems == ["damaged", "newer"]


async def test_what_a_worker_holds_is_shown_with_its_name(
    redis_settings: RedisSettings, stream: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        await stream.add(encode(ENTRY), {})
    assert await shown(redis_settings, capsys, Which.PENDING) == []
    await stream.read_new("worker-7", 1, 1.0)
    (held,) = await shown(redis_settings, capsys, Which.PENDING)
    assert (held["consumer"], held["deliveries"], len(held["batches"])) == ("worker-7", 1, 2)


async def test_dead_letters_are_shown_with_their_reason(
    redis_settings: RedisSettings, stream: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    await stream.add(encode(ENTRY), {})
    (delivery,) = await stream.read_new("w", 1, 1.0)
    letter = DeadLetter(
        "refused", "numeric overflow", delivery.entry_id.decode(), encode(ENTRY), ENTRY.batches[1].batch_id
    )
    await stream.settle(Settlement(entries=[(delivery, [letter])]))
    (dead,) = await shown(redis_settings, capsys, Which.DEAD)
    assert (dead["reason"], dead["detail"], dead["origin"]) == (
        "refused",
        "numeric overflow",
        delivery.entry_id.decode(),
    )
    assert len(dead["batches"]) == 2


async def test_reading_changes_nothing(
    redis_settings: RedisSettings, stream: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    await stream.add(encode(ENTRY), {})
    client: Any = stream.client
    before = await client.dump(stream.names.stream)
    for which in Which:
        await shown(redis_settings, capsys, which)
    assert await client.dump(stream.names.stream) == before


async def test_an_empty_stream_says_so(redis_settings: RedisSettings, capsys: pytest.CaptureFixture[str]) -> None:
    await show(redis_settings, Which.ALL, count=1, rows=1, as_json=False)
    assert f"nothing stands in the stream ({redis_settings.stream})" in capsys.readouterr().err
