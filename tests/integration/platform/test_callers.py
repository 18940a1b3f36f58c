"""API keys at the doors of all ports."""

from typing import Any

import httpx
import pytest

from services.ingest.app import create_app
from services.platform.http.middleware import with_cors_and_prefix
from services.platform.settings import HttpSettings, Settings
from tests.support.admin import both_ports
from tests.support.doors import Doors
from tests.support.ingest import READING, assert_problem
from tests.support.query import asking


@pytest.fixture
def guarded(timescaledb_settings: Settings, doors: Doors) -> Settings:
    return doors.guarding(timescaledb_settings)


async def ask(client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    body: dict[str, Any] = {"json": [READING]} if method == "POST" else {}
    return await client.request(method, path, headers=headers, **body)


async def test_each_port_asks_for_its_scope(guarded: Settings, doors: Doors) -> None:
    keys = {scope: doors.add(scope, scope) for scope in ("ingest", "query", "admin")}
    async with both_ports(guarded) as ports, asking(guarded) as query:
        routes = [
            (ports.public, "POST", "/ingest", "ingest"),
            (ports.public, "GET", "/batches/019a0b1c-8f00-7000-8000-000000000001", "ingest"),
            (ports.admin, "GET", "/dead-letters", "admin"),
            (ports.admin, "DELETE", "/dead-letters?through=1", "admin"),
            (query, "GET", "/hourly?sensor_id=a", "query"),
        ]
        for client, method, path, scope in routes:
            refused = await ask(client, method, path, {})
            assert_problem(refused, 401, "no_key")
            assert refused.headers["www-authenticate"] == 'Bearer realm="millrace"'
            wrong = {"Authorization": keys[scope]["Authorization"] + "x"}
            assert_problem(await ask(client, method, path, wrong), 401, "wrong_key")
            for other in keys.keys() - {scope}:
                assert_problem(await ask(client, method, path, keys[other]), 403, "forbidden")
            assert (await ask(client, method, path, keys[scope])).status_code in {200, 404}
        for client in (ports.public, query):
            for path in ("/healthz", "/readyz", "/metrics", "/docs"):
                assert (await client.get(path)).status_code == 200
            document = (await client.get("/openapi.json")).json()
            assert "security" not in document["paths"]["/healthz"]["get"]
            guarded_paths = [
                item for path, item in document["paths"].items() if path not in {"/healthz", "/readyz", "/metrics"}
            ]
            assert all(way["security"] and way["responses"]["401"] for item in guarded_paths for way in item.values())


async def test_a_page_asks_before_it_sends_without_a_key(guarded: Settings, doors: Doors) -> None:
    doors.add("garden", "ingest")
    app = with_cors_and_prefix(create_app(guarded), HttpSettings(cors_origins="https://app.example.com"), "")
    asked = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest") as client:
        assert (await client.options("/ingest", headers=asked)).status_code == 200
        refused = await client.post("/ingest", json=[READING], headers=asked)
        assert_problem(refused, 401, "no_key")
        assert refused.headers["access-control-allow-origin"] == asked["Origin"]


async def test_keys_of_different_callers_never_meet(guarded: Settings, doors: Doors) -> None:
    one, two = doors.add("one", "ingest"), doors.add("two", "ingest")
    async with both_ports(guarded) as ports:
        ids = []
        for key, value in ((one, 1.0), (two, 2.0), (one, 1.0)):
            headers = {**key, "Idempotency-Key": "order-1"}
            answer = await ports.public.post("/ingest", json=[{**READING, "value": value}], headers=headers)
            assert answer.status_code == 200
            ids.append(answer.json()["batch_id"])
        assert (ids[0] == ids[2], ids[0] == ids[1]) == (True, False)
        headers = {**one, "Idempotency-Key": "order-1"}
        assert_problem(await ports.public.post("/ingest", json=[READING], headers=headers), 422, "key_reused")


async def test_a_flood_is_refused_and_small_senders_are_served(guarded: Settings, doors: Doors) -> None:
    flood = doors.add("flood", "ingest", rows_per_second=10, requests_per_second=1000)
    small = doors.add("small", "ingest", rows_per_second=10)
    async with both_ports(guarded) as ports:
        assert (await ports.public.post("/ingest", json=[READING] * 500, headers=flood)).status_code == 200
        for _ in range(5):
            refused = await ports.public.post("/ingest", json=[READING], headers=flood)
            assert_problem(refused, 429, "rate_limited")
            assert 40 <= int(refused.headers["retry-after"]) <= 50
        assert (await ports.public.post("/ingest", json=[READING], headers=small)).status_code == 200


async def test_without_a_file_of_keys_everybody_may(timescaledb_settings: Settings) -> None:
    async with both_ports(timescaledb_settings) as ports:
        assert (await ports.public.post("/ingest", json=[READING])).status_code == 200
        assert (await ports.admin.get("/dead-letters")).status_code == 200
        assert "security" not in (await ports.public.get("/openapi.json")).text
