import asyncio
import gc
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import httpx
import pytest
import zstandard
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from services.ingest.app import create_app
from services.ingest.limits import admission
from services.platform import admission as judgement
from services.platform.settings import Settings
from services.platform.stream import Stream, waitaof_holds
from tests.support import Service, eventually
from tests.support.ingest import BODY, JSON, READING, assert_problem, entries, taking

# Every test process must name its tests alike, and a gzip header holds the time unless told otherwise.
compressed = partial(gzip.compress, mtime=0)


async def test_a_batch_is_one_entry_and_its_answer_names_it(client: httpx.AsyncClient, stream: Stream) -> None:
    response = await client.post("/ingest", json=[READING, READING])
    assert response.status_code == 200
    answer = response.json()
    assert answer == {"batch_id": answer["batch_id"], "accepted": 2, "rejected": []}
    [entry] = await entries(stream)
    assert [str(batch.batch_id) for batch in entry.batches] == [answer["batch_id"]]
    assert len(entry.columns) == 2


@pytest.mark.parametrize(("ack", "status"), [("queued", 202), ("durable", 200), ("stored", 202)])
async def test_ack_levels_without_a_worker(client: httpx.AsyncClient, ack: str, status: int) -> None:
    response = await client.post(f"/ingest?ack={ack}", json=[READING])
    assert response.status_code == status
    batch_id = response.json()["batch_id"]
    assert (await client.get(f"/batches/{batch_id}")).json() == {"batch_id": batch_id, "status": "queued"}


async def test_concurrent_small_requests_share_entries(client: httpx.AsyncClient, stream: Stream) -> None:
    responses = await asyncio.gather(*(client.post("/ingest", json=READING) for _ in range(64)))
    assert {response.status_code for response in responses} == {200}
    found = await entries(stream)
    assert len(found) < 32
    ids = {str(batch.batch_id) for entry in found for batch in entry.batches}
    assert ids == {response.json()["batch_id"] for response in responses}
    for batch_id in list(ids)[:5]:
        assert (await client.get(f"/batches/{batch_id}")).json()["status"] == "queued"


async def test_partial_takes_the_good_readings_and_lists_the_bad(client: httpx.AsyncClient, stream: Stream) -> None:
    batch = [READING, {**READING, "value": "x"}, {**READING, "timestamp": "2025-10-22T21:00:00"}]
    body = assert_problem(await client.post("/ingest", json=batch), 422, "invalid_readings")
    assert [(error["index"], error["field"]) for error in body["errors"]] == [(1, "value"), (2, "timestamp")]
    assert await entries(stream) == []
    answer = (await client.post("/ingest?partial=true", json=batch)).json()
    assert answer["accepted"] == 1
    assert [item["code"] for item in answer["rejected"]] == ["wrong_type", "naive"]


async def test_what_partial_refuses_and_what_was_rounded_is_counted_by_kind(
    timescaledb_settings: Settings, service: Callable[[str, Settings], Service]
) -> None:
    wrong = [{**READING, "value": "x"}] * 120 + [{**READING, "timestamp": "2025-10-22T21:00:60Z"}] * 30
    large = [{**READING, "value": value} for value in (2**53 - 1, 2**53 + 1, -(10**30), 9.1e15)]
    async with service("ingest", timescaledb_settings) as ingest, httpx.AsyncClient() as there:
        taken = await there.post(f"{ingest.url}/ingest?partial=true", json=wrong + large)
        assert (taken.json()["accepted"], len(taken.json()["rejected"])) == (4, 100)
        shown = (await there.get(f"{ingest.url}/metrics")).text
    samples = [sample for family in text_string_to_metric_families(shown) for sample in family.samples]
    refused = [sample for sample in samples if sample.name == "millrace_rows_rejected_total"]
    assert {sample.labels["code"]: sample.value for sample in refused} == {"wrong_type": 120, "leap_second": 30}
    assert [sample.value for sample in samples if sample.name == "millrace_rows_inexact_total"] == [3]


