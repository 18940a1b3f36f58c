"""Remote write on its whole way, and every status that the specifications ask for."""

import struct

import cramjam
import httpx
import pytest
import zstandard

from services.contract import series_id, series_of
from services.platform.settings import Settings
from tests.support import eventually
from tests.support.readings import rows_in
from tests.support.worker import Start
from tests.unit.ingest.test_remote_write import STALE, UP, T, version_1, version_2

VERSION_1 = "application/x-protobuf;proto=prometheus.WriteRequest"
VERSION_2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
WRITTEN = "X-Prometheus-Remote-Write-Samples-Written"
SENSOR = series_id(series_of("up", [("job", "a"), ("instance", "h:1")]))


def snappy(body: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(body))


async def post(
    client: httpx.AsyncClient,
    body: bytes,
    media: str = VERSION_1,
    encoding: str | None = "snappy",
    path: str = "/api/v1/write",
) -> httpx.Response:
    headers = {"Content-Type": media, "User-Agent": "Prometheus/3.16.0"}
    if encoding is not None:
        headers["Content-Encoding"] = encoding
    return await client.post(path, content=body, headers=headers)


async def test_both_versions_and_encodings_come_to_the_same_reading_stored_once(
    client: httpx.AsyncClient, settings: Settings, start: Start
) -> None:
    await start()
    series = UP, [(T, 1.0)]
    for _ in range(2):
        for answer in (
            await post(client, snappy(version_1(series))),
            await post(client, snappy(version_1(series)), "application/x-protobuf", None),
            await post(client, snappy(version_1(series)), path="/api/v1/push"),
        ):
            assert (answer.status_code, answer.content) == (204, b"")
            assert WRITTEN not in answer.headers
        for answer in (
            await post(client, snappy(version_2(series)), VERSION_2),
            await post(client, zstandard.compress(version_2(series)), VERSION_2, "zstd"),
        ):
            assert (answer.status_code, answer.headers[WRITTEN]) == (204, "1")
    other = await post(client, snappy(version_1((UP, [(T + 1, 2.0)]))))
    assert other.status_code == 204

    async def both() -> bool:
        return len(await rows_in(settings.database)) >= 2

    await eventually(both)
    assert await rows_in(settings.database) == [(SENSOR, T * 1000, 1.0), (SENSOR, (T + 1) * 1000, 2.0)]


async def test_what_is_no_number_counts_as_written(client: httpx.AsyncClient) -> None:
    markers = snappy(version_2((UP, [(T, STALE)]), (UP, [(T, float("nan"))])))
    answer = await post(client, markers, VERSION_2)
    assert (answer.status_code, answer.headers[WRITTEN]) == (204, "2")
    with_one = await post(client, snappy(version_2((UP, [(T, STALE), (T + 1, 5.0)]))), VERSION_2)
    assert (with_one.status_code, with_one.headers[WRITTEN]) == (204, "2")
    nothing = await post(client, snappy(b""))
    assert nothing.status_code == 204


async def test_samples_that_are_refused_are_told_and_the_others_written(client: httpx.AsyncClient) -> None:
    nameless = {"job": "a"}
    answer = await post(
        client, snappy(version_2((UP, [(T, 1.0)]), (nameless, [(T, 1.0)]), (UP, [(5, 1.0)]))), VERSION_2
    )
    assert (answer.status_code, answer.headers[WRITTEN]) == (400, "1")
    assert "series 1: the label __name__ is missing" in answer.text
    assert "series 2: timestamp 1970-01-01T00:00:00.005000Z is older" in answer.text


@pytest.mark.parametrize(
    ("media", "encoding", "body", "status"),
    [
        ("application/json", "snappy", b"", 415),
        ("application/x-protobuf;proto=prometheus.Other", "snappy", b"", 415),
        (VERSION_1, "gzip", b"", 415),
        (VERSION_1, "snappy", b"\xff\xff\xff\xff", 400),
        (VERSION_1, "snappy", b"", 400),
        (VERSION_1, "snappy", snappy(b"\xff\xff"), 400),
        (VERSION_1, "snappy", b"\xff\xff\xff\xff\x0f" + b"\0" * 20, 400),
        (VERSION_1, "zstd", struct.pack("<I", 5), 400),
        (VERSION_1, "snappy", snappy(b"\0" * 30_000), 400),
    ],
)
async def test_what_cannot_be_read_is_refused_for_good(
    media: str, encoding: str, body: bytes, status: int, client: httpx.AsyncClient
) -> None:
    answer = await post(client, body, media, encoding)
    assert answer.status_code == status
    assert answer.text
    assert answer.headers[WRITTEN] == "0"
