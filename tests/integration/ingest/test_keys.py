import asyncio
import json
import uuid

import httpx

from services.platform.settings import Settings
from services.platform.stream import Stream
from tests.support import eventually
from tests.support.ingest import JSON, READING, assert_problem, entries, taking
from tests.support.proxy import moved, proxied, server_of
from tests.support.readings import sql


async def test_a_key_with_the_same_readings_may_repeat_and_with_others_not(
    client: httpx.AsyncClient, stream: Stream
) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await client.post("/ingest", json=[READING], headers=headers)
    spelt = json.dumps([READING], indent=3).encode()
    again = await client.post("/ingest", content=spelt, headers={**JSON, **headers})
    assert again.json() == first.json()
    other = await client.post("/ingest", json=[{**READING, "value": 1}], headers=headers)
    assert_problem(other, 422, "key_reused")
    assert {batch.batch_id for entry in await entries(stream) for batch in entry.batches} == {
        uuid.UUID(first.json()["batch_id"])
    }


async def test_a_clash_of_keys_fails_alone_and_its_neighbours_are_taken(client: httpx.AsyncClient) -> None:
    async def post(number: int) -> int:
        headers = {"Idempotency-Key": "k-1"} if number < 2 else {}
        response = await client.post("/ingest", json=[{**READING, "value": number}], headers=headers)
        return response.status_code

    statuses = await asyncio.gather(*(post(number) for number in range(20)))
    assert sorted(statuses[:2]) == [200, 422]
    assert set(statuses[2:]) == {200}


async def test_a_key_that_the_ledger_has_is_answered_without_the_stream(
    client: httpx.AsyncClient, stream: Stream, settings: Settings
) -> None:
    headers = {"Idempotency-Key": "k-1"}
    batch_id = uuid.UUID((await client.post("/ingest", json=[READING], headers=headers)).json()["batch_id"])
    [entry] = await entries(stream)
    digest = entry.batches[0].digest
    await stream.client.delete(stream.names.stream, stream.names.queued)
    query = "insert into ingest_ledger(batch_id, batches, rows, digest, accepted_at) values ($1, 1, 1, $2, now())"
    await sql(settings.database, query, batch_id, digest)
    again = await client.post("/ingest?ack=stored", json=[READING], headers=headers)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert again.json()["batch_id"] == str(batch_id)
    assert await entries(stream) == []
    other = await client.post("/ingest", json=[{**READING, "value": 2}], headers=headers)
    assert_problem(other, 422, "key_reused")
    for column, status in (("repeats = 1", "duplicate"), ('dead = \'{"0": "refused: why"}\'', "dead")):
        await sql(settings.database, f"update ingest_ledger set {column}")
        assert (await client.get(f"/batches/{batch_id}")).json()["status"] == status


async def test_a_database_that_falls_silent_does_not_hold_ingestion_up(settings: Settings) -> None:
    async with proxied(*server_of(settings, "reader")) as proxy, taking(moved(settings, proxy.port)) as client:
        known = (await client.post("/ingest", json=[READING])).json()["batch_id"]
        assert (await client.get(f"/batches/{known}")).json()["status"] == "queued"
        proxy.open.clear()
        for number in range(3):
            async with asyncio.timeout(10):
                taken = await client.post("/ingest", json=[READING], headers={"Idempotency-Key": f"k-{number}"})
                assert taken.status_code == 200
                assert_problem(await client.get(f"/batches/{known}"), 503, "database_unavailable")
        proxy.open.set()

        async def answered() -> bool:
            return (await client.get(f"/batches/{known}")).status_code == 200

        await eventually(answered)


async def test_unknown_batches_are_unknown(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get(f"/batches/{uuid.uuid4()}"), 404, "unknown_batch")
    assert_problem(await client.get("/batches/nonsense"), 422, "invalid_parameter")
    known = uuid.UUID((await client.post("/ingest", json=[READING])).json()["batch_id"])
    beyond = uuid.UUID(int=known.int + 7)
    assert_problem(await client.get(f"/batches/{beyond}"), 404, "unknown_batch")
