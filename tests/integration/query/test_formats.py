"""Answers in every format and coding by HTTP: equal rows, flat in memory, and never whole when they are not."""

import asyncio
import csv
import gzip
import io
import json
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import duckdb
import httpx
import polars as pl
import psutil
import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard

from services.platform.settings import Settings
from services.query.formats import MEDIA_TYPES
from tests.support import Service, TestDatabase, eventually
from tests.support.query import EPOCH, LARGE, STREAMING, backends, fill, insert, owner, query_settings
from tests.support.servers import one_mode

Start = Callable[[str, Settings], Service]
Rows = list[tuple[Any, ...]]

MILLION = 1_000_000
MIB = 1024 * 1024
RANGE = {"sensor_id": LARGE, "start": EPOCH.isoformat(), "end": (EPOCH + timedelta(days=365)).isoformat()}
FIRST_MILLION = RANGE | {"end": (EPOCH + timedelta(seconds=MILLION)).isoformat()}
TYPES = {**MEDIA_TYPES, "csv": "text/csv; charset=utf-8"}
OTHERS = [name for name in MEDIA_TYPES if name != "json"]
READ: dict[str, Callable[[str], Any]] = {
    "id": int, "timestamp": datetime.fromisoformat, "sensor_id": str, "value": float,
    "avg": float, "min": float, "max": float, "samples": int,
}  # fmt: skip


def from_objects(objects: list[dict[str, Any]]) -> Rows:
    return [tuple(READ[name](str(value)) for name, value in each.items()) for each in objects]


def from_json(body: bytes) -> Rows:
    found = json.loads(body)
    return from_objects(found if isinstance(found, list) else found["data"])


def from_csv(body: bytes) -> Rows:
    found = csv.DictReader(io.StringIO(body.decode(), newline=""), strict=True)
    return [tuple(READ[name](text) for name, text in row.items()) for row in found]


def from_table(table: pa.Table) -> Rows:
    return [tuple(row.values()) for row in table.to_pylist()]


ROWS: dict[str, Callable[[bytes], Rows]] = {
    "json": from_json,
    "ndjson": lambda body: from_objects([json.loads(line) for line in body.splitlines()]),
    "csv": from_csv,
    "arrow": lambda body: from_table(pa.ipc.open_stream(body).read_all()),
    "parquet": lambda body: from_table(pyarrow.parquet.read_table(io.BytesIO(body))),
}


@pytest.mark.parametrize("many", [0, 1, 700])
async def test_each_format_has_the_rows_of_json(database: TestDatabase, client: httpx.AsyncClient, many: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    rows = [(timedelta(seconds=number * 60, microseconds=number % 3), chance.gauss(20, 3)) for number in range(many)]
    async with owner(database) as connection:
        await insert(connection, LARGE, rows, late=True)
    for path in ("/get_range", "/hourly"):
        plain = await client.get(path, params=RANGE)
        assert plain.headers["content-type"] == "application/json"
        expected = from_json(plain.content)
        assert len(expected) == many or path == "/hourly"
        for name, media in TYPES.items():
            for chosen in (
                await client.get(path, params={**RANGE, "format": name}, headers={"Accept": "text/html"}),
                await client.get(path, params=RANGE, headers={"Accept": f"{MEDIA_TYPES[name]}, */*;q=0.1"}),
            ):
                assert chosen.status_code == 200, chosen.text
                assert chosen.headers["content-type"] == media
                assert chosen.headers["vary"] == "Accept, Accept-Encoding"
                assert ROWS[name](chosen.content) == expected
            head = await client.head(path, params={**RANGE, "format": name})
            assert (head.status_code, head.headers["content-type"], head.content) == (200, media, b"")


async def test_a_format_that_is_not_there_is_refused(client: httpx.AsyncClient) -> None:
    for path in ("/get_range", "/hourly"):
        for refused in (
            await client.get(path, params={**RANGE, "format": "xml"}),
            await client.get(path, params=RANGE, headers={"Accept": "text/html"}),
        ):
            assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")
            assert refused.headers["content-type"] == "application/problem+json"
            assert "ndjson" in refused.json()["detail"]
        twice = await client.get(path, params=[*RANGE.items(), ("format", "csv"), ("format", "csv")])
        assert (twice.status_code, twice.json()["code"]) == (422, "invalid_parameter")


@pytest.mark.parametrize("name", OTHERS)
async def test_a_limit_is_refused_where_there_are_no_pages(client: httpx.AsyncClient, name: str) -> None:
    for asked in (
        await client.get("/get_range", params={**RANGE, "limit": 5, "format": name}),
        await client.get("/get_range", params={**RANGE, "limit": 5}, headers={"Accept": MEDIA_TYPES[name]}),
    ):
        assert asked.status_code == 422
        assert [fault["parameter"] for fault in asked.json()["parameters"]] == ["limit"]


DECODED: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
    "gzip": gzip.decompress,
}


