"""The Python client against real services: what the writer sends is what questions answer, in every form."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from millrace_client import AsyncClient, Client, NoAnswerError, RefusedError, Reject, SpoolError, UnsentError, Writer

from services.platform.settings import Settings
from tests.support import Service, eventually, free_port
from tests.support.servers import one_mode

pytestmark = one_mode()

START = datetime(2025, 10, 22, 21, tzinfo=UTC)
WORDS: dict[str, Any] = {"sensor_id": "sensor-1", "start": START, "end": START + timedelta(hours=2)}
ROWS: list[dict[str, Any]] = [
    {"sensor_id": "sensor-1", "timestamp": START + timedelta(minutes=n), "value": n / 7} for n in (0, 1, 5, 66)
]
BERLIN = "Europe/Berlin"


@pytest.fixture
async def running(settings: Settings, service: Callable[[str, Settings], Service]) -> AsyncIterator[dict[str, str]]:
    async with contextlib.AsyncExitStack() as stack:
        names = ("ingest", "worker", "query")
        made = [await stack.enter_async_context(service(name, settings)) for name in names]
        yield {name: each.url for name, each in zip(names, made, strict=True)}


async def test_what_is_written_is_answered_in_every_form(running: dict[str, str], tmp_path: Path) -> None:
    rejects: list[Reject] = []
    old = START - timedelta(days=365 * 20)

    def write() -> None:
        with Writer(running["ingest"], ack="stored", spool=tmp_path / "spool", on_reject=rejects.append) as writer:
            for row in ROWS[:2]:
                writer.write(row["sensor_id"], row["timestamp"], row["value"])
            writer.write("sensor-1", old, 1.0)
            writer.write_many([*ROWS[2:], {"name": "air", "labels": {"room": "hall"}, "timestamp": START, "value": 1}])
            writer.flush(30)
            assert (writer.stats.acknowledged, writer.stats.rejected, writer.stats.waiting) == (5, 1, 0)

    await asyncio.to_thread(write)
    assert [(each.code, each.field, each.certain) for each in rejects] == [("too_old", "timestamp", True)]
    assert (tmp_path / "spool" / "rejects.ndjson").read_text().count("\n") == 1
    await asyncio.to_thread(_ask, running["query"])
    await _ask_async(running["query"])


def _ask(url: str) -> None:
    with Client(url) as client:
        answer = client.series(**WORDS)
        assert list(answer) == ROWS
        assert answer.meta["tz"] == "UTC"
        assert list(client.series(**WORDS, limit=2)) == ROWS[:2]

        hourly = client.series(**WORDS, agg=["count", "max"], bucket=timedelta(minutes=30), fill="null", tz=BERLIN)
        expected = [(START + timedelta(minutes=30 * n), count) for n, count in enumerate((3, None, 1, None))]
        assert [(row["timestamp"], row["count"]) for row in hourly] == expected
        frame = hourly.to_pandas()
        assert frame["timestamp"].dtype == pd.DatetimeTZDtype("us", ZoneInfo(BERLIN))
        assert [None if pd.isna(count) else count for count in frame["count"]] == [3, None, 1, None]
        assert hourly.meta["bucket"] == "30m"
        polars = hourly.to_polars()
        assert polars.schema["timestamp"] == pl.Datetime("us", BERLIN)
        assert polars["count"].to_list() == [3, None, 1, None]
        assert pa.table(hourly).column("max").to_pylist() == polars["max"].to_list()
        assert [batch.num_rows for batch in answer.batches()] == [4]
        assert pd.read_csv(io.BytesIO(b"".join(answer.content("csv"))))["value"].tolist() == [
            row["value"] for row in ROWS
        ]
        assert list(client.series(sensor_id="nobody", start=START).to_pandas().columns) == [
            "sensor_id", "timestamp", "value",
        ]  # fmt: skip

        many = client.series(**{**WORDS, "sensor_id": [f"sensor-{n:050d}" for n in range(500)] + ["sensor-1"]})
        assert many.question.request()[0] == "POST"
        assert list(many) == ROWS
        assert list(client.latest(match="sensor-*")) == ROWS[-1:]
        plain, labelled = sorted(client.sensors(stats=True), key=lambda sensor: sensor["name"] or "")
        assert (plain["sensor_id"], plain["latest"]["timestamp"]) == ("sensor-1", ROWS[-1]["timestamp"])
        assert isinstance(labelled["first_seen"], datetime)
        assert list(client.labels("room")) == ["hall"]

        with pytest.raises(RefusedError) as refused:
            list(client.series(**{**WORDS, "agg": "maximum", "bucket": "1 hour"}))
        assert {each["parameter"] for each in refused.value.parameters} == {"agg", "bucket"}
        assert (refused.value.status, refused.value.code) == (422, "invalid_parameter")
    with Client(f"http://127.0.0.1:{free_port()}", patience=0.3) as client, pytest.raises(NoAnswerError):
        list(client.series(**WORDS))


async def _ask_async(url: str) -> None:
    async with AsyncClient(url) as client:
        answer = client.series(**WORDS)
        assert [row async for row in answer] == ROWS
        assert answer.meta["tz"] == "UTC"
        assert (await answer.to_pandas())["value"].tolist() == [row["value"] for row in ROWS]
        assert (await answer.to_polars()).height == 4
        assert [batch.num_rows async for batch in answer.batches()] == [4]
        assert [label async for label in client.labels("room")] == ["hall"]
        assert len([sensor async for sensor in client.sensors()]) == 2
        assert [row async for row in client.latest(sensor_id="sensor-1")] == ROWS[-1:]
        with pytest.raises(RefusedError):
            await client.series(sensor_id="sensor-1", start="yesterday").to_arrow()


async def test_a_spool_outlives_its_process_and_ingest(
    settings: Settings, service: Callable[[str, Settings], Service], tmp_path: Path
) -> None:
    """What was synced while ingest was away is sent by the next writer, once."""
    ingest = service("ingest", settings)

    def offline() -> None:
        writer = Writer(ingest.url, spool=tmp_path, batch_rows=2)
        writer.write_many([(row["sensor_id"], row["timestamp"], row["value"]) for row in ROWS])
        writer.sync(10)
        with pytest.raises(SpoolError, match="another writer"):
            Writer(ingest.url, spool=tmp_path)
        with pytest.raises(UnsentError) as unsent:
            writer.close(0)
        assert (unsent.value.kept, unsent.value.lost) == (4, 0)

    await asyncio.to_thread(offline)
    async with ingest, service("worker", settings), service("query", settings) as query:
        await asyncio.to_thread(Writer(ingest.url, spool=tmp_path).close)
        async with AsyncClient(query.url) as client:

            async def stored() -> bool:
                return [row async for row in client.series(**WORDS)] == ROWS

            await eventually(stored)
