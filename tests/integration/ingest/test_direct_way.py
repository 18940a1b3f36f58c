"""The direct way in answers as the application does, however requests are cut, and takes the same readings.

Two ingests stand beside each other in this event loop: one with the direct way, and one that was not given it.
"""

import asyncio
import contextlib
import gzip
import json
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from services.contract import StreamNames
from services.ingest.app import create_app
from services.platform.http.middleware import with_cors_and_prefix
from services.platform.http.serving import serving
from services.platform.settings import Settings
from services.platform.stream import Stream, redis_client
from tests.support import eventually, free_port
from tests.support.doors import Doors
from tests.support.http import answers, converse, exchange
from tests.support.ingest import BODY, entries

PLAIN = b"POST /ingest HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
_DATE = re.compile(rb"date: [^\r]*\r\n")
_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TAKEN = b'"accepted":1,'
LAST = b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


def sized(head: bytes, body: bytes) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@dataclass
class Way:
    """An ingest on a port, its stream, and the requests that came to its application."""

    port: int
    stream: Stream
    calls: Counter[str]

    async def readings(self) -> Counter[tuple[str, float]]:
        """Return how often which reading stands in the stream."""
        return Counter(
            (entry.columns.sensor_ids[code], value)
            for entry in await entries(self.stream)
            for code, value in zip(entry.columns.index.tolist(), entry.columns.values.tolist(), strict=True)
        )


@contextlib.asynccontextmanager
async def running(settings: Settings, name: str, *, direct: bool, grace: float = 1.0) -> AsyncIterator[Way]:
    """Run an ingest with a stream of that name."""
    redis = settings.redis.model_copy(update={"stream": f"{settings.redis.stream}_{name}"})
    port = free_port()
    app = create_app(settings.model_copy(update={"redis": redis}))
    whole = with_cors_and_prefix(app, settings.http, settings.ingest.root_path)
    calls: Counter[str] = Counter()

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            calls[scope["path"]] += 1
        await whole(scope, receive, send)

    stream = Stream(redis_client(redis), StreamNames(redis.stream))
    taken_by = app.state.direct if direct else None
    async with (
        contextlib.aclosing(stream.client),
        serving(counting, "127.0.0.1", port, "MILLRACE_INGEST_PORT", grace, direct=taken_by),
    ):

        async def ready() -> bool:
            request = b"GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
            return (await converse(port, request))[0].status == 200

        await eventually(ready)
        calls.clear()
        yield Way(port, stream, calls)


@pytest.fixture
async def way(timescaledb_settings: Settings) -> AsyncIterator[Way]:
    """The direct way alone."""
    async with running(timescaledb_settings, "d", direct=True) as found:
        yield found


@dataclass
class Pair:
    """Both ways, and a key of a caller that may send, and one of one that may not."""

    direct: Way
    asgi: Way
    good: bytes
    idle: bytes


@pytest.fixture
async def pair(timescaledb_settings: Settings, doors: Doors) -> AsyncIterator[Pair]:
    good = doors.add("ann", "ingest")["Authorization"].encode()
    idle = doors.add("bob", "query")["Authorization"].encode()
    small = {"max_body_bytes": 4000, "max_decoded_bytes": 8000, "max_rows": 5, "body_timeout": 20.0, "root_path": "/in"}
    ingest = timescaledb_settings.ingest.model_copy(update=small)
    settings = doors.guarding(timescaledb_settings).model_copy(update={"ingest": ingest})
    async with running(settings, "d", direct=True) as direct, running(settings, "a", direct=False) as asgi:
        yield Pair(direct, asgi, good, idle)


def reading(number: int, **changed: object) -> dict[str, object]:
    return {"sensor_id": f"s-{number % 3}", "timestamp": "2025-10-22T21:00:00Z", "value": number, **changed}


JSON_BODIES = [
    *(json.dumps([reading(number) for number in range(rows)]).encode() for rows in (1, 3, 6)),
    json.dumps(reading(7)).encode(),
    json.dumps([reading(1), reading(2, value="x")]).encode(),
    json.dumps([reading(1, timestamp="2025-10-22T21:00:00")]).encode(),
    json.dumps([reading(1, sensor_id="")]).encode(),
    b'[{"name": "t", "labels": {"room": "k"}, "timestamp": "2025-10-22T21:00:00Z", "value": 1}]',
    b"[{},{}]",
    b"[]",
    b"",
    b"{",
    b"\xff",
    b" " * 4001,
    BODY + b" " * 3900,
]
LINE_BODIES = [
    b"m,a=b f=1 1761166800000000000\n",
    b"m f=1,g=2\n",
    b"m f=1 1\nm f=\n",
    b"",
    b"# nothing\n",
    b'm f="text"\n',
]
OTHER_BODIES = [b'{"resourceMetrics": []}', b'{"deduplicationId": "x"}', b"nonsense"]
TARGETS = {
    **dict.fromkeys(
        (
            b"/ingest",
            b"/ingest?ack=queued",
            b"/ingest?partial=true",
            b"/ingest?dedup=reading",
            b"/ingest?dedup=natural",
            b"/ingest?partial=perhaps",
            b"/ingest#part",
            b"/%69ngest",
            b"/in/ingest",
            b"http://h:80/ingest",
            b"/ingest/",
            b"/nowhere",
            b"*",
        ),
        JSON_BODIES,
    ),
    **dict.fromkeys(
        (
            b"/write?db=d",
            b"/write?db=d&precision=fortnight",
            b"/api/v2/write?bucket=b&precision=ns",
            b"/api/v3/write_lp?db=d&accept_partial=false",
            b"/write?p=%zz",
        ),
        LINE_BODIES,
    ),
    **dict.fromkeys((b"/v1/metrics", b"/webhooks/ttn", b"/api/v1/write"), OTHER_BODIES),
}
FIELDS = [
    b"Content-Type: application/json\r\n",
    b"Content-Type: text/plain; charset=utf-8\r\n",
    b"Content-Type: application/vnd.apache.parquet\r\n",
    b"Accept: application/problem+json\r\n",
    b"Idempotency-Key: one\r\n",
    b"Idempotency-Key: two\r\n",
    b"Idempotency-Key: %s\r\n" % (b"x" * 300),
    b"Content-Encoding: identity\r\n",
    b"Content-Encoding: br\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Upgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"Expect: more\r\n",
    b"Origin: https://app.example.com\r\n",
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n",
    b"X-Large: %s\r\n" % (b"x" * 3000),
    b"X-Too-Large: %s\r\n" % (b"x" * 70_000),
    b"Host: g\r\n",
    b"Broken\r\n",
]


