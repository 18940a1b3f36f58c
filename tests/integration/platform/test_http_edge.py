"""What stands around the routes: pages of other origins, path prefixes, the documentation, the form of metrics."""

import re
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_metrics

from services.ingest.app import create_app
from services.platform.http.app import bare_app
from services.platform.http.middleware import with_cors_and_prefix
from services.platform.settings import HttpSettings, Settings
from tests.integration.conftest import HttpStack
from tests.support.ingest import BODY, JSON, assert_problem

PAGE = {"Origin": "https://app.example.com"}
STRANGER = {"Origin": "https://evil.example.com"}
RANGE = {"sensor_id": "big", "start": "2025-10-22T21:00:00Z", "end": "2025-10-22T21:10:00Z"}


def preflight(origin: dict[str, str], method: str, *headers: str) -> dict[str, str]:
    asked = {"Access-Control-Request-Headers": ",".join(headers)} if headers else {}
    return {**origin, "Access-Control-Request-Method": method, **asked}


async def test_pages_of_named_origins_may_send_and_ask(http_stack: HttpStack) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        ingest, query = f"{http_stack.ingest.url}/ingest", f"{http_stack.query.url}/get_range"
        asked = preflight(PAGE, "POST", "authorization", "content-encoding", "content-type", "idempotency-key")
        for url in (ingest, query, f"{http_stack.ingest.url}/in/ingest"):
            allowed = await client.options(url, headers=asked)
            assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, PAGE["Origin"])
            assert "POST" in allowed.headers["access-control-allow-methods"]
        for answer in (
            await client.post(ingest, content=BODY, headers={**PAGE, **JSON}),
            await client.post(ingest, content=b"[{}]", headers={**PAGE, **JSON}),
            await client.get(query, params=RANGE, headers=PAGE),
            await client.get(query, headers=PAGE),
            await client.get(f"{http_stack.query.url}/nowhere", headers=PAGE),
        ):
            assert answer.headers["access-control-allow-origin"] == PAGE["Origin"]
            assert {"Idempotent-Replayed", "Link", "Retry-After"} <= set(
                answer.headers["access-control-expose-headers"].split(", ")
            )
            assert "Origin" in answer.headers["vary"]


async def test_pages_of_other_origins_may_not(http_stack: HttpStack) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        url = f"{http_stack.ingest.url}/ingest"
        for asked in (
            preflight(STRANGER, "POST"),
            preflight(PAGE, "DELETE"),
            preflight(PAGE, "POST", "x-unknown"),
        ):
            assert_problem(await client.options(url, headers=asked), 400, "cors_refused")
        answer = await client.post(url, content=BODY, headers={**STRANGER, **JSON})
        assert "access-control-allow-origin" not in answer.headers
        admin = f"http://127.0.0.1:{http_stack.settings.ingest.admin_port}/dead-letters"
        assert_problem(await client.options(admin, headers=preflight(PAGE, "DELETE")), 405, "method_not_allowed")
        assert "access-control-allow-origin" not in (await client.get(admin, headers=PAGE)).headers


async def test_without_origins_no_page_may_and_nothing_stands_before_the_app(timescaledb_settings: Settings) -> None:
    app = create_app(timescaledb_settings)
    assert with_cors_and_prefix(app, timescaledb_settings.http, "") is app
    everybody = with_cors_and_prefix(app, HttpSettings(cors_origins="*"), "")
    for served, expected in ((app, None), (everybody, "*")):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://ingest") as client:
            answer = await client.get("/healthz", headers=PAGE)
            assert answer.headers.get("access-control-allow-origin") == expected


@pytest.mark.parametrize("prefix", ["", "/in"])
async def test_docs_load_from_here_alone_whether_a_proxy_takes_its_prefix_away_or_not(
    http_stack: HttpStack, prefix: str
) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        url = f"{http_stack.ingest.url}{prefix}/docs"
        page = await client.get(url)
        assert page.status_code == 200
        assert page.headers["content-security-policy"].startswith("default-src 'self';")
        assert "//" not in re.sub(r"<!--.*?-->|^\s*//.*$", "", page.text, flags=re.DOTALL | re.MULTILINE)
        named = re.findall(r"""(?:src=|href=|url: )["']([^"']+)["']""", page.text)
        assert len(named) == 4
        for name in named:
            found = urljoin(url, name)
            assert urlsplit(found).netloc == urlsplit(url).netloc
            assert (await client.get(found)).status_code == 200
        document = (await client.get(urljoin(url, "openapi.json"))).json()
        assert document["servers"] == [{"url": "/in"}]
        assert (await client.get(f"{http_stack.ingest.url}/redoc")).status_code == 404


async def test_a_prefix_that_a_proxy_leaves_is_taken_away(http_stack: HttpStack) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        assert (await client.post(f"{http_stack.ingest.url}/in/ingest", content=BODY, headers=JSON)).status_code == 200
        whole = await client.get(f"{http_stack.query.url}/ask/get_range", params=RANGE)
        assert whole.content == (await client.get(f"{http_stack.query.url}/get_range", params=RANGE)).content
        assert (await client.head(f"{http_stack.query.url}/ask/healthz")).status_code == 200
        for path in ("/ask/", "/ask/console"):
            led = await client.get(f"{http_stack.query.url}{path}")
            assert (led.status_code, led.headers["location"]) == (307, "/ask/console/")
        assert (await client.get(f"{http_stack.query.url}/ask/console/")).text.startswith("<!doctype html>")
        for path in ("/ask", "/ask/ask/healthz", "/asking/healthz"):
            assert_problem(await client.get(f"{http_stack.query.url}{path}"), 404, "not_found")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=1.0.0", "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.1",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
        ("application/openmetrics-text;version=x", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=1..0;escaping=allow-utf-8", "text/plain; version=0.0.4; charset=utf-8"),
        (";;=,,\xff;version", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
async def test_metrics_come_in_the_form_that_is_accepted(http_stack: HttpStack, accept: str, form: str) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        for url in (http_stack.ingest.url, http_stack.query.url):
            answer = await client.get(f"{url}/metrics", headers={b"Accept": accept.encode("latin-1")})
            assert (answer.status_code, answer.headers["content-type"]) == (200, form)
            parsed = open_metrics if form.startswith("application/openmetrics") else plain_metrics
            assert len(list(parsed(answer.text))) > 5


@pytest.mark.parametrize(
    ("status", "code"), [(400, "bad_request"), (404, "not_found"), (413, "body_too_large"), (422, "bad_request")]
)
async def test_what_the_framework_refuses_keeps_its_status(status: int, code: str) -> None:
    app = bare_app(FastAPI, "refusing")

    @app.get("/")
    async def refuse() -> None:
        raise HTTPException(status, "there was an error", {"X-Kept": "yes"})

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://refusing") as client:
        answer = await client.get("/")
        assert_problem(answer, status, code)
        assert (status == 404) != (answer.headers.get("x-kept") == "yes")
