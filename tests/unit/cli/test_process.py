"""What the commands say of addresses and of text that others wrote."""

import pytest
from typer import BadParameter
from typer.testing import CliRunner

from services.cli.app import app
from services.cli.entries import lines
from services.cli.process import address, printable

SECRET = "hunter2hunter2"
HOSTILE = "a\x1b[2J\r\nb\0\u202e\u2028\x9bc\ud800"


@pytest.mark.parametrize(
    "url", [f"u:{SECRET}@h", f"http://u:{SECRET}@h:99999", f"http://u:{SECRET}@[h", f"http://u:{SECRET}/x@h", ""]
)
def test_what_is_no_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(BadParameter, match="no address") as refused:
        address(url)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "command",
    [
        ["dead-letters", "list", "--url"],
        ["send", "--rows", "1", "--patience", "0", "--url"],
        ["demo", "--query", "http://127.0.0.1:1", "--ingest"],
    ],
)
@pytest.mark.parametrize("where", ["127.0.0.1:1", "127.0.0.1:x"])
def test_no_command_shows_the_password_of_an_address(
    command: list[str], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.local.demo.START", 0.0)
    found = CliRunner().invoke(app, [*command, f"http://user:{SECRET}@{where}"])
    assert found.exit_code in {1, 2}
    assert SECRET not in found.output
    assert "Traceback" not in found.output


def test_text_of_others_cannot_move_the_cursor_or_begin_a_line() -> None:
    assert printable(HOSTILE) == r"a\x1b[2J\r\nb\x00\u202e\u2028\x9bc\ud800"
    assert printable("Fühler 7 °C 温度") == "Fühler 7 °C 温度"


def test_entries_are_shown_with_a_line_for_each_part_whatever_they_hold() -> None:
    row = {"timestamp": "2026-01-01T00:00:00Z", "value": 1.0, "sensor_id": HOSTILE}
    entry = {"id": "1-0", HOSTILE: HOSTILE, "batches": [{"batch_id": HOSTILE}], "first_rows": [row]}
    assert all(line.isprintable() for line in lines(entry))
    assert len(list(lines(entry))) == 3
