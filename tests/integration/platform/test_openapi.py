"""Every route against its own OpenAPI document: schemathesis makes the requests, all its checks judge the answers."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.platform.settings import Settings
from tests.support import Service
from tests.support.servers import one_mode
from tests.support.service import ROOT

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
EXAMPLES = 15
"""Requests that each operation is fuzzed with, beside those of its examples, its coverage and its sequences."""
LONGEST = 300.0
"""Seconds of one run of schemathesis; usual ones take a quarter of a minute."""

Make = Callable[[str, Settings], Service]


@one_mode()
@pytest.mark.parametrize("command", ["ingest", "query"])
async def test_the_openapi_document_is_true(settings: Settings, service: Make, command: str) -> None:
    async with service("worker", settings), service(command, settings) as process:
        await judge(process.url)
    assert "Traceback" not in process.log_text()


async def test_the_openapi_document_of_the_administrative_port_is_true(
    timescaledb_settings: Settings, service: Make
) -> None:
    async with service("ingest", timescaledb_settings) as process:
        await judge(f"http://127.0.0.1:{timescaledb_settings.ingest.admin_port}")
    assert "Traceback" not in process.log_text()


async def judge(url: str) -> None:
    try:
        run = await asyncio.to_thread(asked, url)
    except subprocess.TimeoutExpired:
        # Requests have a time limit of their own: it was the asking program that hung, before its first, once seen.
        run = await asyncio.to_thread(asked, url)
    assert run.returncode == 0, run.stdout


def asked(url: str) -> subprocess.CompletedProcess[str]:
    seed = random.randrange(1 << 32)
    command = [str(SCHEMATHESIS), "run", f"{url}/openapi.json", "--checks", "all", "--no-color"]
    command += ["--seed", str(seed), "--max-examples", str(EXAMPLES)]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST)
