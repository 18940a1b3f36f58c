"""`millrace query` against a running query service, in both database modes."""

import asyncio
import os
import pty
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import orjson
import polars as pl
import pytest
from rich.text import Text

from services.local.environment import environment
from services.local.process import adorned
from services.platform.settings import Settings
from tests.support import Service, TestDatabase, free_port
from tests.support.proxy import Proxy, proxied
from tests.support.query import EPOCH, insert, owner, query_settings
from tests.support.servers import one_mode
from tests.support.service import ROOT

DEMO = [(0, 25.3), (1, 26.7), (5, 30.7), (60, 10.0), (66, 12.0), (66, 114.0)]
RANGE = "--start 2025-10-22T21:00:00Z --end 2025-10-22T23:00:00Z"
QUERY = f"query --sensor-id sensor-1 --sensor-id 'größe b' {RANGE}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds no logs."""
    made = tmp_path / "answers"
    made.mkdir()
    return made


@pytest.fixture
async def running(database: TestDatabase, service: Callable[[str, Settings], Service]) -> AsyncIterator[Settings]:
    async with owner(database) as connection:
        await insert(connection, "sensor-1", [(timedelta(minutes=minute), value) for minute, value in DEMO])
        await insert(connection, "größe b", [(timedelta(minutes=minute), minute / 7) for minute in range(0, 120, 10)])
    settings = query_settings(database)
    async with service("query", settings):
        yield settings


