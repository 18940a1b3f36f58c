"""Clients that others wrote, as they come: each is skipped where it is not installed."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import BIG, HttpStack
from tests.support.ingest import BODY
from tests.support.service import ROOT

JAVA = ROOT / "tests" / "support" / "clients" / "Ask.java"
RANGE = "sensor_id=big&start=2025-10-22T21:00:00Z&end=2026-10-22T21:00:00Z"


async def run(*command: str, status: int = 0) -> str:
    """Run a program to its end and return what it wrote to standard output; skip where there is none."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    made = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=100, check=False)
    assert made.returncode == status, f"{made.stdout[-2000:]}\n{made.stderr[-2000:]}"
    return made.stdout


async def test_java_sends_and_asks(http_stack: HttpStack) -> None:
    compiler = await run("java", "--list-modules")
    if "jdk.compiler" not in compiler:
        pytest.skip("this Java has no compiler: a JDK is needed")
    ingest, query = http_stack.ingest.url, http_stack.query.url
    told = await run("java", str(JAVA), ingest, f"{query}/get_range?{RANGE}", BODY.decode())
    lines = [line.split() for line in told.splitlines()]
    assert [line[0] for line in lines] == ["200", "200", "200", "422", "200", "200", "200"]
    assert {line[1] for line in lines} == {"HTTP_1_1"}
    assert int(lines[4][2]) > BIG * 50
    assert int(lines[5][2]) == 0


async def curl(*options: str) -> list[str]:
    """Return the status and the protocol's version of each answer."""
    form = "%{http_code} %{http_version}\n"
    return (await run("curl", "--silent", "--max-time", "60", "--write-out", form, *options)).splitlines()


async def test_curl_offers_http_2_and_is_served_as_it_stands(http_stack: HttpStack, tmp_path: Path) -> None:
    url = f"{http_stack.ingest.url}/ingest"
    sent = ["--output", "/dev/null", "--header", "Content-Type: application/json", "--data-binary", BODY.decode(), url]
    assert await curl(
        "--http2", *sent, "--next", "--http2", *sent, "--write-out", "%{http_code} %{http_version}\n"
    ) == [
        "200 1.1",
        "200 1.1",
    ]
    large = tmp_path / "large.json"
    large.write_bytes(b"[" + b",".join([BODY[1:-1]] * 20_000) + b"]")
    posted = ["--data-binary", f"@{large}", "--header", "Content-Type: application/json", "--output", "/dev/null"]
    # More than a megabyte: it asks before it sends.
    assert await curl("--http2", *posted, url) == ["200 1.1"]
    assert await curl("--http2", "--header", "Transfer-Encoding: chunked", *posted, url) == ["200 1.1"]


async def test_curl_speaks_http_1_0(http_stack: HttpStack, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert await curl("--http1.0", "--output", str(out), f"{http_stack.query.url}/get_range?{RANGE}") == ["200 1.1"]
    assert len(json.loads(out.read_bytes())["data"]) == BIG
    posted = ["--data-binary", BODY.decode(), "--header", "Content-Type: application/json"]
    assert await curl("--http1.0", *posted, "--output", "/dev/null", f"{http_stack.ingest.url}/ingest") == ["200 1.1"]


async def test_curl_asks_for_the_head(http_stack: HttpStack) -> None:
    told = await run("curl", "--silent", "--head", "--max-time", "60", f"{http_stack.query.url}/get_range?{RANGE}")
    assert told.startswith("HTTP/1.1 200 OK\n")
    assert told.endswith("\n\n")


async def test_wget_looks_without_loading(http_stack: HttpStack) -> None:
    for url in (f"{http_stack.query.url}/get_range?{RANGE}", f"{http_stack.ingest.url}/docs"):
        await run("wget", "--spider", "--quiet", "--tries=1", "--timeout=60", url)
    await run("wget", "--spider", "--quiet", "--tries=1", "--timeout=60", f"{http_stack.query.url}/nowhere", status=8)
