"""Readings in each format over HTTP, into the table, and out of questions in again."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from services.platform.settings import Settings
from services.platform.stream import Stream
from tests.support import Service
from tests.support.admin import Ports, both_ports
from tests.support.bodies import ARROW, CSV, JSON, NDJSON, PARQUET, WRITERS
from tests.support.ingest import READING, assert_problem, entries
from tests.support.readings import rows_in
from tests.support.worker import Start

LABELLED = {"name": "heat", "labels": {"room": "kitchen"}, "timestamp": "2025-10-22T21:00:01.5+02:00", "value": -1}
RECORDS: list[dict[str, Any]] = [READING, LABELLED, {**READING, "value": 2**40}]
ASKED = {"match": "*", "start": "2025-10-22T00:00:00Z", "end": "2025-10-23T00:00:00Z", "tz": "Europe/Berlin"}
ANSWERS = {"ndjson": NDJSON, "csv": CSV, "arrow": ARROW, "parquet": PARQUET}


@pytest.fixture
async def ports(settings: Settings) -> AsyncIterator[Ports]:
    async with both_ports(settings) as found:
        yield found


async def test_the_same_key_is_of_the_same_readings_in_whatever_format(
    settings: Settings, ports: Ports, start: Start
) -> None:
    await start()
    for media, write in WRITERS.items():
        headers = {"Content-Type": f"{media}; charset=utf-8", "Idempotency-Key": "k"}
        answer = await ports.public.post("/ingest?ack=stored", content=write(RECORDS), headers=headers)
        assert (answer.status_code, answer.json()["accepted"]) == (200, 3)
        assert ("idempotent-replayed" in answer.headers) == (media != JSON)
        other = await ports.public.post("/ingest?ack=stored", content=write(RECORDS[:2]), headers=headers)
        assert_problem(other, 422, "key_reused")
    assert sorted(row[2] for row in await rows_in(settings.database)) == [-1, 25.3, 2**40]


@pytest.mark.parametrize("media", [NDJSON, CSV, ARROW, PARQUET])
async def test_limits_faults_and_parts_are_those_of_json(client: httpx.AsyncClient, stream: Stream, media: str) -> None:
    async def answer(records: list[dict[str, Any]], query: str = "", as_: str = media) -> httpx.Response:
        body = WRITERS[as_](records)
        return await client.post(f"/ingest{query}", content=body, headers={"Content-Type": as_})

    wrong = [READING, {**READING, "timestamp": "2025-10-22T21:00:00"}, {**READING, "value": 1e300}]
    told = assert_problem(await answer(wrong), 422, "invalid_readings")
    assert told["errors"] == assert_problem(await answer(wrong, as_=JSON), 422, "invalid_readings")["errors"]
    assert_problem(await answer([READING] * 101), 413, "too_many_rows")
    for body, status, code in ((b"\0", 422, "malformed_body"), (b"\0" * 10_001, 413, "body_too_large")):
        refused = await client.post("/ingest", content=body, headers={"Content-Type": media})
        assert_problem(refused, status, code)
    assert await entries(stream) == []
    taken = (await answer(wrong, "?partial=true&ack=queued")).json()
    assert (taken["accepted"], [fault["index"] for fault in taken["rejected"]]) == (1, [1, 2])


@pytest.mark.parametrize("media", [CSV, ARROW, PARQUET])
async def test_a_wide_table_is_taken_where_it_is_said(client: httpx.AsyncClient, stream: Stream, media: str) -> None:
    body = WRITERS[media]([{"timestamp": READING["timestamp"], "a": 1.5, "b": None}, {"timestamp": "x", "b": 2.5}])
    headers = {"Content-Type": media}
    taken = (await client.post("/ingest?layout=wide&partial=true", content=body, headers=headers)).json()
    assert (taken["accepted"], [fault["field"] for fault in taken["rejected"]]) == (1, ["timestamp"])
    [entry] = await entries(stream)
    assert entry.columns.sensor_ids == ["a"]
    assert_problem(await client.post("/ingest", content=body, headers=headers), 422, "invalid_readings")


@pytest.mark.parametrize(
    ("query", "media", "named"),
    [("?layout=tall", CSV, "rows or wide"), ("?layout=wide", JSON, CSV), ("?layout=wide", NDJSON, ARROW),
     ("?layout=rows&layout=rows", CSV, "more than once")],
)  # fmt: skip
async def test_a_layout_that_there_is_not_is_refused_by_name(
    client: httpx.AsyncClient, query: str, media: str, named: str
) -> None:
    answer = await client.post(f"/ingest{query}", content=WRITERS[media]([READING]), headers={"Content-Type": media})
    [fault] = assert_problem(answer, 422, "invalid_parameter")["parameters"]
    assert fault["parameter"] == "layout"
    assert named in fault["message"]


async def test_a_media_type_that_is_not_taken_is_told_which_are(client: httpx.AsyncClient) -> None:
    answer = await client.post("/ingest", content=b"x", headers={"Content-Type": "application/xml"})
    detail = assert_problem(answer, 415, "unsupported_media_type")["detail"]
    assert all(media in detail for media in WRITERS)


async def test_what_a_question_answers_can_be_sent_as_it_is(
    settings: Settings, service: Callable[[str, Settings], Service]
) -> None:
    async with (
        service("ingest", settings) as ingest,
        service("worker", settings),
        service("query", settings) as query,
        httpx.AsyncClient(timeout=30) as client,
    ):

        async def sent(media: str, body: bytes) -> None:
            answer = await client.post(f"{ingest.url}/ingest?ack=stored", content=body, headers={"Content-Type": media})
            assert answer.status_code == 200, answer.text

        await sent(JSON, WRITERS[JSON](RECORDS))
        first = Counter(await rows_in(settings.database))
        times = 1
        for form, media in ANSWERS.items():
            asked = await client.get(f"{query.url}/series", params={**ASKED, "format": form})
            assert asked.headers["content-type"].startswith(media)
            await sent(media, asked.content)
            times *= 2
            found = Counter(await rows_in(settings.database))
            assert found == Counter({row: count * times for row, count in first.items()})