async def raw(client: httpx.AsyncClient, url: str, name: str, coding: str) -> tuple[httpx.Response, bytes]:
    parameters, headers = {**RANGE, "format": name}, {"Accept-Encoding": coding}
    async with client.stream("GET", url, params=parameters, headers=headers) as response:
        return response, b"".join([part async for part in response.aiter_raw()])


@pytest.mark.parametrize("coding", DECODED)
async def test_large_answers_are_compressed_where_that_is_asked_for(
    database: TestDatabase, client: httpx.AsyncClient, coding: str
) -> None:
    await fill(database, LARGE, range(20_000), 7)
    for name in MEDIA_TYPES:
        _, plain = await raw(client, "/get_range", name, "identity")
        response, body = await raw(client, "/get_range", name, coding)
        assert response.headers["vary"] == "Accept, Accept-Encoding"
        if name == "parquet":
            assert "content-encoding" not in response.headers
            assert body == plain
        else:
            assert response.headers["content-encoding"] == coding
            assert len(body) < len(plain)
            assert DECODED[coding](body) == plain
    small = await client.get("/hourly", params=RANGE, headers={"Accept-Encoding": coding})
    assert "content-encoding" not in small.headers


@one_mode()
@pytest.mark.parametrize("name", OTHERS)
async def test_a_million_rows_are_flat_in_memory(large: TestDatabase, service: Start, name: str) -> None:
    async with service("query", query_settings(large)) as query, httpx.AsyncClient(timeout=60) as client:
        assert query.process
        process = psutil.Process(query.process.pid)
        url = f"{query.url}/get_range"
        # The first answers take what a process has once and for all.
        short = {**RANGE, "end": (EPOCH + timedelta(seconds=70_000)).isoformat(), "format": name}
        for _ in range(3):
            await client.get(url, params=short)
        before = most = process.memory_info().rss
        body = bytearray()
        headers = {"Accept-Encoding": "identity"}
        async with client.stream("GET", url, params=FIRST_MILLION | {"format": name}, headers=headers) as response:
            async for part in response.aiter_raw():
                body += part
                most = max(most, process.memory_info().rss)
    if name == "ndjson":
        assert body.count(b"\n") == MILLION
        found = [json.loads(line)["value"] for line in body.splitlines()[::1000]]
    elif name == "csv":
        assert body.count(b"\r\n") == MILLION + 1
        found = [float(line.rsplit(b",", 1)[1]) for line in body.splitlines()[1::1000]]
    else:
        reader = pa.ipc.open_stream if name == "arrow" else pyarrow.parquet.read_table
        read = reader(io.BytesIO(bytes(body)))
        table = read.read_all() if name == "arrow" else read
        assert table.num_rows == MILLION
        found = table["value"].to_pylist()[::1000]
    assert found == [number / 7 for number in range(0, MILLION, 1000)]
    assert most - before < 50 * MIB


