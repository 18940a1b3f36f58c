"""The client's wheel in an environment that has nothing else, and its README there, against real services.

It asks an index for what the wheel needs, so it stands outside of `make test`.
"""

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.platform.settings import Settings
from tests.support import Service
from tests.support.service import ROOT

CLIENT = ROOT / "clients" / "python"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and its extra for pandas."""
    folder = tmp_path_factory.mktemp("empty")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    [wheel] = (CLIENT / "dist").glob("*.whl")
    found = folder / "bin" / "python"
    subprocess.run([found, "-m", "pip", "install", "--quiet", f"{wheel}[pandas]"], check=True)
    return found


async def test_ten_lines_lead_to_a_frame(
    python: Path, timescaledb_settings: Settings, service: Callable[[str, Settings], Service], tmp_path: Path
) -> None:
    first, second = re.findall(r"```python\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)
    async with contextlib.AsyncExitStack() as stack:
        ingest, _, query = [
            await stack.enter_async_context(service(name, timescaledb_settings))
            for name in ("ingest", "worker", "query")
        ]
        code = f"{first}\nassert frame['max'].max() == 65.9, frame\n{second}"
        for said, real in (
            ("http://localhost:8000", ingest.url),
            ("http://localhost:8001", query.url),
            ("/var/lib/plant/spool", str(tmp_path / "spool")),
        ):
            assert said in code
            code = code.replace(said, real)
        program = await asyncio.create_subprocess_exec(
            *(str(python), "-I", "-c", code),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        told, complained = map(bytes.decode, await program.communicate())
    assert program.returncode == 0, complained
    assert re.search(r"sensor_id +timestamp +avg +max\n", told)
    assert "acknowledged=2" in told
