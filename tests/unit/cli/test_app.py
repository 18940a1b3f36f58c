"""The command line says what is wrong in one line, and starts nothing with wrong settings."""

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from services import __version__
from services.cli.app import app
from services.cli.config import show
from services.platform.settings import load
from tests.support import free_port

runner = CliRunner()


def test_the_version_is_told() -> None:
    assert runner.invoke(app, ["--version"]).output == f"millrace {__version__}\n"


def test_the_module_runs_as_the_command() -> None:
    command = [sys.executable, "-m", "services.cli", "--version"]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout.startswith("millrace ")


@pytest.mark.parametrize("module", ["ingest.main", "query.main", "worker.main", "database.repair.main"])
def test_a_workload_holds_no_library_for_terminals(module: str) -> None:
    program = (
        "import importlib, sys; from services.cli.process import service\n"
        f"with service('x'): importlib.import_module('services.{module}')\n"
        "print([m for m in ('rich', 'pygments') if m in sys.modules]); import rich"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert found.stdout == "[]\n"


def test_help_imports_no_workload() -> None:
    program = (
        "import sys; from services.cli.app import app\n"
        "print([m for m in ('fastapi', 'httpx', 'asyncpg', 'redis', 'numpy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert found.stdout == "[]\n"


@pytest.mark.parametrize(
    ("module", "found"),
    [
        ("services.ingest.main", set()),
        ("services.query.main", set()),
        ("services.worker.main", set()),
        ("services.database.repair.main", set()),
        ("services.local.up", set()),
        ("services.prove.local", set()),
        ("services.sender.sender", set()),
        ("services.importer.delivery", set()),
        ("services.operator.main", {"kopf", "lightkube"}),
    ],
)
def test_what_runs_without_a_cluster_loads_nothing_for_one(module: str, found: set[str]) -> None:
    program = f"import sys, {module}; print(*sorted({{'kopf', 'lightkube'}} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert set(loaded.stdout.split()) == found


@pytest.mark.parametrize(
    "command",
    ["run ingest", "run query", "run worker", "run repair", "up", "demo", "config", "send", "import x", "entries"],
)
def test_a_misspelt_setting_ends_every_command_in_one_line(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_INGEST_PROT", "1")
    found = runner.invoke(app, command.split())
    assert found.exit_code == 2
    assert found.stderr.count("\n") == 1
    assert "unknown setting MILLRACE_INGEST_PROT" in found.stderr


def test_a_wrong_value_is_named_but_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_INGEST_PORT", "geheim")
    found = runner.invoke(app, ["config"])
    assert found.exit_code == 2
    assert "MILLRACE_INGEST_PORT: " in found.stderr
    assert "geheim" not in found.output


def test_config_shows_the_value_in_force_beside_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_INGEST_PORT", "9999")
    lines = [line.split("\t") for line in runner.invoke(app, ["config"]).stdout.splitlines()]
    assert ["MILLRACE_INGEST_PORT", "9999", "8000", "", "Port to listen on."] in lines


def test_config_on_a_terminal_is_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MILLRACE_INGEST_PORT", "9999")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show(load(), as_json=False)
    told = capsys.readouterr().out
    assert "MILLRACE_REDIS_TIMEOUT" in told
    assert "default: 8000" in told


def test_config_as_json_has_every_setting() -> None:
    settings = orjson.loads(runner.invoke(app, ["config", "--json"]).stdout)
    assert {"variable", "section", "default", "value", "unit", "meaning"} == set(settings[0])
    assert all(setting["meaning"] for setting in settings)


def test_config_as_markdown_is_the_settings_page() -> None:
    assert runner.invoke(app, ["config", "--markdown"]).stdout.startswith("# Settings\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--url", "127.0.0.1:8000"], "is no address"),
        (["--url", "http://"], "is no address"),
        (["--url", "http://h:99999"], "is no address"),
        (["--start", "yesterday"], "is not an RFC 3339 timestamp"),
        (["--start", "2026-01-01T00:00:00"], "has no offset"),
        (["--run", "a"], "--run needs --start"),
        (["--rows", "0"], "--rows"),
        (["--ack", "maybe"], "--ack"),
    ],
)
def test_send_refuses_arguments_that_mean_nothing(arguments: list[str], told: str) -> None:
    found = runner.invoke(app, ["send", *arguments])
    assert found.exit_code == 2
    assert told in found.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("none.csv", "there is no such file"),
        ("readings.txt", "say --format"),
        ("a.ndjson --layout wide", "--layout is for CSV, Parquet and Arrow"),
        ("a.csv --db plant", "--db is for line protocol"),
        ("a.lp --db plant --bucket plant", "--bucket excludes --db and --rp"),
    ],
)
def test_import_tells_which_file_or_option_it_cannot_use(
    arguments: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("readings.txt", "a.ndjson", "a.csv", "a.lp"):
        (tmp_path / name).touch()
    found = runner.invoke(app, ["import", "--state", "state", *arguments.split()])
    assert found.exit_code == 2
    assert told in found.stderr


def test_send_without_a_server_fails_with_the_figures() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    found = runner.invoke(app, ["send", "--rows", "20", "--batch", "10", "--patience", "0", "--url", url])
    assert found.exit_code == 1
    assert "batches given up  2" in found.stdout
    assert "no answer" in found.stderr


def test_entries_without_a_server_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_REDIS_URL", f"redis://:geheim@127.0.0.1:{free_port()}")
    found = runner.invoke(app, ["entries"])
    assert found.exit_code == 2
    assert found.stderr.count("\n") == 1
    assert "geheim" not in found.output


def test_a_taken_port_ends_a_service_in_one_line() -> None:
    import socket  # noqa: PLC0415 -- for this test alone

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environment = {
            **os.environ,
            "MILLRACE_INGEST_HOST": "127.0.0.1",
            "MILLRACE_INGEST_PORT": str(taken.getsockname()[1]),
        }
        command = [sys.executable, "-m", "services.cli", "run", "ingest"]
        found = subprocess.run(command, env=environment, capture_output=True, check=False, text=True, timeout=60)
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    assert found.stderr.splitlines()[-1].startswith("millrace: port ")
    assert "MILLRACE_INGEST_PORT" in found.stderr
