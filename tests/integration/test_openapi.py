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
from tests.support.service import ROOT

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


@pytest.mark.parametrize("command", ["ingest", "query"])
async def test_the_openapi_document_is_true(
    settings: Settings, service: Callable[[str, Settings], Service], command: str
) -> None:
    seed = random.randrange(1 << 32)
    async with service("worker", settings), service(command, settings) as process:
        run = await asyncio.to_thread(
            lambda: subprocess.run(
                [
                    SCHEMATHESIS,
                    "run",
                    f"{process.url}/openapi.json",
                    "--checks",
                    "all",
                    "--seed",
                    str(seed),
                    "--no-color",
                ],
                check=False,
                cwd=ROOT,
                capture_output=True,
                text=True,
            )
        )
    assert run.returncode == 0, run.stdout
    assert "Traceback" not in process.log_text()