@one_mode()
@pytest.mark.parametrize("coding", ["identity", *DECODED])
async def test_a_failure_on_the_way_breaks_each_format_off(
    large: TestDatabase, watching: asyncpg.Connection, service: Start, coding: str
) -> None:
    async with service("query", query_settings(large)) as query, httpx.AsyncClient(timeout=60) as client:
        for name in MEDIA_TYPES:
            asked, headers = {**RANGE, "format": name}, {"Accept-Encoding": coding}
            response, got = await broken_off(watching, client, f"{query.url}/get_range", asked, headers)
            unfinished(name, response.headers.get("content-encoding"), got)
        assert "Traceback" not in query.log_text()
        assert query.log_text().count("an answer broke off") == len(MEDIA_TYPES)


async def broken_off(
    watching: asyncpg.Connection,
    client: httpx.AsyncClient,
    url: str,
    parameters: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
) -> tuple[httpx.Response, bytes]:
    """End the statement of a large answer behind its first part; return what comes of its body, which has no end."""
    async with client.stream("GET", url, params=parameters, headers=headers) as response:
        assert response.status_code == 200
        parts = response.aiter_raw()
        got = await anext(parts)
        [backend] = await backends(watching, STREAMING)
        await watching.execute("select pg_terminate_backend($1)", backend)
        try:
            async for part in parts:
                got += part
        except httpx.RemoteProtocolError:
            return response, got
    raise AssertionError("the body came to an end")


def unfinished(name: str, coding: str | None, body: bytes) -> None:
    """Check that what came of a body has no end."""
    if coding == "gzip":
        with pytest.raises(EOFError):
            gzip.decompress(body)
    elif coding == "zstd":
        reading = zstandard.ZstdDecompressor().decompressobj()
        reading.decompress(body)
        assert not reading.eof
    elif name == "json":
        with pytest.raises(ValueError, match=r"line 1 column"):
            json.loads(body)
    elif name == "arrow":
        assert not body.endswith(b"\xff\xff\xff\xff\0\0\0\0")
    elif name == "parquet":
        assert not body.endswith(b"PAR1")


@one_mode()
async def test_who_leaves_in_the_middle_leaves_no_thread(large: TestDatabase, service: Start) -> None:
    async with service("query", query_settings(large)) as query, httpx.AsyncClient(timeout=60) as client:
        assert query.process
        process = psutil.Process(query.process.pid)
        url, parameters = f"{query.url}/get_range", {**FIRST_MILLION, "format": "parquet"}
        await client.get(url, params={**parameters, "end": (EPOCH + timedelta(seconds=9)).isoformat()})
        threads = process.num_threads()
        for _ in range(3):
            async with client.stream("GET", url, params=parameters) as response:
                await anext(response.aiter_raw())

        async def gone() -> bool:
            return process.num_threads() <= threads

        await eventually(gone)
        assert "Traceback" not in query.log_text()


@one_mode()
async def test_real_readers_read_from_the_service(database: TestDatabase, service: Start, tmp_path: Path) -> None:
    await fill(database, LARGE, range(5000), 7)
    async with service("query", query_settings(database)) as query, httpx.AsyncClient(timeout=60) as client:
        url = str(httpx.URL(f"{query.url}/get_range", params={**RANGE, "format": "parquet"}))
        file = tmp_path / "readings.parquet"
        file.write_bytes((await client.get(url)).content)
        asked = duckdb.connect().execute(
            "select count(*), max(value), max(epoch_us(timestamp)) from read_parquet(?)", [str(file)]
        )
        last = EPOCH.astimezone(UTC) + timedelta(seconds=4999)
        assert asked.fetchone() == (5000, 4999 / 7, round(last.timestamp()) * 1_000_000)
        arrow = str(httpx.URL(f"{query.url}/get_range", params={**RANGE, "format": "arrow"}))
        found = await asyncio.to_thread(pl.read_ipc_stream, arrow)
        assert found["value"].to_list() == [number / 7 for number in range(5000)]
