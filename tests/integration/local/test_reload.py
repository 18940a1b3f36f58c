"""`millrace up --reload`: on a copy of the code, which the test changes."""

import shutil
from pathlib import Path

import pytest

from services.local.reload import affected
from tests.support import eventually
from tests.support.service import ROOT
from tests.support.stack import RunningStack, stack_settings


@pytest.mark.parametrize(
    ("path", "commands"),
    [
        ("services/query/app.py", {"query"}),
        ("services/database/repair/late_ranges.py", {"repair"}),
        ("services/contract/codec.py", {"ingest", "worker", "query", "repair"}),
        ("services/__init__.py", {"ingest", "worker", "query", "repair"}),
        ("services/local/stack.py", set()),
        ("services/operator/main.py", set()),
        ("services/prove/local.py", set()),
        ("services/sender/sender.py", set()),
        ("sql/init.sql", set()),
    ],
)
def test_a_change_restarts_what_holds_it_and_nothing_else(path: str, commands: set[str]) -> None:
    assert affected([Path(path)]) == commands


async def test_changed_code_runs_and_broken_code_runs_once_it_is_mended(tmp_path: Path) -> None:
    root = tmp_path / "code"
    for folder in ("services", "sql"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    async with RunningStack(stack_settings(tmp_path / "data"), tmp_path / "up.log", "--reload", root=root) as stack:
        await eventually(lambda: len(stack.children("query")) == 2, 30)
        before = {command: stack.child(command).pid for command in ("ingest", "worker", "repair")}
        changed = root / "services" / "query" / "main.py"
        good = changed.read_text()

        changed.write_text(good + "\nimport sys; sys.stderr.write('a new line\\n')\n")
        await eventually(lambda: "a new line" in stack.log_text() and _restarts(stack) == 1, 30)
        assert before == {command: stack.child(command).pid for command in before}

        changed.write_text(good + "\nthis is no Python\n")
        await eventually(lambda: "SyntaxError" in stack.log_text(), 30)
        changed.write_text(good)
        await eventually(lambda: _restarts(stack) == 2, 30)

        script = root / "sql" / "init.sql"
        script.write_text(script.read_text() + "\n")
        await eventually(lambda: stack.log_text().count("schema applied") == 2, 30)


def _restarts(stack: RunningStack) -> int:
    return stack.log_text().count('"event": "restarted"')