@pytest.mark.parametrize(
    ("query", "headers", "body", "status", "code"),
    [
        ("", {"Content-Type": "text/plain"}, BODY, 415, "unsupported_media_type"),
        ("", {"Content-Encoding": "br"}, BODY, 415, "unsupported_encoding"),
        ("", {"Content-Encoding": "gzip, gzip"}, BODY, 415, "unsupported_encoding"),
        ("", {"Content-Encoding": "gzip"}, BODY, 422, "malformed_body"),
        ("", {"Content-Encoding": "gzip"}, compressed(BODY)[:-9], 422, "malformed_body"),
        ("", {"Content-Encoding": "gzip"}, compressed(b"") * 65, 422, "malformed_body"),
        ("", {"Content-Encoding": "zstd"}, b"nonsense", 422, "malformed_body"),
        ("", {"Content-Encoding": "zstd"}, zstandard.compress(BODY) + b"more", 422, "malformed_body"),
        ("", {"Content-Encoding": "zstd"}, zstandard.ZstdCompressor(write_checksum=True).compress(BODY)[:-2],
         422, "malformed_body"),
        ("", {"Content-Encoding": "zstd"}, zstandard.compress(b"") * 65, 422, "malformed_body"),
        ("", {}, b" " * 10_001, 413, "body_too_large"),
        ("", {"Content-Encoding": "gzip"}, compressed(b" " * 20_001), 413, "body_too_large"),
        ("", {"Content-Encoding": "gzip"}, compressed(b" " * 15_000) * 2, 413, "body_too_large"),
        ("", {"Content-Encoding": "zstd"}, zstandard.compress(b" " * 5_000_000), 413, "body_too_large"),
        ("", {}, b"[" + b",".join([b"{}"] * 101) + b"]", 413, "too_many_rows"),
        ("", {}, b"", 422, "malformed_body"),
        ("?ack=maybe", {}, BODY, 422, "invalid_parameter"),
        ("?partial=perhaps", {}, BODY, 422, "invalid_parameter"),
        ("?akc=stored", {}, BODY, 422, "invalid_parameter"),
        ("?ack=stored&ack=queued", {}, BODY, 422, "invalid_parameter"),
        ("", {"Idempotency-Key": ""}, BODY, 422, "invalid_parameter"),
        ("", {"Idempotency-Key": "x" * 256}, BODY, 422, "invalid_parameter"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_named_and_nothing_enters_the_stream(
    client: httpx.AsyncClient, stream: Stream, query: str, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    response = await client.post(f"/ingest{query}", content=body, headers={**JSON, **headers})
    assert_problem(response, status, code)
    assert await entries(stream) == []


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", compressed(BODY)),
        ("gzip", compressed(BODY[:10]) + compressed(BODY[10:])),
        ("zstd", zstandard.compress(BODY)),
        ("zstd", zstandard.compress(BODY[:10]) + zstandard.compress(BODY[10:])),
        ("identity", BODY),
    ],
)
async def test_encodings_are_taken(client: httpx.AsyncClient, encoding: str, body: bytes) -> None:
    response = await client.post("/ingest", content=body, headers={**JSON, "Content-Encoding": encoding})
    assert response.json()["accepted"] == 1


async def test_a_body_that_does_not_arrive_is_given_up(client: httpx.AsyncClient) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"["
        await asyncio.Event().wait()

    assert_problem(await client.post("/ingest", content=slow(), headers=JSON), 408, "body_timeout")


async def test_a_chunked_body_is_counted_while_it_arrives(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1000
            yield b" " * 1000

    assert_problem(await client.post("/ingest", content=endless(), headers=JSON), 413, "body_too_large")
    assert sent <= 42_000


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_who_sends_all_of_a_body_that_is_too_large_hears_why(
    settings: Settings, service: Callable[[str, Settings], Service], declared: bool
) -> None:
    small = settings.ingest.model_copy(update={"max_body_bytes": 1_000_000})
    piece = b" " * 100_000

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield piece

    headers = {**JSON, "Content-Length": "3000000"} if declared else JSON
    async with service("ingest", settings.model_copy(update={"ingest": small})) as ingest, httpx.AsyncClient() as there:
        refused = await there.post(f"{ingest.url}/ingest", content=pieces(), headers=headers, timeout=30)
        assert_problem(refused, 413, "body_too_large")


async def test_other_paths_and_methods_are_problems_too(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/nowhere"), 404, "not_found")
    response = await client.get("/ingest")
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


async def test_a_full_backlog_is_429_with_retry_after_until_it_has_drained(settings: Settings, stream: Stream) -> None:
    tight = settings.ingest.model_copy(update={"backlog_entries": 3})
    app = create_app(settings.model_copy(update={"ingest": tight}))
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://i") as client:

        async def status(wanted: int) -> bool:
            response = await client.post("/ingest", json=[READING])
            if response.status_code == 429:
                assert_problem(response, 429, "backlog_full")
                assert 1 <= int(response.headers["retry-after"]) <= 72
            return response.status_code == wanted

        await eventually(lambda: status(429))
        assert await stream.client.xlen(stream.names.stream) >= 3
        await stream.client.delete(stream.names.stream)
        await eventually(lambda: status(200))


async def test_a_server_that_may_evict_the_stream_is_refused(settings: Settings, client: httpx.AsyncClient) -> None:
    control = Redis.from_url(settings.redis.url.get_secret_value())
    app = create_app(settings)
    await control.config_set("maxmemory-policy", "allkeys-lru")
    try:
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://i") as new:

            async def reason() -> str:
                return str((await new.get("/readyz")).json()["reasons"].get("stream", ""))

            async def refused() -> bool:
                return "noeviction" in await reason()

            await eventually(refused)
            assert_problem(await new.post("/ingest", json=[READING]), 503, "stream_unavailable")
    finally:
        await control.config_set("maxmemory-policy", "noeviction")
        await control.aclose()
    assert (await client.post("/ingest", json=[READING])).status_code == 200


async def test_durable_asks_a_server_that_fsyncs_each_second(
    settings: Settings, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def holds(_: Redis, __: str) -> bool:
        return True

    monkeypatch.setattr(judgement, "waitaof_holds", holds)  # the Valkey of the tests does not, as shown below
    await stream.client.config_set("appendfsync", "everysec")
    try:
        app = create_app(settings)
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://i") as new:

            async def taken() -> bool:
                return (await new.post("/ingest", json=[READING])).status_code == 200

            await eventually(taken)
            calls = await stream.client.info("commandstats")
            assert calls["cmdstat_waitaof"]["calls"] >= 2
    finally:
        await stream.client.config_set("appendfsync", "always")


async def test_a_server_whose_waitaof_answers_before_the_disk_is_refused_while_it_runs(
    settings: Settings, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    if await _in_everysec(stream, waitaof_holds):
        pytest.skip("this server's WAITAOF waits for the disk")
    monkeypatch.setattr(admission, "_RECHECK", 0.0)
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://i") as new:

        async def status(wanted: int) -> bool:
            return (await new.post("/ingest", json=[READING])).status_code == wanted

        async def refused(*_: object) -> bool:
            await eventually(lambda: status(503))

            async def told() -> bool:
                return "before the disk" in str((await new.get("/readyz")).json())

            return await eventually(told)

        await eventually(lambda: status(200))
        assert await _in_everysec(stream, refused)
        await eventually(lambda: status(200))


async def _in_everysec(stream: Stream, ask: Callable[[Redis, str], Awaitable[bool]]) -> bool:
    await stream.client.config_set("appendfsync", "everysec")
    try:
        return await ask(stream.client, stream.names.probe)
    finally:
        await stream.client.config_set("appendfsync", "always")


async def test_who_waits_for_the_commit_holds_no_readings(settings: Settings, stream: Stream) -> None:
    """Thousands may wait while no worker is there, and what they held would be counted no more."""
    sensor = "a sensor of this test alone"
    body = [{**READING, "sensor_id": sensor}] * 97

    def held() -> list[object]:
        there = [found for found in gc.get_objects() if isinstance(found, list) and len(found) == len(body)]
        return [found for found in there if found[0] == sensor]

    async with taking(settings) as client:
        waiting = asyncio.create_task(client.post("/ingest?ack=stored", json=body))
        await eventually(lambda: entries(stream))
        await eventually(lambda: not held())
        assert not waiting.done()
        waiting.cancel()
