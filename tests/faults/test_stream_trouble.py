"""The stream's server loses power, its data or its mind; what was promised is kept, what is lost is told."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from services.contract import GROUP, StreamNames
from services.local.valkey import ValkeyServer
from services.platform.settings import RedisSettings, Settings
from services.platform.stream import Stream, redis_client
from tests.conftest import whole
from tests.support import TestDatabase, eventually
from tests.support.faults import LEAVES_ALONE, Make, drained, worker
from tests.support.ingest import READING, entries
from tests.support.moments import counted
from tests.support.readings import rows_in
from tests.support.service import ROOT

pytestmark = pytest.mark.long

BATCHES = 60


@pytest.fixture
def own(database: TestDatabase, valkey: ValkeyServer) -> Settings:
    """Settings on a Valkey of the test's own."""
    return whole(database, RedisSettings(url=SecretStr(valkey.url)))


@pytest.fixture
async def stream(own: Settings) -> AsyncIterator[Stream]:
    async with redis_client(own.redis) as client:
        yield Stream(client, StreamNames(own.redis.stream))


@pytest.fixture
def fsync_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let servers that start from now on note what they have fsynced."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler is here to build what notes a server's fsyncs")
    library, notes = tmp_path / "fsync.so", tmp_path / "notes"
    notes.mkdir()
    source = ROOT / "tests" / "support" / "fsync.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("FSYNC_NOTES", str(notes))
    return notes


async def send(client: httpx.AsyncClient, number: int, ack: str = "durable") -> str | None:
    """Send one reading; return its batch id where it was acknowledged."""
    try:
        answer = await client.post(f"/ingest?ack={ack}", json=[{**READING, "value": number}])
    except httpx.TransportError:
        return None
    return str(answer.json()["batch_id"]) if answer.status_code in {200, 202} else None


def cut_back(valkey: ValkeyServer, notes: Path) -> int:
    """Cut the append-only file back to its last fsync, as a power cut may; return the bytes that went."""
    [file] = valkey.folder.glob("appendonlydir/*.incr.aof")
    note = notes / file.name
    there, kept = file.stat().st_size, int(note.read_text()) if note.exists() else 0
    with file.open("r+b") as opened:
        opened.truncate(kept)
    return there - kept


async def test_row_07_what_was_durable_survives_a_power_cut(
    fsync_notes: Path, own: Settings, valkey: ValkeyServer, service: Make, stream: Stream
) -> None:
    await stop(valkey)
    await valkey.start()
    async with service("ingest", own):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{own.ingest.port}", timeout=60) as client:
            sending = [asyncio.create_task(send(client, number)) for number in range(BATCHES)]
            queued = [asyncio.create_task(send(client, number, "queued")) for number in range(BATCHES)]
            await asyncio.wait(sending[: BATCHES // 2])
            await stop(valkey)
            acknowledged = {batch_id for batch_id in await asyncio.gather(*sending) if batch_id}
            await asyncio.gather(*queued)
        cut_back(valkey, fsync_notes)
        await valkey.start()
        kept = {str(batch.batch_id) for entry in await entries(stream) for batch in entry.batches}
    assert len(acknowledged) >= BATCHES // 2
    assert acknowledged <= kept


async def test_row_07_the_cut_takes_what_only_everysec_had_promised(
    fsync_notes: Path, valkey: ValkeyServer, stream: Stream
) -> None:
    await stop(valkey)
    await valkey.start()
    await stream.client.config_set("appendfsync", "everysec")
    for number in range(2_000):
        await stream.client.xadd(stream.names.stream, {"n": number})
    await stop(valkey)
    assert cut_back(valkey, fsync_notes) > 0, "the tool of the test above cuts nothing"


async def stop(valkey: ValkeyServer) -> None:
    assert valkey.process
    valkey.process.kill()
    await valkey.ended()


async def test_row_08_a_torn_end_of_the_append_only_file_is_dropped_and_what_was_read_comes_again(
    own: Settings, valkey: ValkeyServer, service: Make
) -> None:
    async with service("ingest", own), service("worker", worker(own, "w")):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{own.ingest.port}") as client:
            assert await send(client, 1)
            await drained(own)
            await stop(valkey)
            # The tail holds the acknowledgement: without it the entry is there again, and the ledger knows it.
            [file] = valkey.folder.glob("appendonlydir/*.incr.aof")
            with file.open("r+b") as opened:
                opened.truncate(file.stat().st_size - 7)
            await valkey.start()
            assert await eventually(lambda: send(client, 2), 30)
        await drained(own)
    assert [value for _, _, value in await rows_in(own.database)] == [1.0, 2.0]


@pytest.mark.parametrize("loss", ["FLUSHALL", "DEL", "XGROUP DESTROY"])
async def test_row_09_a_stream_that_is_lost_is_made_again_and_the_loss_is_counted(
    own: Settings, service: Make, stream: Stream, loss: str
) -> None:
    async with service("ingest", own), service("worker", worker(own, "w")) as process:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{own.ingest.port}") as client:
            assert await send(client, 1)
            await drained(own)
            name = {"FLUSHALL": [], "DEL": [stream.names.stream], "XGROUP DESTROY": [stream.names.stream, GROUP]}[loss]
            await stream.client.execute_command(*loss.split(), *name)  # type: ignore[no-untyped-call]
            await eventually(lambda: counted(process, "millrace_stream_losses_total"))
            assert await eventually(lambda: send(client, 2))
        await drained(own)
        assert await process.is_ready()
    assert len(await rows_in(own.database)) == 2


def tidy(settings: Settings, name: str, **own: float) -> Settings:
    """Return a worker that keeps house all the time."""
    return worker(settings, name, janitor_interval=0.2, consumer_idle=0.5, **own)


async def test_row_28_of_five_hundred_short_lived_consumers_those_that_hold_nothing_are_removed(
    own: Settings, service: Make, stream: Stream
) -> None:
    await stream.ensure_group()
    for number in range(500):
        await stream.client.xgroup_createconsumer(stream.names.stream, GROUP, f"gone-{number}")
    await stream.client.xadd(stream.names.stream, {"v": "9", "n": "1", "e": b"of a later release"})
    assert len(await stream.read_new("holds", 1, 0.1)) == 1
    async with service("worker", tidy(own, "w", reclaim_idle=LEAVES_ALONE)):

        async def left() -> set[bytes]:
            return {each["name"] for each in await stream.client.xinfo_consumers(stream.names.stream, GROUP)}

        async def tidied() -> bool:
            return await left() <= {b"holds", b"w"}

        await eventually(tidied)
        assert b"holds" in await left()


async def test_row_29_what_a_removed_consumer_held_is_delivered_again_and_stored_once(
    own: Settings, service: Make, stream: Stream
) -> None:
    async with service("ingest", own):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{own.ingest.port}") as client:
            for number in range(3):
                assert await send(client, number)
        await stream.ensure_group()
        assert len(await stream.read_new("removed", 2, 1.0)) == 2
        await stream.client.xgroup_delconsumer(stream.names.stream, GROUP, "removed")
        async with service("worker", tidy(own, "w")) as process:
            await drained(own)
            assert await counted(process, "millrace_stream_losses_total") == 1
    assert len(await rows_in(own.database)) == 3
