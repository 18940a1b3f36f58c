"""Hostile ids, parameters and headers over real connections: kept to the letter or refused, and no line of log more."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pydantic import SecretStr

from services.platform.settings import LogSettings, RedisSettings
from services.platform.stream import redis_client
from tests.conftest import ABSENT, whole
from tests.support import Service, eventually
from tests.support.bodies import ARROW, CSV, NDJSON, PARQUET, WRITERS
from tests.support.bodies import JSON as JSON_TYPE
from tests.support.ingest import BODY, JSON, READING, assert_problem
from tests.support.readings import sql
from tests.support.servers import Servers, installations

RANGE = b"sensor_id=a&start=2025-10-22T21:00:00Z&end=2025-10-22T22:00:00Z"
IDS = [
    "'; drop table sensor_data; --",
    "x' or '1'='1",
    "$1 %s {0} :name \\ \\N \\.",
    "../../etc/passwd",
    "%2e%2e%2f?a=b&c=d#e",
    "a\r\nSet-Cookie: x=1\r\n\r\n{}",
    '\n{"event": "forged", "level": "critical"}',
    "\x1b[2J\x1b]0;owned\x07",
    "\x01\x02\x08\x7f\x9b31m",
    "\u202egnp.exe\u2066\u200f\ufeff",
    "\u2028\u2029\x85",
    "<script>alert(1)</script>\"'&amp;",
    "{{7*7}} ${jndi:ldap://x/y} `id` $(id)",
    " ",
    "\t",
    "\\ud800",
    "\U0010ffff\ufffe\ufdd0",
    "e\u0301 \u00e9",
    "ᚠ" * 128,
    "\ufffd",
    "a;b=c",
    "100%",
    "%ff",
]  # fmt: skip
"""Legal, each of them: any Unicode but NUL, 128 characters."""

NOT_LEGAL = [
    b'"\\u0000"', b'"a\\u0000b"', b'"\\ud800"', b'"\\udfff\\ud800"', b'"\xff\xfe"', b'"\xed\xa0\x80"', b'"\x1b"',
    b'"a\nb"', b'"%s"' % (b"x" * 129), b'"%s"' % (b"x" * 1_000_000), b'{"a": 1}', b"null",
]  # fmt: skip

NASTY = [
    b"'; drop table sensor_data; --", b"\r\nX-Forged: 1", b"a\nX-Forged: 1", b"a\rb", b"\x1b[2J", b"a\0b",
    b"../../etc/passwd", "\u202e\u2066".encode(), b"\xff\x80", b"\xed\xa0\x80", b"x" * 20_000, b"x" * 100_000,
    b"%s%n{0}", b"<script>", "\u0661-\u0661".encode(), b"",
]  # fmt: skip
NO_TEXT = [b"%ff", b"a%ed%a0%80", b"%c0%80", b"%f5%80%80%80", b"%c3", b"100%", b"%zz", b"%4"]
"""In a URL: bytes that are no UTF-8, and a percent sign that begins no escape."""

HEADERS = [
    b"Idempotency-Key",
    b"traceparent",
    b"Content-Type",
    b"Content-Encoding",
    b"Authorization",
    b"Host",
    b"Expect",
]


@pytest.fixture(scope="module")
def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Service]]:
    """Ingest, query and a worker; in the end each line of their logs must be one event of theirs."""
    if "timescaledb" not in installations():
        pytest.skip(ABSENT["timescaledb"])
    database = servers.databases("timescaledb").create()
    settings = whole(database, RedisSettings(url=SecretStr(servers.valkey().url), stream="hostile_requests"))
    settings = settings.model_copy(update={"log": LogSettings(level="debug")})
    folder = tmp_path_factory.mktemp("hostile")
    processes = [Service(name, settings, folder / f"{name}.log") for name in ("ingest", "query", "worker")]
    for process in processes:
        process.start()
    try:
        for process in processes:
            asyncio.run(process.ready())
        yield processes
    finally:
        for process in processes:
            process.terminate()
        servers.databases("timescaledb").drop(database)
    for process in processes:
        events = [json.loads(line) for line in process.log_text().splitlines()]
        assert {event["service"] for event in events} <= {process.workload}
        assert {event["event"] for event in events if event["level"] in {"error", "critical"}} <= {"a damaged entry"}
        assert not [event for event in events if "forged" in event["event"]]


async def test_legal_ids_are_stored_and_given_back_to_the_letter(stack: list[Service]) -> None:
    ingest, query, _ = stack
    batch = [{**READING, "sensor_id": name, "value": number} for number, name in enumerate(IDS)]
    async with httpx.AsyncClient(timeout=30) as client:
        taken = await client.post(f"{ingest.url}/ingest?ack=stored", json=batch, headers={"Idempotency-Key": IDS[0]})
        assert taken.status_code == 200
        for number, name in enumerate(IDS):
            whole = {"sensor_id": name, "start": "2025-10-22T21:00:00Z", "end": "2025-10-22T22:00:00Z"}
            [row] = (await client.get(f"{query.url}/get_range", params=whole)).json()["data"]
            assert (row["sensor_id"], row["value"]) == (name, number)
            assert (await client.get(f"{query.url}/min", params=whole)).json() == {"min_value": number}
            [hour] = (await client.get(f"{query.url}/hourly", params={"sensor_id": name})).json()
            assert hour["samples"] == 1
    stored = await sql(ingest.settings.database, "select sensor_id from sensor_data order by value")
    assert [row["sensor_id"] for row in stored] == IDS


async def test_ids_that_are_not_legal_are_refused(stack: list[Service]) -> None:
    body = b'[{"sensor_id": %s, "timestamp": "2025-10-22T21:00:00Z", "value": 1}]'
    async with httpx.AsyncClient(base_url=stack[0].url, timeout=30, headers=JSON) as client:
        for name in NOT_LEGAL:
            refused = await client.post("/ingest", content=body % name)
            assert (refused.status_code, refused.json()["code"]) in {(422, "invalid_readings"), (422, "malformed_body")}
    for sensor in ["a\0b", "x" * 129, ""]:
        async with httpx.AsyncClient(base_url=stack[1].url, timeout=30) as client:
            assert_problem(await client.get("/hourly", params={"sensor_id": sensor}), 422, "invalid_parameter")


async def test_dead_letters_of_hostile_entries_are_told_whole(stack: list[Service]) -> None:
    settings = stack[0].settings
    hostile: dict[Any, Any] = {name.encode(): name.encode() for name in IDS} | {
        b"\xff\xed\xa0\x80": b"\0\xff",
        b"": b"",
    }
    async with redis_client(settings.redis) as stream:
        await stream.xadd(
            settings.redis.stream, {"v": "1", "n": "\x1b[2J\r\n", "e": b"\xff", "reason": IDS[6]} | hostile
        )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.ingest.admin_port}", timeout=30) as client:

        async def letters() -> list[dict[str, Any]]:
            return list((await client.get("/dead-letters")).json()["letters"])

        [letter] = await eventually(letters)
        assert letter["reason"] == "damaged"
        shown = (await client.get(f"/dead-letters/{letter['letter_id']}")).json()
        assert [name for name in IDS if shown.get(name) != name] == []
        readings = await client.get(f"/dead-letters/{letter['letter_id']}/readings")
        assert_problem(readings, 422, "letter_damaged")


async def test_what_is_hostile_in_paths_parameters_and_headers_is_refused_or_harmless(stack: list[Service]) -> None:
    ingest, query, _ = stack
    admin = ingest.settings.ingest.admin_port
    for nasty in NASTY:
        text = quote(nasty, safe="").encode()
        for port, method, path in [
            (ingest.settings.ingest.port, b"POST", b"/ingest?ack=" + text),
            (ingest.settings.ingest.port, b"POST", b"/ingest?" + text),
            (ingest.settings.ingest.port, b"GET", b"/batches/" + text),
            (query.settings.query.port, b"GET", b"/" + text),
            (query.settings.query.port, b"GET", b"/hourly/?sensor_id=" + text),
            (query.settings.query.port, b"GET", b"/hourly?sensor_id=a&start=" + text),
            (query.settings.query.port, b"GET", b"/hourly?sensor_id=a&" + text + b"=1"),
            (query.settings.query.port, b"GET", b"/min?sensor_id=" + text),
            (query.settings.query.port, b"GET", b"/get_range?%s&cursor=%s" % (RANGE, text)),
            (query.settings.query.port, b"GET", b"/get_range?%s&limit=%s" % (RANGE, text)),
            (admin, b"GET", b"/dead-letters/" + text),
            (admin, b"GET", b"/dead-letters?after=" + text),
            (admin, b"DELETE", b"/dead-letters?through=" + text),
        ]:
            status = await answered(port, method, path, {}, b"")
            # Nothing at all is the root, which leads to the console, and a parameter that says nothing.
            assert 400 <= status < 500 or (text == b"" and status in {200, 307}), (method, path[:80])
        for name in HEADERS:
            status = await answered(ingest.settings.ingest.port, b"POST", b"/ingest", {name: nasty}, BODY)
            harmless = name in {b"traceparent", b"Authorization", b"Host", b"Expect"}
            assert 400 <= status < 500 or (status == 200 and (harmless or well_formed(name, nasty))), (name, nasty[:40])
            status = await answered(query.settings.query.port, b"GET", b"/hourly?sensor_id=none", {name: nasty}, b"")
            assert status in {200, 400, 431}, (name, nasty[:40])
    assert await sql(ingest.settings.database, "select to_regclass('sensor_data') as there") == [("sensor_data",)]


async def test_bodies_that_are_not_what_they_say_are_refused_in_each_format(stack: list[Service]) -> None:
    port = stack[0].settings.ingest.port
    bodies = {media: write([READING]) for media, write in WRITERS.items()}
    for media in WRITERS:
        kind = {b"Content-Type": media.encode()}
        for layout in (b"rows", b"wide")[: 2 if media in {CSV, ARROW, PARQUET} else 1]:
            for body in [*NASTY, *NOT_LEGAL, *(body for other, body in bodies.items() if other != media)]:
                status = await answered(port, b"POST", b"/ingest?layout=" + layout, kind, body)
                # An object of JSON is a line of NDJSON as well.
                assert 400 <= status < 500 or (media, body) == (JSON_TYPE, bodies[NDJSON]), (media, body[:40])
        # The last value of CSV may be cut, and who reads it cannot know.
        for cut in range(0, len(bodies[media]) - len("25.3\r\n"), max(1, len(bodies[media]) // 40)):
            assert 400 <= await answered(port, b"POST", b"/ingest", kind, bodies[media][:cut]) < 500, (media, cut)
        assert await answered(port, b"POST", b"/ingest", kind, bodies[media]) == 200


async def test_what_is_no_text_in_a_url_is_refused_by_name_on_every_port(stack: list[Service]) -> None:
    ingest, query, worker = (process.settings for process in stack)
    for bad in NO_TEXT:
        for port, method, target, name in [
            (ingest.ingest.port, b"POST", b"/ingest?ack=%s", "ack"),
            (ingest.ingest.port, b"POST", b"/ingest?partial=true&ack=%s", "ack"),
            (ingest.ingest.port, b"GET", b"/batches/%s", "path"),
            (ingest.ingest.port, b"GET", b"/readyz?a=%s", "a"),
            (ingest.ingest.admin_port, b"GET", b"/dead-letters?reason=%s", "reason"),
            (ingest.ingest.admin_port, b"POST", b"/replay?reason=%s", "reason"),
            (ingest.ingest.admin_port, b"DELETE", b"/dead-letters?through=%s", "through"),
            (ingest.ingest.admin_port, b"GET", b"/dead-letters/%s", "path"),
            (query.query.port, b"GET", b"/hourly?sensor_id=%s", "sensor_id"),
            (query.query.port, b"GET", b"/min?" + RANGE.replace(b"=a", b"=%s"), "sensor_id"),
            (query.query.port, b"GET", b"/get_range?" + RANGE + b"&cursor=%s", "cursor"),
            (query.query.port, b"GET", b"/hourly?sensor_id=a&start=%s", "start"),
            (query.query.port, b"GET", b"/%s", "path"),
            (worker.worker.port, b"GET", b"/healthz?a=%s", "a"),
        ]:
            status, content = await exchanged(port, method, target % bad, {}, BODY if method == b"POST" else b"")
            assert status == 422, (target, bad)
            assert [fault["parameter"] for fault in json.loads(content)["parameters"]] == [name]
    for port in (ingest.ingest.port, ingest.ingest.admin_port, query.query.port, worker.worker.port):
        for target in (b"/readyz?a=\xff", "/readyz?a=é".encode(), b"/\xff"):
            assert await answered(port, b"GET", target, {}, b"") == 400


async def test_a_parameter_that_comes_twice_or_is_unknown_is_refused_on_every_port(stack: list[Service]) -> None:
    ingest, query = stack[0].settings.ingest, stack[1].settings.query
    for port, method, target, name in [
        (ingest.port, b"POST", b"/ingest?ack=queued&ack=queued", "ack"),
        (ingest.port, b"POST", b"/ingest?acknowledge=queued", "acknowledge"),
        (ingest.port, b"GET", b"/batches/019a0b1c-8f00-7000-8000-000000000001?a=1", "a"),
        (ingest.admin_port, b"GET", b"/dead-letters?limit=1&limit=2", "limit"),
        (ingest.admin_port, b"GET", b"/dead-letters?limits=1", "limits"),
        (ingest.admin_port, b"GET", b"/dead-letters/1-1?row=1", "row"),
        (ingest.admin_port, b"GET", b"/dead-letters/1-1/readings?rows=1", "rows"),
        (ingest.admin_port, b"POST", b"/dead-letters/1-1/replay?even_expired=true&even_expired=false", "even_expired"),
        (ingest.admin_port, b"POST", b"/replay?through=1&through=2", "through"),
        (ingest.admin_port, b"DELETE", b"/dead-letters?through=1&through=2", "through"),
        (ingest.admin_port, b"DELETE", b"/dead-letters/1-1?really=no", "really"),
        (query.port, b"GET", b"/hourly?sensor_id=a&sensor_id=b", "sensor_id"),
    ]:
        status, content = await exchanged(port, method, target, {}, BODY if target.startswith(b"/ingest") else b"")
        assert status == 422, target
        assert [fault["parameter"] for fault in json.loads(content)["parameters"]] == [name]


async def test_a_header_that_decides_and_comes_twice_is_refused_by_name(stack: list[Service]) -> None:
    port = stack[0].settings.ingest.port
    for name, value in [
        (b"Idempotency-Key", b"a\r\nIdempotency-Key: b"),
        (b"Idempotency-Key", b"a\r\nidempotency-key: a"),
        (b"Content-Encoding", b"identity\r\nContent-Encoding: gzip"),
        (b"Content-Type", b"application/json\r\nContent-Type: text/plain"),
        (b"Authorization", b"Bearer a\r\nAuthorization: Bearer b"),
        (b"Idempotency-Key", b"\xa0a\x85"),
        (b"Idempotency-Key", "é".encode()),
    ]:
        status, content = await exchanged(port, b"POST", b"/ingest", {name: value}, BODY)
        assert status == 422, (name, value)
        assert [fault["parameter"] for fault in json.loads(content)["parameters"]] == [name.decode()]
    assert await answered(port, b"POST", b"/ingest", {b"X-Any": b"a\r\nX-Any: b"}, BODY) == 200


async def test_a_reading_is_found_from_its_own_timestamp_on_however_that_is_spelt(stack: list[Service]) -> None:
    texts = [
        "2025-10-22T21:00:00Z",
        "2025-10-22 21:00:01z",
        "2025-10-22t23:00:02.5+02:00",
        "2025-10-22T21:00:03.123456789Z",
        "2025-10-22T21:00:04.999999999-00:00",
    ]
    batch = [{**READING, "sensor_id": "spelt", "timestamp": text, "value": n} for n, text in enumerate(texts)]
    async with httpx.AsyncClient(timeout=30) as client:
        taken = await client.post(f"{stack[0].url}/ingest?ack=stored", json=batch)
        assert taken.status_code == 200
        for number, (start, end) in enumerate(zip(texts, [*texts[1:], "2025-10-22T21:00:05Z"], strict=True)):
            span = {"sensor_id": "spelt", "start": start, "end": end}
            rows = (await client.get(f"{stack[1].url}/get_range", params=span)).json()["data"]
            assert [row["value"] for row in rows] == [number]
            empty = await client.get(f"{stack[1].url}/min", params={**span, "end": start})
            assert_problem(empty, 422, "invalid_parameter")


def well_formed(name: bytes, value: bytes) -> bool:
    """Tell whether a value is an ordinary one, or an end of line made it one."""
    plain = value.split(b"\r\n", 1)[0]
    return (name == b"Idempotency-Key" and 0 < len(plain) <= 255 and plain.isascii()) or not plain


async def answered(port: int, method: bytes, path: bytes, headers: dict[bytes, bytes], body: bytes) -> int:
    """Send bytes as they are and return the status."""
    return (await exchanged(port, method, path, headers, body))[0]


async def exchanged(
    port: int, method: bytes, path: bytes, headers: dict[bytes, bytes], body: bytes
) -> tuple[int, bytes]:
    """Send bytes as they are and return status and body; every refusal is a problem."""
    given = {b"Host": b"h", b"Content-Type": b"application/json", b"Content-Length": b"%d" % len(body)} | headers
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = b"".join(b"%s: %s\r\n" % pair for pair in given.items())
    with contextlib.suppress(ConnectionError):
        writer.write(b"%s %s HTTP/1.1\r\n%sConnection: close\r\n\r\n%s" % (method, path, lines, body))
        await writer.drain()
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    head, _, content = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    assert b"x-forged" not in head.lower()
    if status >= 400:
        assert b"content-type: application/problem+json" in head
        assert json.loads(content)["status"] == status
    return status, content