@dataclass(frozen=True)
class Made:
    """A request to be built, once it is known whose keys are good."""

    method: bytes
    target: bytes
    version: bytes
    fields: tuple[bytes, ...]
    key: str
    body: bytes
    framing: str

    def built(self, pair: Pair) -> bytes:
        """Return its bytes."""
        keys = {"good": pair.good, "idle": pair.idle, "wrong": b"Bearer millrace_00000000_x", "basic": b"Basic Og=="}
        shown = b"".join(b"Authorization: %s\r\n" % keys[part] for part in self.key.split(" and ") if part in keys)
        head = b"%s %s HTTP/%s\r\nHost: h\r\n%s%s" % (
            self.method,
            self.target,
            self.version,
            shown,
            b"".join(self.fields),
        )
        body = self.body
        if b"Content-Encoding: gzip\r\n" in self.fields and body != b"nonsense":
            body = gzip.compress(body, mtime=0)
        if self.framing == "chunked":
            chunks = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
            return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        if self.framing == "short":
            return head + b"Content-Length: %d\r\n\r\n" % max(0, len(body) - 3) + body
        return sized(head, body) if self.framing == "sized" else head + b"\r\n"


def weighted(usual: object, *others: object) -> st.SearchStrategy[object]:
    """Draw what is usual in half of all cases."""
    return st.one_of(st.just(usual), st.sampled_from(others))


@st.composite
def requests(draw: st.DrawFn) -> Made:
    target = draw(st.one_of(st.just(b"/ingest"), st.sampled_from(sorted(TARGETS))))
    return Made(
        draw(weighted(b"POST", b"POST", b"PUT", b"GET", b"HEAD", b"OPTIONS", b"FETCH")),  # type: ignore[arg-type]
        target,
        draw(weighted(b"1.1", b"1.1", b"1.1", b"1.0")),  # type: ignore[arg-type]
        tuple(draw(st.one_of(st.just([]), st.lists(st.sampled_from(FIELDS), max_size=3, unique=True)))),
        str(draw(weighted("good", "none", "wrong", "idle", "basic", "good and good"))),
        draw(st.sampled_from(TARGETS[target])),
        str(draw(weighted("sized", "sized", "chunked", "short", "none"))),
    )


CONVERSATIONS = st.lists(requests(), min_size=1, max_size=5)
CUTS = st.lists(st.floats(0, 1, exclude_min=True, exclude_max=True), max_size=8)


def pieces(whole: bytes, cuts: Sequence[float]) -> list[bytes]:
    """Return `whole`, cut at shares of its length."""
    edges = sorted({0, len(whole), *(int(cut * len(whole)) for cut in cuts)})
    return [whole[begin:end] for begin, end in pairwise(edges)]


def told(raw: bytes) -> bytes:
    """Return what the same requests are told each time: all but dates and ids of batches."""
    return _ID.sub(b"some", _DATE.sub(b"", raw))


async def heard(way: Way, sent: Sequence[bytes]) -> bytes:
    """Return what is told in answer, or that the connection was reset."""
    try:
        return told(await exchange(way.port, *sent))
    except ConnectionError:
        return b"reset"


@given(conversation=CONVERSATIONS, cuts=CUTS)
@examples(
    max_examples=150,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_both_ways_answer_alike_and_take_the_same(
    pair: Pair, conversation: list[Made], cuts: list[float]
) -> None:
    for way in (pair.direct, pair.asgi):
        await way.stream.client.delete(way.stream.names.stream)
    sent = pieces(b"".join(made.built(pair) for made in conversation) + LAST, cuts)
    direct, asgi = await heard(pair.direct, sent), await heard(pair.asgi, sent)
    if b"reset" in (direct, asgi):
        # Where a server closes while there is more to read, the reset may overtake its answer.
        return
    assert direct == asgi
    assert await pair.direct.readings() == await pair.asgi.readings()


async def test_what_is_plain_does_not_come_to_the_application(way: Way) -> None:
    bodies = [json.dumps([reading(number)]).encode() for number in range(20)]
    lines = sized(b"POST /api/v2/write?bucket=b HTTP/1.1\r\nHost: h\r\n", LINE_BODIES[0])
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
