"""Dead letters on the port of questions: whoever may ask sees them, who has `admin` replays and deletes them."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.contract import DeadLetter, encode, encode_letter
from services.platform.settings import Settings
from services.platform.stream import Stream
from tests.support import eventually
from tests.support.admin import both_ports
from tests.support.doors import Doors
from tests.support.ingest import READING, assert_problem
from tests.support.query import asking
from tests.support.readings import entry_of, raw_entries, rows_in
from tests.support.worker import Start

NOW = time.time_ns() // 1000
LETTERS = "/dead-letters"


@pytest.fixture
async def query(settings: Settings, stream: Stream) -> AsyncIterator[httpx.AsyncClient]:
    await stream.ensure_group()
    async with asking(settings) as client:
        yield client


async def written(stream: Stream, accepted_at: int = NOW) -> str:
    """Put a dead letter of one reading there; return its id."""
    fields = encode(entry_of([("a", NOW, 13.0)], accepted_at=accepted_at))
    letter: dict[Any, Any] = {**encode_letter(DeadLetter("refused", "it takes no thirteen", "1-1", fields))}
    found: Any = await stream.client.xadd(stream.names.dead, letter)
    return str(found.decode())


async def test_both_ports_show_the_same_and_a_letter_goes_back_once_whoever_asks(
    settings: Settings, query: httpx.AsyncClient, stream: Stream, start: Start
) -> None:
    letter_id = await written(stream)
    async with both_ports(settings) as ports:
        for path in (LETTERS, f"{LETTERS}/{letter_id}", f"{LETTERS}/{letter_id}/readings"):
            shown, admins = await query.get(path), await ports.admin.get(path)
            assert (shown.status_code, shown.json()) == (200, admins.json())
        path = f"{LETTERS}/{letter_id}/replay"
        answers = await asyncio.gather(*(client.post(path) for client in (query, ports.admin) * 3))
    assert sorted(answer.status_code for answer in answers) == [200] + [404] * 5
    await start()
    await eventually(lambda: rows_in(settings.database))
    assert [value for _, _, value in await rows_in(settings.database)] == [13.0]


async def test_a_letter_is_deleted_once(query: httpx.AsyncClient, stream: Stream) -> None:
    letter_id, other = await written(stream), await written(stream)
    assert (await query.delete(f"{LETTERS}/{letter_id}")).status_code == 204
    assert_problem(await query.delete(f"{LETTERS}/{letter_id}"), 404, "unknown_letter")
    assert [letter["letter_id"] for letter in (await query.get(LETTERS)).json()["letters"]] == [other]
    assert_problem(await query.delete(LETTERS, params={"through": other}), 405, "method_not_allowed")


async def test_a_replay_waits_for_room_and_for_the_ledgers_memory(
    settings: Settings, query: httpx.AsyncClient, stream: Stream
) -> None:
    old = await written(stream, NOW - 100 * 3_600_000_000)
    path = f"{LETTERS}/{old}/replay"
    assert_problem(await query.post(path, json=[READING]), 422, "malformed_body")
    assert_problem(await query.post(path), 409, "letter_expired")
    full = settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"backlog_entries": 1})})
    assert (await query.post(path, params={"even_expired": True})).status_code == 200
    fresh = await written(stream)
    async with asking(full) as client:
        refused = await client.post(f"{LETTERS}/{fresh}/replay")
    assert_problem(refused, 429, "backlog_full")
    assert 10 <= int(refused.headers["retry-after"]) <= 12
    await stream.client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        unfit = assert_problem(await query.post(f"{LETTERS}/{fresh}/replay"), 503, "stream_unavailable")
    finally:
        await stream.client.config_set("maxmemory-policy", "noeviction")
    assert "noeviction" in unfit["detail"]
    assert len(await raw_entries(stream)) == 1
    assert (await query.post(f"{LETTERS}/{fresh}/replay")).status_code == 200


async def test_changing_needs_admin_beside_query(settings: Settings, stream: Stream, doors: Doors) -> None:
    asks, keeps, both = doors.add("asks", "query"), doors.add("keeps", "admin"), doors.add("both", "query", "admin")
    letter_id = await written(stream)
    ways = (("POST", f"{LETTERS}/{letter_id}/replay"), ("DELETE", f"{LETTERS}/{letter_id}"))
    async with asking(doors.guarding(settings), ready=False) as client:
        for key, seen in ((asks, 200), (keeps, 403)):
            assert (await client.get(LETTERS, headers=key)).status_code == seen
            for method, path in ways:
                assert_problem(await client.request(method, path, headers=key), 403, "forbidden")
        assert_problem(await client.get(LETTERS), 401, "no_key")
        assert [(await client.request(*way, headers=both)).status_code for way in ways] == [200, 404]
