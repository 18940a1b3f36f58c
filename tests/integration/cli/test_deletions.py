"""`millrace delete` and `millrace deletions` against a running ingest and repair."""

import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Callable

import orjson
import pytest

from services.local.environment import environment
from services.local.process import adorned
from services.platform.settings import Settings
from tests.support import Service
from tests.support.readings import rows_in, sql
from tests.support.service import ROOT

RANGE = "--start 2025-10-22T21:00:00Z --end 2025-10-22T22:00:00Z"


@pytest.fixture
async def running(
    timescaledb_settings: Settings, service: Callable[[str, Settings], Service]
) -> AsyncIterator[Settings]:
    repair = timescaledb_settings.repair.model_copy(update={"interval": 0.1})
    settings = timescaledb_settings.model_copy(update={"repair": repair})
    make = """
        insert into sensor_data (timestamp, sensor_id, value)
        select '2025-10-22 20:30Z'::timestamptz + minute * interval '1 minute', sensor, 1.0
        from generate_series(0, 59) as minute, unnest(array['a', 'größe b']) as sensor
    """
    await sql(settings.database, make)
    async with service("ingest", settings), service("repair", settings):
        yield settings


def said(settings: Settings, command: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        adorned([sys.executable, "-m", "services.cli", *shlex.split(command)]),
        cwd=ROOT,
        env=environment(settings),
        input=answer,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


async def test_readings_are_counted_deleted_when_one_says_yes_and_listed(running: Settings) -> None:
    delete = f"delete --sensor a --sensor 'größe b' {RANGE} --reason 'it hung in the air'"
    assert said(running, f"{delete} --dry-run").stdout == "60 readings in 1 hours\n"
    refused = said(running, delete, "n\n")
    assert (refused.returncode, len(await rows_in(running.database))) == (1, 120)
    assert "60 readings in 1 hours; delete them?" in refused.stderr
    done = said(running, f"{delete} --wait --key k1", "y\n")
    assert done.returncode == 0, done.stderr
    assert "done  rows=60  hours=1  a, größe b  2025-10-22T21:00:00Z to 2025-10-22T22:00:00Z" in done.stdout
    assert len(await rows_in(running.database)) == 60
    again = orjson.loads(said(running, f"{delete} --yes --json --key k1").stdout)
    [listed] = said(running, "deletions --json").stdout.splitlines()
    assert orjson.loads(listed) == again
    assert said(running, "deletions").stdout.strip() == done.stdout.strip()


WRONG = {
    "--sensor a --start yesterday --end 2025-10-22T22:00:00Z --reason r": "start: is not an RFC 3339 timestamp",
    "--sensor a --start 2025-10-22T22:00:00Z --end 2025-10-22T22:00:00Z --reason r": "start: must be before end",
    f"--sensor a {RANGE} --reason r --url http://127.0.0.1:9": "the administrative port at",
}


def test_what_is_wrong_with_a_deletion_is_told_in_one_line(running: Settings) -> None:
    for options, told in WRONG.items():
        found = said(running, f"delete --yes {options}")
        assert (found.returncode, found.stderr.count("\n")) == (2, 1)
        assert told in found.stderr
