"""The direct way in: what comes by it, in which order it answers, and what it does with whoever is gone or slow."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from services.platform.settings import Settings
from tests.support import eventually
from tests.support.direct import LAST, PLAIN, Way, reading, running, sized
from tests.support.doors import Doors
from tests.support.http import answers, converse
from tests.support.ingest import BODY

LINE = b"m,a=b f=1 1761166800000000000\n"
_TAKEN = b'"accepted":1,'


@pytest.fixture
async def way(timescaledb_settings: Settings) -> AsyncIterator[Way]:
    """The direct way alone."""
    async with running(timescaledb_settings, "d", direct=True) as found:
        yield found


async def test_what_is_plain_does_not_come_to_the_application(way: Way) -> None:
    bodies = [json.dumps([reading(number)]).encode() for number in range(20)]
    lines = sized(b"POST /api/v2/write?bucket=b HTTP/1.1\r\nHost: h\r\n", LINE)
    reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
    for request in [*(sized(PLAIN, body) for body in bodies), lines, lines]:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.split(b" ")[1] in {b"200", b"204"}
        if b"content-length: " in head:
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
    writer.close()
    # A hundredth is traced, and does.
    assert sum(way.calls.values()) <= 5
    assert sum((await way.readings()).values()) == 22


async def test_a_hundred_requests_in_one_piece_are_answered_in_their_order(way: Way) -> None:
    sent = b"".join(sized(PLAIN, json.dumps([reading(1)] * (1 + number % 7)).encode()) for number in range(100))
    found = await converse(way.port, sent + LAST)
    assert [json.loads(answer.body)["accepted"] for answer in found[:-1]] == [1 + number % 7 for number in range(100)]
    assert len({json.loads(answer.body)["batch_id"] for answer in found[:-1]}) == 100


async def test_what_cannot_be_read_is_refused_behind_the_answer_to_what_came_before(way: Way) -> None:
    found = await converse(way.port, sized(PLAIN, BODY) + b"GET /healthz HTTP/1.1\r\n\r\n" + LAST)
    assert [answer.status for answer in found] == [200, 400]


async def test_who_goes_away_before_the_answer_has_its_readings_taken_once(way: Way) -> None:
    for number in range(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
        writer.write(sized(PLAIN, json.dumps([reading(number)]).encode()))
        await writer.drain()
        writer.transport.abort()
        del reader

    async def taken() -> bool:
        return sum((await way.readings()).values()) == 20

    await eventually(taken)
    [answer] = await converse(way.port, sized(PLAIN + b"Connection: close\r\n", BODY))
    assert answer.status == 200


async def test_who_does_not_read_its_answers_is_read_no_further(way: Way) -> None:
    loop = asyncio.get_running_loop()
    head = PLAIN.replace(b"/ingest", b"/ingest?partial=true")
    # Each answer is some 15 kB, and all of them more than the buffers of a connection hold.
    request, count = sized(head, b"[" + json.dumps(reading(1)).encode() + b",{}" * 100 + b"]"), 800
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        await loop.sock_connect(slow, ("127.0.0.1", way.port))
        sending = asyncio.create_task(loop.sock_sendall(slow, request * count))
        seen = 0

        async def stuck() -> bool:
            nonlocal seen
            before, seen = seen, int(await way.stream.client.xlen(way.stream.names.stream))
            return before == seen > 0

        await eventually(stuck, 30.0, interval=0.5)
        assert seen < count
        # Others are answered meanwhile, and who is slow gets all its answers once it reads.
        [answer] = await converse(way.port, sized(PLAIN + b"Connection: close\r\n", BODY))
        assert answer.status == 200
        told, rest = 0, b""
        while told < count:
            found = rest + await asyncio.wait_for(loop.sock_recv(slow, 1 << 20), 30)
            assert len(found) > len(rest), f"closed behind {told} answers"
            told += found.count(_TAKEN)
            rest = found[-len(_TAKEN) + 1 :]
        await sending


async def test_what_is_under_way_is_answered_before_the_end(timescaledb_settings: Settings) -> None:
    async with running(timescaledb_settings, "d", direct=True) as way:
        connections = [await asyncio.open_connection("127.0.0.1", way.port) for _ in range(30)]
        for _, writer in connections:
            writer.write(sized(PLAIN, BODY))
        # They are read in one turn, and the end begins in the next.
        await asyncio.sleep(0.01)
    for reader, writer in connections:
        raw = await reader.read()
        assert [answer.status for answer in answers(raw)] == [200]
        writer.close()


async def test_overload_and_rates_refuse_as_ever(timescaledb_settings: Settings, doors: Doors) -> None:
    key = b"Authorization: %s\r\n" % doors.add("ann", "ingest", requests_per_second=2.0)["Authorization"].encode()
    guarded = doors.guarding(timescaledb_settings)
    async with running(guarded, "r", direct=True) as way:
        found = await converse(way.port, sized(PLAIN + key, BODY) * 9 + LAST)
        assert Counter(answer.status for answer in found[:-1]) == {200: 5, 429: 4}
        assert json.loads(found[-2].body)["code"] == "rate_limited"
        assert sum((await way.readings()).values()) == 5
    tight = timescaledb_settings.ingest.model_copy(update={"max_bytes_under_way": 100})
    async with running(timescaledb_settings.model_copy(update={"ingest": tight}), "o", direct=True) as way:
        [refused] = await converse(way.port, sized(PLAIN, BODY + b" " * 30))
        assert (refused.status, json.loads(refused.body)["code"]) == (503, "overloaded")
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
    full = timescaledb_settings.ingest.model_copy(update={"backlog_entries": 3})
    async with running(timescaledb_settings.model_copy(update={"ingest": full}), "f", direct=True) as way:

        async def refused_at_last() -> bool:
            [answer, _] = await converse(way.port, sized(PLAIN, BODY) + LAST)
            return answer.status == 429 and json.loads(answer.body)["code"] == "backlog_full"

        await eventually(refused_at_last)
