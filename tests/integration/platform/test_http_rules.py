"""What RFC 9110 and 9112 demand of a server, over raw connections to real processes."""

import asyncio
import json
import socket

import asyncpg
import pytest

from tests.integration.conftest import BIG, HttpStack
from tests.support import eventually
from tests.support.http import answers, converse, exchange
from tests.support.ingest import BODY

LAST = b"Host: h\r\nConnection: close\r\n\r\n"
SIZED = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(BODY)
CHUNKED = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
CHUNKS = b"%x;name=value\r\n%s\r\n%x\r\n%s\r\n0\r\n" % (9, BODY[:9], len(BODY) - 9, BODY[9:])
ALL = b"?sensor_id=big&start=2025-10-22T21:00:00Z&end=2026-10-22T21:00:00Z"
ONE = b"?sensor_id=big&start=2025-10-22T21:00:01Z&end=2025-10-22T21:00:02Z"
ASKED = {
    **dict.fromkeys(("/get_range", "/min", "/series"), ONE),
    **dict.fromkeys(("/hourly", "/latest"), b"?sensor_id=big"),
}
"""What a path needs to answer with 200."""

ONE_ROW = {"id": 1, "timestamp": "2025-10-22T21:00:01Z", "sensor_id": "big", "value": 0.25}

REFUSED = {
    "no Host in HTTP/1.1": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /healthz HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
    "two Hosts in HTTP/1.0": b"GET /healthz HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n",
    "a Host with a path": b"GET /healthz HTTP/1.1\r\nHost: h/p\r\n\r\n",
    "a Host with a space": b"GET /healthz HTTP/1.1\r\nHost: h g\r\n\r\n",
    "two lengths": b"POST /ingest HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "a list of lengths": b"POST /ingest HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 6\r\n\r\n",
    "a signed length": b"POST /ingest HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\n",
    "an endless length": b"POST /ingest HTTP/1.1\r\nHost: h\r\nContent-Length: %s\r\n\r\n" % (b"9" * 30),
    "length and coding": b"POST /ingest HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "coding and length": b"POST /ingest HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    "an unknown coding": b"POST /ingest HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding that is not the last": b"POST /ingest HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
    "two codings": b"POST /ingest HTTP/1.1\r\nHost: h\r\n%s\r\n" % (b"Transfer-Encoding: chunked\r\n" * 2),
    "a coding in HTTP/1.0": b"POST /ingest HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk without its size": b"POST /ingest HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "a folded field": b"GET /healthz HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
    "a space before the colon": b"GET /healthz HTTP/1.1\r\nHost : h\r\n\r\n",
    "a space before the first field": b"GET /healthz HTTP/1.1\r\n Host: h\r\n\r\n",
    "a field without a colon": b"GET /healthz HTTP/1.1\r\nHost: h\r\nX\r\n\r\n",
    "a lone CR": b"GET /healthz HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
    "a NUL": b"GET /healthz HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/2.0": b"GET /healthz HTTP/2.0\r\nHost: h\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown method": b"FETCH /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
    "a method in small letters": b"get /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
    "an asterisk with GET": b"GET * HTTP/1.1\r\nHost: h\r\n\r\n",
    "a target without a path": b"GET healthz HTTP/1.1\r\nHost: h\r\n\r\n",
    "an URL of no host": b"GET http:///healthz HTTP/1.1\r\nHost: h\r\n\r\n",
    "an URL of another scheme": b"GET ftp://h/healthz HTTP/1.1\r\nHost: h\r\n\r\n",
    "a target that is not ASCII": b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n",
}
"""Requests that a server must refuse with 400, or may; what follows them is never read as a request."""

