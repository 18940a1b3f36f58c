"""Dead letters on the port of questions: whoever may ask sees them, who has `admin` replays and deletes them."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from services.contract import DeadLetter, StreamNames, encode, encode_letter
from services.local.valkey import ValkeyServer
from services.platform.settings import DatabaseSettings, QuerySettings, RedisSettings, Settings
from services.platform.stream import Stream, redis_client
from tests.support import eventually, free_port
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
    assert len(await raw_entries(stream)) == 1
    assert (await query.post(f"{LETTERS}/{fresh}/replay")).status_code == 200


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Stream]:
    """A stream on a server of its own, which may be set otherwise: others rely on the session's."""
    server = ValkeyServer(tmp_path / "valkey", free_port(), "word", 64 * 1024 * 1024)
    await server.start()
    found = Stream(redis_client(RedisSettings(url=SecretStr(server.url))), StreamNames())
    try:
        yield found
    finally:
        await found.client.aclose()
        await server.stop()


async def test_a_replay_is_refused_by_a_server_that_must_not_be_given_more(own: Stream) -> None:
    nowhere = DatabaseSettings(reader_url=SecretStr(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"))
    port = own.client.connection_pool.connection_kwargs["port"]
    redis = RedisSettings(url=SecretStr(f"redis://:word@127.0.0.1:{port}/0"))
    path = f"{LETTERS}/{await written(own)}/replay"
    settings = Settings(redis=redis, database=nowhere, query=QuerySettings(host="127.0.0.1"))
    async with asking(settings, ready=False) as client:
        for name, value, status, code, told in (
            ("maxmemory-policy", "allkeys-lru", 503, "stream_unavailable", "noeviction"),
            ("maxmemory", "1", 429, "backlog_full", "nearly out of memory"),
            ("min-replicas-to-write", "1", 503, "stream_full", "NOREPLICAS"),
        ):
            before: Any = (await own.client.config_get(name))[name]
            await own.client.config_set(name, value)
            assert told in assert_problem(await client.post(path), status, code)["detail"]
            await own.client.config_set(name, before)
        assert (await client.post(path)).status_code == 200


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


@pytest.mark.parametrize(
    ("host", "status"), [("0.0.0.0", 403), ("::", 403), ("query", 403), ("localhost", 404), ("::1", 404)]
)
async def test_without_keys_letters_are_changed_where_this_machine_alone_may_ask(
    settings: Settings, host: str, status: int
) -> None:
    query = settings.query.model_copy(update={"host": host})
    async with asking(settings.model_copy(update={"query": query}), ready=False) as client:
        assert (await client.get("/status")).json()["admin"] is (status == 404)
        for method, path in (("POST", f"{LETTERS}/1-1/replay"), ("DELETE", f"{LETTERS}/1-1")):
            answer = await client.request(method, path)
            assert answer.status_code == status
            assert status == 404 or "MILLRACE_AUTH_KEYS_FILE" in answer.json()["detail"]
        assert (await client.get(LETTERS)).status_code == 200
