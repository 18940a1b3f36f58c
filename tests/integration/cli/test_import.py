"""`millrace import` against real services: each reading of each file is stored once, however often it is begun."""

import asyncio
import gzip
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from services.contract import series_id, series_of
from services.local.environment import environment
from services.platform.settings import Settings
from services.platform.stream import Stream, names_of, redis_client
from tests.support import Service, eventually
from tests.support.readings import sql
from tests.support.service import ROOT

Make = Callable[[str, Settings], Service]
HEADER = "sensor_id,timestamp,value\n"
AGAIN = "all was sent before; --run NAME imports it again, such as into a database that was"
"""What a repeat says, but for its last word, which is read as a figure."""
START = datetime(2025, 10, 22, 21, tzinfo=UTC)


def begun(
    settings: Settings, state: Path, *arguments: str | Path, variables: dict[str, str] | None = None,
    **options: Any,
) -> subprocess.Popen[str]:  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", "import", "--state", str(state), *map(str, arguments)],
        cwd=ROOT,
        env=environment(settings) | (variables or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


async def imported(
    settings: Settings, state: Path, *arguments: str | Path, code: int = 0, given: str | None = None
) -> tuple[dict[str, str], str]:
    """Run an import to its end, and return its figures and complaints."""
    process = begun(settings, state, *arguments, stdin=subprocess.PIPE)
    told, complained = await asyncio.to_thread(process.communicate, given, 120)
    assert process.returncode == code, complained
    lines = [line.rsplit(maxsplit=1) for line in told.splitlines()]
    return {name.strip(): figure for name, figure in lines}, complained


async def values(settings: Settings) -> Counter[float]:
    return Counter(row["value"] for row in await sql(settings.database, "select value from sensor_data"))


async def stored(settings: Settings) -> Counter[float]:
    """Return the values that are stored once nothing is on its way any more."""
    stream = Stream(redis_client(settings.redis), names_of(settings.redis))

    async def drained() -> bool:
        return (await stream.backlog()).entries == 0

    try:
        await eventually(drained, 60)
    finally:
        await stream.client.aclose()
    return await values(settings)


def rows(first: int, behind: int) -> list[tuple[str, str, float]]:
    return [(f"s-{row % 7}", (START + timedelta(seconds=row)).isoformat(), float(row)) for row in range(first, behind)]


def csv_of(first: int, behind: int) -> str:
    """Return rows, behind the header where these are the first."""
    return ("" if first else HEADER) + "".join(
        f'"{name}",{time},{value}\n' for name, time, value in rows(first, behind)
    )


def frame(first: int, behind: int) -> pl.DataFrame:
    table = rows(first, behind)
    return pl.DataFrame(
        {
            "sensor_id": [row[0] for row in table],
            "timestamp": [datetime.fromisoformat(row[1]) for row in table],
            "value": [row[2] for row in table],
        }
    )


def lines_of(first: int, behind: int) -> str:
    nanos = int(START.timestamp()) * 1_000_000_000
    return "".join(
        f'm,host=h{row % 7} v={row},note="a\nb" {nanos + row * 1_000_000_000}\n' for row in range(first, behind)
    )


EXPORT = """# INFLUXDB EXPORT: 1677-09-21T00:12:43Z - 2262-04-11T23:47:16Z
# DDL
CREATE DATABASE plant WITH NAME autogen
CREATE DATABASE plant WITH NAME "a year"
# DML
# CONTEXT-DATABASE:plant
# CONTEXT-RETENTION-POLICY:autogen
# writing tsm data
"""


async def test_a_folder_of_each_format_is_stored_once_and_a_repeat_sends_nothing(
    timescaledb_settings: Settings, service: Make, tmp_path: Path
) -> None:
    settings = timescaledb_settings
    folder, state = tmp_path / "in", tmp_path / "state"
    folder.mkdir()
    (folder / "a.csv").write_text(csv_of(0, 100))
    (folder / "b.csv.gz").write_bytes(gzip.compress((HEADER + csv_of(100, 200)).encode()))
    ndjson = [{"sensor_id": name, "timestamp": time, "value": value} for name, time, value in rows(200, 300)]
    (folder / "c.jsonl").write_bytes(b"\n".join(map(orjson.dumps, ndjson)))
    (folder / "d.lp").write_text(lines_of(300, 400))
    frame(400, 50_000).write_parquet(folder / "e.parquet", row_group_size=7_000)
    frame(50_000, 50_100).write_ipc_stream(folder / "f.arrows")
    frame(50_100, 50_200).write_ipc(folder / "g.arrow")
    (folder / "notes.txt").write_text("no readings")
    (folder / ".hidden.csv").write_text("no readings")
    async with service("ingest", settings), service("worker", settings):
        figures, _ = await imported(settings, state, folder)
        assert (figures["files"], figures["readings taken"]) == ("7", "50,200")
        expected = Counter(map(float, range(50_200)))
        assert await stored(settings) == expected
        assert AGAIN not in figures
        figures, _ = await imported(settings, state, folder)
        assert (figures["pieces sent"], figures["readings taken"]) == ("0", "0")
        assert AGAIN in figures
        # Without a state each piece is sent again, and known by its key.
        figures, _ = await imported(settings, tmp_path / "another", folder)
        assert figures["readings taken"] == "50,200"
        assert AGAIN not in figures
        (folder / "a.csv").rename(folder / "z.csv")
        figures, _ = await imported(settings, state, folder)
        assert (figures["pieces sent"], figures["pieces sent before"]) == ("0", "9")
        frame(50_200, 50_201).write_csv(folder / "last.csv", datetime_format="%+")
        await imported(settings, state, folder)
        assert await stored(settings) == expected + Counter([50_200.0])


async def test_an_export_of_influxdb_brings_its_databases_as_labels(
    timescaledb_settings: Settings, service: Make, tmp_path: Path
) -> None:
    settings, export = timescaledb_settings, tmp_path / "export"
    year = "# CONTEXT-DATABASE:plant\n# CONTEXT-RETENTION-POLICY:a year\n"
    export.write_bytes(gzip.compress((EXPORT + lines_of(0, 3) + year + lines_of(3, 5)).encode()))
    async with service("ingest", settings), service("worker", settings):
        figures, _ = await imported(settings, tmp_path / "state", export, "--format", "lines")
        assert (figures["readings taken"], figures["texts not kept"]) == ("5", "5")
        await stored(settings)
        figures, _ = await imported(settings, tmp_path / "other", export, "--format", "lines", "--bucket", "b")
        await stored(settings)
    found = Counter(row["sensor_id"] for row in await sql(settings.database, "select sensor_id from sensor_data"))

    def sensor(row: int, **labels: str) -> str:
        return series_id(series_of("m", {"host": f"h{row}", **labels}.items(), "v"))

    plain = [sensor(row, db="plant") for row in range(3)]
    yearly = [sensor(row, db="plant", rp="a year") for row in (3, 4)]
    assert found == Counter([*plain, *yearly, *(sensor(row, bucket="b") for row in range(5))])


async def test_bad_records_are_named_and_kept_and_the_good_ones_stored(
    timescaledb_settings: Settings, service: Make, tmp_path: Path
) -> None:
    settings, state, rejects = timescaledb_settings, tmp_path / "state", tmp_path / "rejects"
    table, lines, packed = tmp_path / "a.csv", tmp_path / "b.lp", tmp_path / "c.parquet"
    bad = "".join(f"s,never,{row}\n" for row in range(150))
    table.write_text(HEADER + '"two\nlines",2025-10-22T21:00:00Z,1\n\n' + bad + '"open,2\ns,2025-10-22T21:00:00Z,2\n')
    lines.write_text('m f=3,s="x\ny" 1761166800000000000\nm f= 1\nm f="open 1\nm f=4 1761166800000000000\n')
    frame(5, 9).with_columns(value=pl.when(pl.col("value") != 7).then("value")).write_parquet(packed)
    more = ["--rejects", str(rejects), "--max-rejects", "200"]
    async with service("ingest", settings), service("worker", settings):
        figures, complained = await imported(settings, state, table, lines, packed, *more, code=1)
        assert await stored(settings) == Counter([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0])
        assert figures["rejected"] == "154"
        assert f"{table} line 5: not_rfc3339: timestamp 'never'" in complained
        found = [orjson.loads(line) for line in rejects.read_bytes().splitlines()]
        numbers = {name: sorted(one["number"] for one in found if one["file"] == str(name)) for name in (table, lines)}
        assert numbers == {table: list(range(5, 156)), lines: [3, 4]}
        assert {"s,never,77", '"open,2', "m f= 1"} < {one["record"] for one in found if one["unit"] == "line"}
        [row] = [one for one in found if one["unit"] == "row"]
        assert (row["number"], row["code"], row["record"]["sensor_id"]) == (3, "missing", "s-0")
        # What was told is done, and told again.
        figures, complained = await imported(settings, state, table, lines, packed, *more, code=1)
        assert [figures[name] for name in ("pieces sent", "rejected", "rejected before")] == ["0", "0", "154"]
        assert f"{packed}: 1 record of it was rejected before\n" in complained
        assert f"{lines}: 2 records of it were rejected before\n" in complained
        assert AGAIN in figures


async def test_a_row_that_is_mended_comes_in_by_itself_or_as_a_file_of_its_own(
    timescaledb_settings: Settings, service: Make, tmp_path: Path
) -> None:
    settings, state, table, mended = timescaledb_settings, tmp_path / "state", tmp_path / "a.csv", tmp_path / "b.csv"
    good = csv_of(0, 2)
    async with service("ingest", settings), service("worker", settings):
        table.write_text(good.replace("2025-10-22T", "22.10.2025 "))
        await imported(settings, state, table, code=1)
        table.write_text(f"{good}s-2,yesterday,2\n")
        figures, _ = await imported(settings, state, table, code=1)
        assert figures["readings taken"] == "2"
        table.write_text(good + csv_of(2, 3))
        _, complained = await imported(settings, state, table, code=1)
        assert "as a file of their own (--rejects FILE gives them); --replaced stores all of the file ag" in complained
        mended.write_text(HEADER + csv_of(2, 3))
        await imported(settings, state, mended)
        assert await stored(settings) == Counter([0.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("timestamp,boiler-1,boiler-2\n2025-10-22T06:00:00Z,61.5,58.0\n", "say --layout wide"),
        ("sensor_id;timestamp;value\nporch;2025-10-22T06:00:00Z;7,5\n", "columns are separated by commas"),
    ],
)
async def test_a_file_that_is_nearly_right_is_told_what_it_lacks(
    timescaledb_settings: Settings, service: Make, tmp_path: Path, text: str, hint: str
) -> None:
    table = tmp_path / "a.csv"
    table.write_text(text)
    async with service("ingest", timescaledb_settings):
        _, complained = await imported(timescaledb_settings, tmp_path / "state", table, code=1)
        _, stopped = await imported(timescaledb_settings, tmp_path / "other", table, "--max-rejects", "0", code=2)
    assert complained.count(hint) == stopped.count(hint) == 1


async def test_a_file_that_is_something_else_stops_the_import_at_once(
    timescaledb_settings: Settings, service: Make, tmp_path: Path
) -> None:
    table = tmp_path / "a.csv"
    table.write_text(csv_of(0, 5000).replace("sensor_id", "who"))
    async with service("ingest", timescaledb_settings):
        _, complained = await imported(timescaledb_settings, tmp_path / "state", table, code=2)
    assert f"{table} from line 2 on: 422 invalid_readings: 5000 of 5000" in complained
    assert "--max-rejects 1000" in complained


async def test_wide_tables_and_standard_input_come_in(
    timescaledb_settings: Settings, service: Make, tmp_path: Path
) -> None:
    settings, state, wide = timescaledb_settings, tmp_path / "state", tmp_path / "wide.csv"
    names = [f"s-{number}" for number in range(200)]
    body = "".join(
        f"{(START + timedelta(seconds=row)).isoformat()},{','.join(str(row * 200 + one) for one in range(200))}\n"
        for row in range(300)
    )
    wide.write_text(f"timestamp,{','.join(names)}\n{body}")
    async with service("ingest", settings), service("worker", settings):
        figures, _ = await imported(settings, state, wide, "--layout", "wide", "--gzip")
        assert figures["readings taken"] == "60,000"
        assert await stored(settings) == Counter(map(float, range(60_000)))
        for _ in range(2):
            await imported(settings, state, "-", "--format", "csv", given=HEADER + csv_of(60_000, 60_010))
        assert (await stored(settings)).total() == 60_010


async def test_a_file_that_grows_goes_on_and_one_that_changed_is_refused(
    timescaledb_settings: Settings, service: Make, tmp_path: Path
) -> None:
    settings, state, table = timescaledb_settings, tmp_path / "state", tmp_path / "log.csv"
    async with service("ingest", settings), service("worker", settings):
        for end in (10, 30, 60):
            table.write_text(csv_of(0, end) + "s-1,2025-10-22T")
            await imported(settings, state, table, "--growing")
        assert await stored(settings) == Counter(map(float, range(60)))
        # Turned: what stood under this name now has another, and was imported in several steps.
        table.write_text(csv_of(0, 60))
        table.rename(tmp_path / "log.csv.1")
        table.write_text(HEADER + csv_of(60, 70))
        files: list[str | Path] = [table, tmp_path / "log.csv.1", "--format", "csv"]
        _, complained = await imported(settings, state, *files, code=1)
        assert f"{table}: what was imported of it from line 2 on is not what stands there now" in complained
        figures, _ = await imported(settings, state, *files, "--replaced")
        assert figures["readings taken"] == "10"
        assert await stored(settings) == Counter(map(float, range(70)))
        table.write_text(HEADER + csv_of(60, 70) + "s-1,2025-10-22T22:00:00Z,7")
        await imported(settings, state, table)
        table.write_text(HEADER + csv_of(60, 70) + "s-1,2025-10-22T22:00:00Z,70\n")
        _, complained = await imported(settings, state, table, code=1)
        assert "line 12 was not whole when it was imported; say --growing" in complained


@pytest.mark.parametrize("name", ["many.csv", "many.lp", "many.parquet"])
async def test_an_import_that_is_killed_again_and_again_stores_each_reading_once(
    name: str, timescaledb_settings: Settings, service: Make, tmp_path: Path
) -> None:
    settings, state, file, failpoints = (
        timescaledb_settings,
        tmp_path / "state",
        tmp_path / name,
        tmp_path / "failpoints",
    )
    failpoints.mkdir()
    count, seed = 60_000, random.randrange(2**32)
    print(f"{seed=}")
    dice = random.Random(seed)
    places = ["import.before_post", "import.after_post"] * 2
    dice.shuffle(places)
    ends = [*sorted(dice.sample(range(20_000, count), len(places) - 1)), count]
    async with service("ingest", settings), service("worker", settings):
        for place, first, behind in zip(places, [0, *ends], ends, strict=False):
            if name == "many.parquet":
                frame(0, count).write_parquet(file)
            else:
                # The file grows between the kills.
                with file.open("a") as grown:
                    grown.write(csv_of(first, behind) if file.suffix == ".csv" else lines_of(first, behind))
            (failpoints / place).write_text("kill")
            killed = begun(settings, state, file, variables={"FAILPOINTS": str(failpoints)})
            await asyncio.to_thread(killed.communicate)
            assert killed.returncode == -signal.SIGKILL
        await imported(settings, state, file)
        assert await stored(settings) == Counter(map(float, range(count)))


async def test_pieces_that_ingest_takes_only_smaller_are_halved(
    timescaledb_settings: Settings, service: Make, tmp_path: Path
) -> None:
    small = timescaledb_settings.ingest.model_copy(update={"max_rows": 700, "max_body_bytes": 20_000})
    settings = timescaledb_settings.model_copy(update={"ingest": small})
    file, table = tmp_path / "a.csv", tmp_path / "b.parquet"
    file.write_text(csv_of(0, 5000))
    frame(5000, 7000).write_parquet(table)
    async with service("ingest", settings), service("worker", settings):
        await imported(settings, tmp_path / "state", file, table)
        assert await stored(settings) == Counter(map(float, range(7000)))
        figures, _ = await imported(settings, tmp_path / "state", file, table)
        assert figures["pieces sent"] == "0"
