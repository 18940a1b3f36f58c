"""`millrace keys` writes a file that the services read."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.platform.http.auth import Keyring

runner = CliRunner()


def said(*words: str) -> Result:
    return runner.invoke(app, ["keys", *words])


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "keys.yaml")


def test_a_made_key_is_shown_once_hashed_in_the_file_and_recognised(file: str) -> None:
    made = said("new", "garden", "--scope", "ingest", "--scope", "query", "--days", "30", "--file", file)
    key = made.stdout.strip()
    assert key.startswith("millrace_")
    _, _, secret = key.split("_", 2)
    assert secret not in Path(file).read_text() + made.stderr
    assert Path(file).stat().st_mode & 0o077 == 0
    caller = Keyring(Path(file)).caller(key)
    assert caller
    assert (caller.name, [str(scope) for scope in caller.scopes]) == ("garden", ["ingest", "query"])


def test_two_keys_of_a_caller_live_side_by_side_and_a_third_must_wait(file: str) -> None:
    keys = [said("new", "garden", "--scope", "ingest", "--file", file).stdout.strip() for _ in range(2)]
    third = said("new", "garden", "--file", file)
    assert third.exit_code == 2
    assert "two keys already" in third.stderr
    old = keys[0][9:17]
    assert said("remove", old, "--file", file).exit_code == 0
    assert [Keyring(Path(file)).caller(key) is not None for key in keys] == [False, True]
    assert said("new", "garden", "--file", file).exit_code == 0
    listed = said("list", "--file", file).stdout
    assert old not in listed
    assert listed.count("garden  ingest  expires=never") == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["new", "garden"], "say which file"),
        (["new", "garden", "--file", "FILE"], "--scope"),
        (["new", "garden", "--scope", "root", "--file", "FILE"], "--scope"),
        (["new", "a b", "--scope", "ingest", "--file", "FILE"], "name"),
        (["list", "--file", "FILE"], "No such file"),
        (["remove", "00000000", "--file", "FILE"], "No such file"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(file: str, words: list[str], told: str) -> None:
    found = said(*(file if word == "FILE" else word for word in words))
    assert (found.exit_code, found.stderr.count("\n")) == (2, 1)
    assert told in found.stderr
    assert not Path(file).exists()


def test_a_service_with_a_wrong_file_of_keys_does_not_start(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(file).write_text("callers: 7")
    monkeypatch.setenv("MILLRACE_AUTH_KEYS_FILE", file)
    for workload in ("ingest", "query"):
        found = runner.invoke(app, ["run", workload])
        assert found.exit_code == 2
        assert f"{file}: callers: " in found.stderr
