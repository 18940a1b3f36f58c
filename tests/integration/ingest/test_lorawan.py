"""Uplinks over HTTP, on their whole way into the table."""

import httpx
import orjson

from services.platform.settings import Settings
from tests.support import eventually
from tests.support.ingest import assert_problem
from tests.support.readings import rows_in
from tests.support.worker import Start
from tests.unit.ingest.test_lorawan import CHIRPSTACK, TTN, changed


async def test_uplinks_are_stored_once_though_they_come_again(
    client: httpx.AsyncClient, settings: Settings, start: Start
) -> None:
    await start()
    for _ in range(3):
        for path, event in {"/webhooks/ttn": TTN, "/webhooks/chirpstack?event=up": CHIRPSTACK}.items():
            answer = await client.post(path, content=orjson.dumps(event))
            assert (answer.status_code, answer.content) == (204, b"")
    last = changed(CHIRPSTACK, "deduplicationId", "another")
    assert (await client.post("/webhooks/chirpstack?event=up", json=last)).status_code == 204

    async def there() -> bool:
        return len(await rows_in(settings.database)) == 7

    await eventually(there)


async def test_other_events_are_passed_over_and_what_is_wrong_is_named(client: httpx.AsyncClient) -> None:
    assert (await client.post("/webhooks/chirpstack?event=status", json={"margin": 5})).status_code == 204
    assert_problem(await client.post("/webhooks/chirpstack", json=CHIRPSTACK), 422, "invalid_parameter")
    assert_problem(await client.post("/webhooks/ttn", content=b"\x08\x01"), 422, "malformed_body")
    untimely = changed(TTN, "uplink_message.received_at", "yesterday")
    problem = assert_problem(await client.post("/webhooks/ttn", json=untimely), 422, "invalid_readings")
    assert problem["errors"][0]["field"] == "timestamp"
    partly = changed(TTN, "uplink_message.decoded_payload", {"n" * 129: 1, "t": 2})
    answer = await client.post("/webhooks/ttn", json=partly)
    assert answer.status_code == 200
    assert answer.json()["accepted"] == 1
    assert answer.json()["rejected"][0]["code"] == "too_long"