async def said(settings: Settings, command: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command beside the loop, in which the database's proxies may run."""
    return await asyncio.to_thread(
        subprocess.run,
        adorned([sys.executable, "-m", "services.cli", *shlex.split(command)]),
        cwd=ROOT,
        env=environment(settings) | variables,
        capture_output=True,
        timeout=120,
        check=False,
    )


async def on_a_terminal(settings: Settings, command: str) -> tuple[int, str]:
    """Run a command on a terminal of 100 × 30 and return its exit code and what it shows."""

    def run() -> tuple[int, str]:
        ours, its = pty.openpty()
        with os.fdopen(ours, "rb", buffering=0) as screen:
            done = subprocess.Popen(
                adorned([sys.executable, "-m", "services.cli", *shlex.split(command)]),
                cwd=ROOT,
                env=environment(settings) | {"COLUMNS": "100", "LINES": "30", "TERM": "xterm-256color"},
                stdin=its, stdout=its, stderr=its,
            )  # fmt: skip
            os.close(its)
            shown = b""
            try:
                while part := screen.read(65_536):
                    shown += part
            except OSError:
                pass  # the other end is closed
            return done.wait(60), shown.decode().replace("\r\n", "\n")

    return await asyncio.to_thread(run)


@one_mode()
async def test_without_a_terminal_rows_are_lines_with_tabs_and_meta_stands_apart(running: Settings) -> None:
    found = await said(running, f"{QUERY} --agg count,max --bucket 1h --tz Europe/Berlin")
    assert found.returncode == 0, found.stderr
    assert found.stdout.decode().splitlines() == [
        "sensor_id\ttimestamp\tcount\tmax",
        "größe b\t2025-10-22T23:00:00+02:00\t6\t7.142857142857143",
        "größe b\t2025-10-23T00:00:00+02:00\t6\t15.714285714285714",
        "sensor-1\t2025-10-22T23:00:00+02:00\t3\t30.7",
        "sensor-1\t2025-10-23T00:00:00+02:00\t3\t114.0",
    ]
    told = found.stderr.decode().splitlines()
    assert told[0] == "4 rows"
    assert "source: rows from 2025-10-22T23:00:00+02:00 to 2025-10-23T01:00:00+02:00" in told
    assert {"bucket: 1h", "tz: Europe/Berlin"} <= set(told)


@one_mode()
async def test_a_terminal_shows_a_table_and_a_plot(running: Settings) -> None:
    code, table = await on_a_terminal(running, f"{QUERY} --agg avg --bucket 1h")
    assert code == 0, table
    assert "sensor_id" in table
    assert "45.333333333333336" in table
    assert max(map(len, Text.from_ansi(table).plain.splitlines())) <= 100
    code, plot = await on_a_terminal(running, f"{QUERY} --plot --tz Asia/Kathmandu")
    assert code == 0, plot
    assert "Asia/Kathmandu" in plot
    assert "a größe b" in plot
    assert "b sensor-1" in plot
    assert "\x1b[36m" in plot, "no colours"


@one_mode()
async def test_a_binary_format_is_kept_off_a_terminal(running: Settings) -> None:
    code, shown = await on_a_terminal(running, f"{QUERY} --format arrow")
    assert code == 2
    assert "--output FILE" in Text.from_ansi(shown).plain


@one_mode()
async def test_a_format_goes_out_as_it_comes_and_into_a_file_whole(running: Settings, folder: Path) -> None:
    lines = (await said(running, f"{QUERY} --format ndjson")).stdout.splitlines()
    assert [orjson.loads(line)["value"] for line in lines[-6:]] == [value for _, value in DEMO]
    file = folder / "answer.parquet"
    file.write_text("of yesterday")
    file.chmod(0o640)
    saved = await said(running, f"{QUERY} --format parquet --output {file}")
    assert (saved.returncode, saved.stdout) == (0, b"")
    assert pl.read_parquet(file)["value"].to_list()[-6:] == [value for _, value in DEMO]
    assert file.stat().st_mode & 0o777 == 0o640
    assert names_in(file.parent) == [file.name]


@one_mode()
async def test_a_wrong_question_is_told_by_option(running: Settings) -> None:
    found = await said(running, "query --sensor-id a --start yesterday --agg avg,mode --bucket 0s --tz Mars/Base")
    assert found.returncode == 2
    assert found.stdout == b""
    told = found.stderr.decode()
    assert all(f"millrace: --{name}: " in told for name in ("start", "agg", "bucket", "tz")), told
    assert "Traceback" not in told


@one_mode()
async def test_what_cannot_be_written_is_one_line(running: Settings) -> None:
    full = await said(running, f"{QUERY} --format json --output /dev/full")
    nowhere = await said(running, f"{QUERY} --format json --output /nowhere/answer.json")
    for found, why in ((full, "No space left"), (nowhere, "No such file")):
        assert found.returncode == 1
        assert found.stderr.decode().count("\n") == 1
        assert why in found.stderr.decode()


@one_mode()
async def test_a_connection_that_breaks_fails_and_leaves_no_file(
    database: TestDatabase, running: Settings, folder: Path
) -> None:
    many = f"""
        insert into sensor_data (timestamp, sensor_id, value)
        select '{EPOCH.isoformat()}'::timestamptz + number * interval '10 ms', 'many', random()
        from generate_series(1, 300000) as number
    """
    async with owner(database) as connection:
        await connection.execute(many)
    file = folder / "answer"
    ask = f"query --sensor-id many {RANGE} --url http://127.0.0.1:{{}}"
    for way in ["", "--plot --points 100000", "--format csv", f"--format parquet --output {file}"]:
        async with proxied(running.query.host, running.query.port) as proxy:
            pieces = iter(range(6))

            def cut_on_the_way(proxy: Proxy = proxy, pieces: Iterator[int] = pieces) -> float:
                if next(pieces, None) is None:
                    proxy.cut()
                return 0.0

            proxy.latency = cut_on_the_way
            found = await said(running, f"{ask.format(proxy.port)} {way}")
        assert found.returncode == 1, (way, found.stderr)
        assert found.stderr.decode().count("\n") == 1, found.stderr
        assert found.stderr.startswith(b"millrace: ")
    assert names_in(file.parent) == []


async def test_nobody_there_is_one_line() -> None:
    for words in ("query --sensor-id a --start -6h", "latest --match '*'", "sensors"):
        found = await said(Settings(), f"{words} --url http://me:geheim@127.0.0.1:{free_port()}")
        assert found.returncode == 1
        assert found.stderr.decode().count("\n") == 1
        assert b"geheim" not in found.stderr


@one_mode()
async def test_latest_and_sensors_have_their_own_words(database: TestDatabase, running: Settings) -> None:
    async with owner(database) as connection:
        await connection.execute(
            "insert into sensors (sensor_id) values ('größe b'), ('sensor-1') on conflict do nothing"
        )
    newest = await said(running, "latest --match '*' --at 2025-10-22T22:00:00Z --tz Asia/Kathmandu")
    assert newest.returncode == 0, newest.stderr
    assert "sensor-1\t2025-10-23T03:45:00+05:45\t10.0" in newest.stdout.decode().splitlines()
    assert b"tz: Asia/Kathmandu" in newest.stderr
    found = await said(running, "sensors --stats --json")
    assert found.returncode == 0, found.stderr
    rows = [orjson.loads(line) for line in found.stdout.splitlines()]
    assert [row["sensor_id"] for row in rows] == ["größe b", "sensor-1"]
    assert rows[1]["latest"]["value"] == 114.0
    page = await said(running, "sensors --limit 1")
    assert (page.returncode, page.stdout.count(b"\n")) == (0, 2)
    assert "more follow: --after größe b" in page.stderr.decode()


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
