"""The direct way in answers as the application does, however requests are cut, and takes the same readings.

Two ingests stand beside each other in this event loop: one with the direct way, and one that was not given it.
"""

import asyncio
import contextlib
import gzip
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from services.platform.settings import Settings
from tests.support.direct import LAST, Way, reading, running, sized
from tests.support.doors import Doors
from tests.support.http import exchange
from tests.support.ingest import BODY

_DATE = re.compile(rb"date: [^\r]*\r\n")
_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


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


async def heard_in_turn(way: Way, sent: Sequence[bytes]) -> bytes:
    """Return what is told in answer to pieces of which each is sent when the one before has had its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
    found = b""
    try:
        for piece in sent:
            writer.write(piece)
            with contextlib.suppress(TimeoutError):
                found += await asyncio.wait_for(reader.read(1 << 20), 0.1)
            if b"connection: close\r\n" in found:
                break
        return told(found + await asyncio.wait_for(reader.read(), 30.0))
    except ConnectionError:
        return b"reset"
    finally:
        writer.close()


@given(conversation=CONVERSATIONS, cut=st.floats(0, 1), joined=st.booleans())
@examples(
    max_examples=100,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_both_ways_answer_alike_once_they_know_the_heads(
    pair: Pair, conversation: list[Made], cut: float, *, joined: bool
) -> None:
    whole = [made.built(pair) for made in conversation]
    for request in whole:
        await heard(pair.direct, [request, LAST])
    for way in (pair.direct, pair.asgi):
        await way.stream.client.delete(way.stream.names.stream)
    sent = [*whole, *([b"".join(whole[:2])] if joined else []), *pieces(whole[0], [cut]), LAST]
    direct, asgi = await heard_in_turn(pair.direct, sent), await heard_in_turn(pair.asgi, sent)
    if b"reset" in (direct, asgi):
        return
    assert direct == asgi
    assert await pair.direct.readings() == await pair.asgi.readings()


@pytest.mark.parametrize("field", [b"", *FIELDS])
async def test_a_head_that_comes_again_is_answered_alike_whatever_it_has(pair: Pair, field: bytes) -> None:
    head = b"POST /ingest HTTP/1.1\r\nHost: h\r\nAuthorization: %s\r\n%s" % (pair.good, field)
    sent = [sized(head, BODY)] * 3 + [LAST]
    for _ in range(2):
        assert await heard_in_turn(pair.direct, sent) == await heard_in_turn(pair.asgi, sent)
    assert await pair.direct.readings() == await pair.asgi.readings()


@pytest.mark.parametrize("sort", ["body", "body and more", "header"])
async def test_what_looks_like_a_known_request_may_be_part_of_another(pair: Pair, sort: str) -> None:
    """Also of one that has been refused by then."""
    key = b"Authorization: %s\r\n" % pair.good
    request = sized(b"POST /ingest HTTP/1.1\r\nHost: h\r\n" + key, BODY)
    await heard_in_turn(pair.direct, [request, request, LAST])
    for way in (pair.direct, pair.asgi):
        await way.stream.client.delete(way.stream.names.stream)
    refused = b"POST /ingest HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
    sent = {
        "body": [refused % len(request), request],
        "body and more": [refused % (len(request) + 1), request, b"x"],
        "header": [b"POST /ingest HTTP/1.1\r\nX-Note: ", request],
    }[sort]
    direct, asgi = await heard_in_turn(pair.direct, [*sent, LAST]), await heard_in_turn(pair.asgi, [*sent, LAST])
    assert direct == asgi
    assert direct.startswith(b"HTTP/1.1 200" if sort == "header" else b"HTTP/1.1 401")
    assert await pair.direct.readings() == await pair.asgi.readings()
