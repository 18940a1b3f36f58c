"""Connections that are silent, slow or endless are let go, and requests under way hold no more than they may."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from services.ingest.app import create_app
from services.platform.settings import HttpSettings, Settings
from tests.support import Service, eventually
from tests.support.ingest import BODY, JSON, READING, assert_problem

Make = Callable[[str, Settings], Service]


@pytest.fixture
async def port(timescaledb_settings: Settings, service: Make) -> AsyncIterator[int]:
    """The port of an ingest that gives headers half a second."""
    settings = timescaledb_settings.model_copy(update={"http": HttpSettings(header_timeout=0.5)})
    async with service("ingest", settings):
        yield settings.ingest.port


async def answer_to(port: int, head: bytes = b"", dribble: bytes = b"") -> bytes:
    """Send a head, then a little more at each look until the server has closed, and return what it sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(reader.read())
    writer.write(head)

    def closed() -> bool:
        if not answer.done():
            writer.write(dribble)
        return answer.done()

    try:
        await eventually(closed, 20.0)
        return await answer
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_silent_connection_is_closed(port: int) -> None:
    assert await answer_to(port) == b""


async def test_headers_that_dribble_in_are_given_up(port: int) -> None:
    assert (await answer_to(port, b"POST /ingest HTTP/1.1\r\n", b"x: y\r\n")).startswith(b"HTTP/1.1 408 ")


async def test_empty_lines_keep_no_connection_open(port: int) -> None:
    assert (await answer_to(port, dribble=b"\r\n")).startswith(b"HTTP/1.1 408 ")


async def test_endless_headers_are_refused(port: int) -> None:
    answer = await answer_to(port, b"POST /ingest HTTP/1.1\r\n" + (b"x: " + b"y" * 1000 + b"\r\n") * 200)
    assert answer.startswith(b"HTTP/1.1 431 ") or answer == b""  # a reset may overtake the answer


async def test_a_body_that_dribbles_in_behind_the_answer_keeps_no_connection_open(port: int) -> None:
    head = b"POST /nowhere HTTP/1.1\r\nhost: i\r\ncontent-length: 100000\r\n\r\n"
    assert b" 404 " in await answer_to(port, head, b"x")


async def test_a_body_may_take_longer_than_headers(port: int) -> None:
    head = b"POST /ingest HTTP/1.1\r\nhost: i\r\ncontent-length: 30\r\n\r\n["
    # A byte at each look: one and a half seconds; what follows is a request that cannot be read.
    assert (await answer_to(port, head, b" ")).startswith(b"HTTP/1.1 422 ")


async def test_a_connection_that_is_used_in_time_stays_open(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    younger = asyncio.create_task(answer_to(port))

    async def used_until_the_younger_one_is_closed() -> bool:
        over = younger.done()
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: i\r\n\r\n")
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        return over

    await eventually(used_until_the_younger_one_is_closed)
    assert await younger == b""
    writer.close()


@pytest.mark.parametrize("limit", [{"max_requests": 1}, {"max_bytes_under_way": 150}])
async def test_what_is_more_than_may_be_under_way_is_refused_and_room_comes_back(
    timescaledb_settings: Settings, limit: dict[str, int]
) -> None:
    settings = timescaledb_settings
    app = create_app(settings.model_copy(update={"ingest": settings.ingest.model_copy(update=limit)}))
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://i") as client:

        async def taken() -> bool:
            return (await client.post("/ingest", json=READING)).status_code == 200

        await eventually(taken)
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield BODY
            arrived.set()
            await go_on.wait()

        first = asyncio.create_task(client.post("/ingest", content=slow(), headers=JSON))
        await arrived.wait()
        refused = await client.post("/ingest", content=BODY, headers=JSON)
        assert_problem(refused, 503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        go_on.set()
        assert (await first).status_code == 200
        # Whatever one of them kept would add up to a refusal.
        for _ in range(20):
            assert await taken()