TAKEN = {
    "an URL": (b"GET http://elsewhere:81/healthz HTTP/1.1\r\n" + LAST, 200),
    "an URL that asks for TLS": (b"GET HTTPS://elsewhere/healthz HTTP/1.1\r\n" + LAST, 421),
    "an URL without a path": (b"GET http://elsewhere HTTP/1.1\r\n" + LAST, 404),
    "a Host without a name": (b"GET /healthz HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", 200),
    "a Host of IPv6": (b"GET /healthz HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n", 200),
    "HTTP/1.0 without a Host": (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
    "HTTP/1.0 that would stay": (b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200),
    "empty lines before the request": (b"\r\n\r\nGET /healthz HTTP/1.1\r\n" + LAST, 200),
    "a path of rubbish": (b"GET /%zz%00%ff%c3(%2e%2e/ HTTP/1.1\r\n" + LAST, 422),
    "two slashes": (b"GET //elsewhere/healthz HTTP/1.1\r\n" + LAST, 404),
    "OPTIONS of the server": (b"OPTIONS * HTTP/1.1\r\n" + LAST, 204),
    "OPTIONS of a path": (b"OPTIONS /healthz HTTP/1.1\r\n" + LAST, 405),
    "TRACE": (b"TRACE /healthz HTTP/1.1\r\n" + LAST, 405),
    "CONNECT": (b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere:443\r\n\r\n\x16\x03\x01", 405),
    "a body that nobody asked for": (b"GET /healthz HTTP/1.1\r\nContent-Length: 3\r\n" + LAST + b"abc", 200),
    "an expectation that nobody knows": (b"GET /healthz HTTP/1.1\r\nExpect: more\r\n" + LAST, 200),
    "a request behind the last": (
        b"GET /healthz HTTP/1.1\r\n" + LAST + b"GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n",
        200,
    ),
    "a long target": (b"GET /%s HTTP/1.1\r\n" % (b"x" * 60_000) + LAST, 404),
    "a target that is too long": (b"GET /%s HTTP/1.1\r\n" % (b"x" * 70_000) + LAST, 414),
    "headers that are too large": (b"GET /healthz HTTP/1.1\r\nX: %s\r\n" % (b"x" * 70_000) + LAST, 431),
}
"""Requests with the status of their one answer."""

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


@pytest.mark.parametrize("name", REFUSED)
async def test_what_breaks_a_rule_is_refused_and_nothing_behind_it_is_read(http_stack: HttpStack, name: str) -> None:
    port = http_stack.settings.ingest.port
    behind = b"GET /readyz HTTP/1.1\r\n" + LAST
    [refused] = await converse(port, REFUSED[name] + behind)
    assert (refused.status, json.loads(refused.body)["code"]) == (400, "bad_request")
    assert (refused.headers["content-type"], refused.headers["connection"]) == ("application/problem+json", "close")
    before = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"
    assert [answer.status for answer in await converse(port, before + REFUSED[name] + behind)] == [200, 400]


@pytest.mark.parametrize("name", TAKEN)
async def test_what_a_server_must_understand_is_answered(http_stack: HttpStack, name: str) -> None:
    request, status = TAKEN[name]
    [answer] = await converse(http_stack.settings.ingest.port, request)
    assert (answer.status, answer.interim, answer.headers.get("connection")) == (status, 0, "close")
    assert ("allow" in answer.headers) == (status == 405)
    if status >= 400:
        assert json.loads(answer.body)["status"] == status


async def test_trailers_and_fields_of_chunks_are_no_headers(http_stack: HttpStack) -> None:
    port = http_stack.settings.ingest.port
    trailers = b"Idempotency-Key: %s\r\nContent-Encoding: gzip\r\nHost: g\r\n\r\n" % (b"x" * 300)
    taken, _ = await converse(
        port,
        b"POST /ingest HTTP/1.1\r\nHost: h\r\n" + CHUNKED + b"\r\n" + CHUNKS + trailers + b"GET / HTTP/1.1\r\n" + LAST,
    )
    assert taken.status == 200
    endless = [
        b"GET /healthz HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        *[b"x" * 50_000] * 100,
    ]
    with pytest.raises((AssertionError, ConnectionError)):
        # It was answered already, so there is nothing more to say.
        await converse(port, *endless, b"\r\n\r\nGET /readyz HTTP/1.1\r\n" + LAST)


async def test_who_asks_before_sending_is_told_to_go_on_unless_it_speaks_http_1_0(http_stack: HttpStack) -> None:
    port = http_stack.settings.ingest.port
    asking = b"POST /ingest HTTP/1.1\r\nExpect: 100-continue\r\n" + SIZED + LAST
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(asking)
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(BODY)
    [taken] = answers(await reader.read())
    writer.close()
    old, body = asking.replace(b"1.1", b"1.0"), BODY
    assert (taken.status, [answer.interim for answer in await converse(port, old + body)]) == (200, [0])
    # Refused before it was told to go on, the connection closes: what comes next may be the body or a request.
    refused = asking.replace(b"application/json", b"application/xml").replace(b"Connection: close\r\n", b"")
    [answer] = await converse(port, refused)
    assert (answer.status, answer.interim, answer.headers["connection"]) == (415, 0, "close")


async def test_every_path_answers_head_as_get_and_names_its_methods(http_stack: HttpStack) -> None:
    settings = http_stack.settings
    ports = {"ingest": settings.ingest.port, "admin": settings.ingest.admin_port, "query": settings.query.port}
    seen = 0
    for name, port in ports.items():
        [document] = await converse(port, b"GET /openapi.json HTTP/1.1\r\n" + LAST)
        paths = [*json.loads(document.body)["paths"], "/openapi.json"]
        if name != "admin":
            paths += ["/docs", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/docs/favicon-32x32.png"]
        for path in paths:
            some_id = "019a0b1c-8f00-7000-8000-000000000001"
            target = path.format(batch_id=some_id, deletion_id=some_id, letter_id="1-1", name="site").encode()
            target += ASKED.get(path, b"")
            found = {}
            for method in METHODS:
                request = b"%s %s HTTP/1.1\r\n" % (method.encode(), target) + LAST
                [found[method]] = await converse(port, request, methods=[method])
            not_allowed = [method for method in METHODS if found[method].status == 405]
            allowed = [method for method in METHODS if method not in not_allowed]
            assert {found[method].headers["allow"] for method in not_allowed} == {", ".join(sorted(allowed))}
            get, head = found["GET"], found["HEAD"]
            shown = {name: value for name, value in get.headers.items() if name not in {"date", "transfer-encoding"}}
            if get.status == 200 and path != "/metrics":
                assert (head.status, {**head.headers, "date": ""}) == (200, {**shown, "date": ""})
            assert (get.status == 405) == (head.status == 405) == ("GET" not in allowed)
            seen += get.status == 200
    assert seen > 15


async def test_head_of_an_endless_answer_leaves_the_database_alone(http_stack: HttpStack) -> None:
    port = http_stack.settings.query.port
    request = b"HEAD /get_range%s HTTP/1.1\r\nHost: h\r\n\r\n" % ALL
    last = b"GET /healthz HTTP/1.1\r\n" + LAST
    *heads, healthy = await converse(port, request * 3 + last, methods=["HEAD"] * 3)
    assert [answer.status for answer in (*heads, healthy)] == [200] * 4
    watching = await asyncpg.connect(http_stack.database.superuser_url)
    try:
        assert await eventually(lambda: idle(watching))
    finally:
        await watching.close()
    [wrong] = await converse(port, b"HEAD /get_range?sensor_id=big HTTP/1.1\r\n" + LAST, methods=["HEAD"])
    assert wrong.status == 422


async def idle(watching: asyncpg.Connection) -> bool:
    """Tell whether no statement of the reader's runs."""
    return not await watching.fetch(
        "select from pg_stat_activity "
        "where datname = current_database() and usename = 'millrace_reader' and state = 'active'"
    )


async def test_http_1_0_gets_a_streamed_answer_without_chunks(http_stack: HttpStack) -> None:
    port = http_stack.settings.query.port
    [small] = await converse(port, b"GET /get_range%s HTTP/1.0\r\n\r\n" % ONE)
    assert json.loads(small.body) == {"data": [ONE_ROW]}
    assert not {"transfer-encoding", "content-length"} & small.headers.keys()
    [large] = await converse(port, b"GET /get_range%s HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" % ALL)
    assert len(json.loads(large.body)["data"]) == BIG
    [chunked] = await converse(port, b"GET /get_range%s HTTP/1.1\r\n" % ALL + LAST)
    assert (chunked.headers["transfer-encoding"], chunked.body) == ("chunked", large.body)


async def test_an_answer_to_http_1_0_that_breaks_off_ends_in_a_reset(http_stack: HttpStack) -> None:
    watching = await asyncpg.connect(http_stack.database.superuser_url)
    reader, writer = await reading_little(http_stack)
    writer.write(b"GET /get_range%s HTTP/1.0\r\n\r\n" % ALL)
    try:
        [backend] = await eventually(lambda: stalled(watching))
        await watching.execute("select pg_terminate_backend($1)", backend["pid"])
        with pytest.raises(ConnectionResetError):
            await reader.read()
    finally:
        writer.close()
        await watching.close()


async def reading_little(stack: HttpStack) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to query without room for an answer."""
    connected = socket.socket()
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connected.connect(("127.0.0.1", stack.settings.query.port))
    return await asyncio.open_connection(sock=connected, limit=1024)


async def stalled(watching: asyncpg.Connection) -> list[asyncpg.Record]:
    """Return the backends that wait until somebody reads their rows."""
    return list(
        await watching.fetch(
            "select pid from pg_stat_activity where datname = current_database() and usename = 'millrace_reader' "
            "and state = 'active' and query like 'COPY%' and wait_event = 'ClientWrite'"
        )
    )


async def test_a_client_that_leaves_with_requests_in_the_pipeline_ends_the_one_under_way(http_stack: HttpStack) -> None:
    watching = await asyncpg.connect(http_stack.database.superuser_url)
    _, writer = await reading_little(http_stack)
    behind = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n" * 2
    writer.write(b"GET /get_range%s HTTP/1.1\r\nHost: h\r\n\r\n" % ALL + behind)
    try:
        await eventually(lambda: stalled(watching))
        writer.close()
        assert await eventually(lambda: idle(watching))
    finally:
        # Where it fails, that is what can tell why.
        print(http_stack.query.log_text()[-4000:])
        await watching.close()


async def test_three_hundred_tls_hellos_are_a_line_of_log_that_says_what_they_are(http_stack: HttpStack) -> None:
    port = http_stack.settings.query.port
    for _ in range(300):
        [refused] = answers(await exchange(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(16)))
        assert refused.status == 400
    lines = [json.loads(line) for line in http_stack.query.log_text().splitlines()]
    told = [line for line in lines if line["event"] == "a request cannot be read"]
    assert 1 <= len(told) <= 3
    assert told[-1]["level"] == "info"
    assert told[-1]["peer"].startswith("127.0.0.1:")
    assert "TLS on a plain port" in {line["reason"] for line in told}
