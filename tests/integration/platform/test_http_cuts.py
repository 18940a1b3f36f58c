"""Requests cut anywhere, with upgrades that nobody takes: the same answers as to the whole, and the same batches."""

import json
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from services.ingest.app import create_app
from services.platform.http.serving import serving
from services.platform.settings import Settings
from services.platform.stream import Stream
from tests.support import eventually
from tests.support.http import Answer, converse
from tests.support.ingest import BODY, entries

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
WEBSOCKET = b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
LAST = b"GET http://h/readyz HTTP/1.1\r\nHost: h\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n"
SMUGGLED = b"DELETE /healthz HTTP/1.1\r\nHost: h\r\n\r\n"


def sized(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def chunked(body: bytes) -> bytes:
    return b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n1;a=b\r\n%s\r\n0\r\nX: y\r\n\r\n" % (
        len(body) - 1,
        body[:-1],
        body[-1:],
    )


def post(fields: bytes, framed: bytes) -> bytes:
    return b"POST /ingest HTTP/1.1\r\nHost: h\r\n%s%s" % (fields, framed)


REFUSED = b"".join(
    [
        post(H2C, sized(b"[{}]")),
        post(WEBSOCKET, chunked(b"[{},{}]")),
        b"HEAD /healthz HTTP/1.1\r\nHost: h\r\n%s\r\n" % WEBSOCKET,
        post(H2C, sized(SMUGGLED)),
        post(b"Connection: Upgrade\r\nUpgrade: TLS/1.0, other/2\r\nUpgrade: h2c\r\n", sized(b"[{},{},{}]")),
        post(b"Upgrade: h2c\r\n", sized(b"[{},{},{},{}]")),
        LAST,
    ]
)
"""Requests on one connection, whose answers tell what was read as their bodies."""
METHODS = ["POST", "POST", "HEAD"]

STORED = b"".join(
    post(b"Idempotency-Key: cut-%d\r\n%s" % (number, fields), framed(BODY))
    for number, (fields, framed) in enumerate([(H2C, sized), (WEBSOCKET, chunked), (b"", chunked)])
)

BROKEN = (
    b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n" + post(H2C, chunked(BODY).replace(b"\r\n1;", b"\r\nxyz;")) + SMUGGLED
)
"""A request whose body cannot be read to its end."""


@pytest.fixture
async def port(timescaledb_settings: Settings) -> AsyncIterator[int]:
    """The port of an ingest that lives in this event loop, so that what is sent is read before the next is."""
    port = timescaledb_settings.ingest.port
    app = create_app(timescaledb_settings)
    async with serving(app, "127.0.0.1", port, "MILLRACE_INGEST_PORT", direct=app.state.direct):

        async def ready() -> bool:
            request = b"GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
            return (await converse(port, request))[0].status == 200

        await eventually(ready)
        yield port


def told(found: Sequence[Answer]) -> list[object]:
    return [answer.told() for answer in found]


async def test_requests_are_answered_alike_wherever_they_are_cut(port: int) -> None:
    whole = await converse(port, REFUSED, methods=METHODS)
    assert [answer.status for answer in whole] == [422, 422, 200, 422, 422, 422, 200]
    assert [json.loads(whole[number].body).get("rejected") for number in (0, 1, 3, 4, 5)] == [1, 2, None, 3, 4]
    for at in range(1, len(REFUSED)):
        cut = await converse(port, REFUSED[:at], REFUSED[at:], methods=METHODS)
        assert told(cut) == told(whole), f"cut behind {REFUSED[:at][-30:]!r}"
    apart = await converse(port, *[REFUSED[at : at + 1] for at in range(len(REFUSED))], methods=METHODS)
    assert told(apart) == told(whole)
    # What stands behind the request that closes the connection is no request.
    assert told(await converse(port, REFUSED + SMUGGLED, methods=METHODS)) == told(whole)


async def test_a_body_that_cannot_be_read_is_refused_alike_wherever_it_is_cut(port: int) -> None:
    end = BROKEN.index(b"xyz") + 1
    for at in range(1, end):
        healthy, refused = await converse(port, BROKEN[:at], BROKEN[at:])
        assert (healthy.status, refused.status, refused.headers["connection"]) == (200, 400, "close"), BROKEN[:at]


@given(cuts=st.lists(st.integers(1, len(STORED) - 1), max_size=12, unique=True).map(sorted))
@examples(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_readings_are_taken_from_however_many_pieces(port: int, stream: Stream, cuts: list[int]) -> None:
    pieces = [STORED[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(STORED)], strict=True)]
    taken = await converse(port, *pieces, LAST)
    assert [answer.status for answer in taken] == [200] * 4
    batches = [batch for entry in await entries(stream) for batch in entry.batches]
    assert {str(batch.batch_id) for batch in batches} == {json.loads(answer.body)["batch_id"] for answer in taken[:3]}
    assert {batch.rows for batch in batches} == {1}
