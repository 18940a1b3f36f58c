"""What README and docs tell people to type works as it stands there, in a folder that looks like a clone.

`make up` runs there, on ports of its own; commands are given these in place of the usual ones, and nothing else.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.local.environment import environment
from services.platform.settings import Settings
from tests.support import eventually
from tests.support.servers import installations
from tests.support.service import ROOT
from tests.support.snippets import Snippet, commands, snippets
from tests.support.stack import stack_settings

ELSEWHERE = {("docs/query.md", "python"), ("docs/query.md", "sh"), ("docs/query.md", "sql")}
"""What tests/integration/query/test_documented.py runs, in both database modes."""
RUN = [
    snippet
    for snippet in snippets()
    if snippet.kind in {"console", "python", "sh", "sql"}
    and snippet.reason is None
    and (snippet.page, snippet.kind) not in ELSEWHERE
]
NEEDS = {"curl": "curl", "jq": "jq", "psql": "PostgreSQL's psql"}
_CURL = 'curl() { command curl --fail --silent --show-error "$@"; }\n'
"""A refusal is an error, though the pages show how to see what it says."""


@dataclass(frozen=True, slots=True)
class Clone:
    """A folder in which `make up` runs, and the settings that it runs with."""

    folder: Path
    settings: Settings

    def types(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script as somebody would type it there, who answers questions by `y`."""
        programs = [str(ROOT / ".venv" / "bin"), *(str(found.bin) for found in installations().values())]
        variables = environment(self.settings)
        variables["PATH"] = os.pathsep.join([programs[0], variables["PATH"], *programs[1:]])
        variables["MPLBACKEND"] = "agg"
        variables["XDG_STATE_HOME"] = str(self.folder / ".millrace" / "state")
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", _CURL + self._ported(script)],
            cwd=self.folder,
            env=variables,
            input="y\n",
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def _ported(self, script: str) -> str:
        """Return a script with the stack's ports in the place of those that the pages name."""
        usual = Settings.model_construct()
        for name, port in (("ingest", "port"), ("query", "port"), ("ingest", "admin_port")):
            there, here = getattr(getattr(usual, name), port), getattr(getattr(self.settings, name), port)
            script = re.sub(rf"(?<=localhost:|127.0.0.1:){there}\b", str(here), script)
        return script


@pytest.fixture(scope="module")
def clone() -> Iterator[Clone]:
    # Not below pytest's own folder, which is closed to the user that PostgreSQL runs as.
    folder = Path(tempfile.mkdtemp(prefix="millrace-pages-"))
    folder.chmod(0o711)
    for path in ROOT.iterdir():
        if path.name not in {".millrace", "site"}:
            (folder / path.name).symlink_to(path)
    settings = stack_settings(Path(".millrace"))
    found = Clone(folder, settings)
    [readings] = [
        snippet.text for snippet in snippets() if snippet.page == "docs/start/own-data.md" and snippet.kind == "csv"
    ]
    (folder / "readings.csv").write_text(readings)
    log = folder / "up.log"
    with log.open("w") as file:
        up = subprocess.Popen(
            ["make", "up"], cwd=folder, env=environment(settings), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip

    def runs() -> bool:
        assert up.poll() is None, log.read_text()
        return "Millrace runs." in log.read_text()

    try:
        asyncio.run(eventually(runs, 90.0))
        done = found.types("make demo")
        assert done.returncode == 0, done.stdout + done.stderr
        yield found
    finally:
        # As Ctrl-C in the terminal does.
        os.killpg(up.pid, signal.SIGINT)
        up.wait(60)
        shutil.rmtree(folder)


@pytest.mark.parametrize("snippet", RUN, ids=str)
def test_what_a_page_tells_to_type_works(snippet: Snippet, clone: Clone) -> None:
    for program, name in NEEDS.items():
        if re.search(rf"\b{program}\b", script_of(snippet)) and not shutil.which(program):
            pytest.skip(f"{name} is not here")
    if snippet.kind == "sql" and "timescaledb" not in installations():
        pytest.skip("no PostgreSQL with TimescaleDB was found here")
    done = clone.types(script_of(snippet))
    assert done.returncode == 0, f"{snippet}\n{done.stdout}\n{done.stderr}"


def script_of(snippet: Snippet) -> str:
    """Return what is typed for a snippet; `make up` runs already."""
    if snippet.kind == "console":
        return "\n".join(command for command in commands(snippet) if command != "make up\n")
    if snippet.kind == "python":
        return f"python - <<'END'\n{snippet.text}END\n"
    if snippet.kind == "sql":
        psql = 'psql -X -v ON_ERROR_STOP=1 "$MILLRACE_DATABASE_OWNER_URL"'
        return f". .millrace/env.sh\n{psql} <<'END'\n{snippet.text}END\n"
    return snippet.text
