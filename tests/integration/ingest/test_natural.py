"""`dedup=natural` at each door: asked for by a request, or by its caller's setting; and what is stored of it."""

from collections.abc import Mapping
from types import MappingProxyType

import httpx
import orjson
import pytest

from services.contract import codec
from services.ingest.doors.otlp.door import PATHS as OTLP
from services.ingest.doors.remote_write.door import PATHS as REMOTE_WRITE
from services.platform.settings import Settings
from services.platform.stream import Stream
from tests.support import eventually
from tests.support.doors import Doors
from tests.support.ingest import READING, entries, taking
from tests.support.otlp import as_json, gauge, number, request
from tests.support.readings import raw_entries, rows_in
from tests.support.worker import Start
from tests.unit.ingest.test_lorawan import CHIRPSTACK
from tests.unit.ingest.test_remote_write import UP, T, version_1

from .test_remote_write import VERSION_1, snappy

INSTANT = 1_761_166_800_000_000
LINES = ("/write", "/api/v2/write", "/api/v3/write_lp")
WEBHOOK = "/webhooks/chirpstack?event=up"
AGENTS = (*LINES, *REMOTE_WRITE, *OTLP)


async def send(
    client: httpx.AsyncClient,
    path: str,
    query: str = "",
    headers: Mapping[str, str] = MappingProxyType({}),
    value: float = 1.0,
) -> int:
    """Send one reading of one series and instant to a door; return the answer's status."""
    body, media = orjson.dumps([{**READING, "value": value}]), "application/json"
    if path in LINES:
        body, media = b"m v=%g %d000\n" % (value, INSTANT), "text/plain"
    elif path in REMOTE_WRITE:
        body, media = snappy(version_1((UP, [(T, value)]))), VERSION_1
    elif path in OTLP:
        body = as_json(request(gauge(number(value))))
    elif path == WEBHOOK:
        body = orjson.dumps(CHIRPSTACK)
    answer = await client.post(f"{path}{query}", content=body, headers={"Content-Type": media, **headers})
    return answer.status_code


async def last(stream: Stream) -> tuple[bool, bool]:
    """Return of the newest batch whether it is natural, and whether it has slices."""
    batch = (await entries(stream))[-1].batches[-1]
    return batch.natural, bool(batch.slices)


@pytest.mark.parametrize("path", ["/ingest", *AGENTS])
async def test_a_request_asks_for_it_and_then_has_no_slices(
    path: str, client: httpx.AsyncClient, stream: Stream
) -> None:
    assert await send(client, path, "?dedup=natural") < 300
    assert await last(stream) == (True, False)
    assert await send(client, path) < 300
    assert await last(stream) == (False, path in AGENTS)
    # Beside a key: the key decides whether the batch is new, and of a new one what is there is left out.
    assert await send(client, path, "?dedup=natural", {"Idempotency-Key": "k"}) < 300
    found = (await entries(stream))[-1].batches[-1]
    assert (found.natural, found.slices, found.digest is not None) == (True, (), True)


async def test_a_caller_has_it_as_a_setting_over_which_a_request_goes(
    settings: Settings, stream: Stream, doors: Doors
) -> None:
    first_wins, plain = doors.add("first", "ingest", dedup="natural"), doors.add("plain", "ingest")
    async with taking(doors.guarding(settings)) as client:
        for path in ("/ingest", *AGENTS, WEBHOOK):
            assert await send(client, path, headers=first_wins) < 300
            assert await last(stream) == (True, False), path
            assert await send(client, path, headers=plain) < 300
            assert await last(stream) == (False, path != "/ingest"), path
        for path in ("/ingest?dedup=none", "/ingest?ack=durable", "/ingest?dedup=reading"):
            assert await send(client, path, headers=first_wins) < 300
            assert await last(stream) == ("ack" in path, "reading" in path), path
        for path in AGENTS:
            assert await send(client, path, "?dedup=batch", first_wins) < 300
            assert await last(stream) == (False, True), path


@pytest.mark.parametrize(
    ("path", "known"),
    [("/ingest", "none or reading or natural"), ("/write", "batch or reading or natural or none"),
     ("/api/v1/write", "batch or natural"), ("/v1/metrics", "batch or natural")],
)  # fmt: skip
async def test_what_a_door_does_not_know_is_refused_with_what_it_knows(
    path: str, known: str, client: httpx.AsyncClient
) -> None:
    media = {"/api/v1/write": VERSION_1}.get(path, "application/json")
    answer = await client.post(f"{path}?dedup=last", content=b"", headers={"Content-Type": media})
    assert answer.status_code in {400, 422}
    assert f"dedup: must be {known}" in answer.text


async def test_the_first_of_an_instant_is_stored_through_whatever_door_it_comes(
    client: httpx.AsyncClient, settings: Settings, start: Start
) -> None:
    await start()
    for value in (1.0, 2.0, 3.0):
        answer = await client.post("/ingest?dedup=natural&ack=stored", json=[{**READING, "value": value}] * 2)
        # What was left out counts as taken, as what comes again does everywhere, and its batch as stored.
        assert (answer.status_code, answer.json()["accepted"]) in {(200, 2), (202, 2)}
        batch = f"/batches/{answer.json()['batch_id']}"

        async def settled(batch: str = batch) -> bool:
            return bool((await client.get(batch)).json()["status"] == "stored")

        await eventually(settled)
        for path in (*LINES, *REMOTE_WRITE, *OTLP):
            assert await send(client, path, "?dedup=natural", value=value) < 300
    # One series by line protocol, one by each other door: paths of one door are the same to it.
    await eventually(lambda: has(settings, 4))
    assert {row[2] for row in await rows_in(settings.database)} == {1.0}


async def has(settings: Settings, count: int) -> bool:
    return len(await rows_in(settings.database)) == count


async def test_only_natural_batches_wait_for_a_worker_that_knows_them(
    settings: Settings, stream: Stream, client: httpx.AsyncClient, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stream.ensure_group()
    for query in ("", "?dedup=natural"):
        assert await send(client, "/ingest", query) == 200
    assert [fields[b"v"] for _, fields in await raw_entries(stream)] == [b"1", b"4"]
    with monkeypatch.context() as of_the_release_before:
        of_the_release_before.setattr(codec, "VERSION", 3)
        health = await start("old")
        await eventually(lambda: has(settings, 1))
        await eventually(lambda: "contract" in str(health.reasons()))
        assert len(await raw_entries(stream)) == 1
    await start("new", reclaim_idle=0.1, reclaim_interval=0.1)

    async def empty() -> bool:
        return not await raw_entries(stream)

    await eventually(empty)
    assert await has(settings, 1)
