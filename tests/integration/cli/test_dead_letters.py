"""`millrace dead-letters` against a running ingest."""

import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.contract import StreamNames, encode
from services.platform.settings import Settings
from services.platform.stream import Stream, redis_client
from tests.support import Service
from tests.support.readings import entry_of, raw_entries
from tests.support.stack import said_by

NOW = 1_790_000_000_000_000


@pytest.fixture
async def running(
    timescaledb_settings: Settings, service: Callable[[str, Settings], Service]
) -> AsyncIterator[Settings]:
    async with service("ingest", timescaledb_settings):
        yield timescaledb_settings


@pytest.fixture
async def stream(running: Settings) -> AsyncIterator[Stream]:
    """A stream with 250 letters whose database is mended, and one that is damaged."""
    found = Stream(redis_client(running.redis), StreamNames(running.redis.stream))
    for number in range(250):
        entry = entry_of([(f"s{number}", NOW, float(number))])
        letter: dict[Any, Any] = {"reason": "refused", "batch_id": str(entry.batches[0].batch_id), **encode(entry)}
        await found.client.xadd(found.names.dead, letter)
    await found.client.xadd(found.names.dead, {"reason": "damaged", "e": b"\x00"})
    yield found
    await found.client.aclose()


def said(settings: Settings, command: str) -> subprocess.CompletedProcess[str]:
    return said_by(f"dead-letters {command}", settings)


async def test_letters_are_listed_replayed_mended_and_deleted(
    running: Settings, stream: Stream, tmp_path: Path
) -> None:
    listed = said(running, "list --reason refused --count 3 --json")
    letters = [orjson.loads(line) for line in listed.stdout.splitlines()]
    assert ([letter["rows"] for letter in letters], listed.stderr) == ([1] * 3, "3 of 251 dead letters\n")
    shown = said(running, f"show {letters[2]['letter_id']}").stdout
    assert "reason=refused" in shown
    assert "  2.0  s2" in shown
    assert said(running, f"replay {letters[0]['letter_id']}").stdout == "replayed 1 dead letters, 0 stay\n"
    gone = said(running, f"replay {letters[0]['letter_id']}")
    assert (gone.returncode, gone.stderr.count("\n")) == (2, 1)
    assert "unknown_letter" in gone.stderr

    readings = orjson.loads(said(running, f"show --readings {letters[1]['letter_id']}").stdout)
    (tmp_path / "mended.json").write_bytes(orjson.dumps([{**reading, "value": -1} for reading in readings]))
    assert said(running, f"mend {letters[1]['letter_id']} {tmp_path / 'mended.json'}").returncode == 0

    replayed = said(running, "replay --all")
    assert (replayed.returncode, replayed.stdout) == (1, "replayed 248 dead letters, 1 stay\n")
    assert "stays: letter_damaged: " in replayed.stderr
    assert len(await raw_entries(stream)) == 250
    assert said(running, "delete --older 1").stdout == "deleted 0 dead letters\n"
    assert said(running, "delete --reason damaged").stdout == "deleted 1 dead letters\n"
    assert said(running, "list").stderr == "0 of 0 dead letters\n"


@pytest.mark.parametrize("command", ["replay", "delete", "replay --all 1-1", "delete --all --reason refused"])
def test_which_letters_are_meant_must_be_said_once(running: Settings, command: str) -> None:
    found = said(running, command)
    assert found.returncode == 2
    assert "say which" in found.stderr


def test_an_administrative_port_that_is_away_is_told_in_one_line(running: Settings) -> None:
    found = said(running, "list --url http://127.0.0.1:9")
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
