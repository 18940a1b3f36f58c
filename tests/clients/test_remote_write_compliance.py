"""Prometheus' compliance suite for receivers of remote write: all its cases pass, and what was written is there."""

import asyncio
import contextlib
import math
import os
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cramjam
import httpx
import pytest
import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.contract import series_id, series_of
from services.ingest.doors.remote_write.messages import LABEL, REQUEST_1, REQUEST_2
from tests.support import eventually, free_port
from tests.support.programs import cloned, found
from tests.support.readings import Row, sql

from .conftest import Rough

pytestmark = pytest.mark.asyncio(loop_scope="session")

REPOSITORY, COMMIT = "prometheus/compliance", "67b8327a2e93dc28f64d4b21bbce00b362f565d5"
WRITTEN = "X-Prometheus-Remote-Write-Samples-Written"
CASES = 150
"""Fewer would be another suite."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request of the suite, and how it was answered."""

    media: str
    body: bytes
    answer: httpx.Response


@contextlib.contextmanager
def recording(receiver: str) -> Iterator[tuple[str, list[Exchange]]]:
    """Yield an address that passes requests on to a receiver, and the list that they are kept in."""
    kept: list[Exchange] = []

    async def passed_on(request: Request) -> Response:
        body = await request.body()
        own = ("content-type", "content-encoding", "x-prometheus-remote-write-version")
        headers = {name: value for name, value in request.headers.items() if name in own}
        async with httpx.AsyncClient() as client:
            answer = await client.post(receiver, content=body, headers=headers)
        kept.append(Exchange(request.headers["content-type"], body, answer))
        return Response(answer.content, answer.status_code, dict(answer.headers))

    port = free_port()
    app = Starlette(routes=[Route("/", passed_on, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}/", kept
    finally:
        server.should_exit = True
        thread.join()


async def test_all_cases_of_the_suite_pass_and_what_they_wrote_is_there(rough: Rough, tmp_path: Path) -> None:
    folder = cloned(REPOSITORY, COMMIT) / "remotewrite" / "receiver"
    go = str(found("go"))
    with recording(f"{rough.ingest}/api/v1/write") as (url, kept):
        configuration = tmp_path / "config.yml"
        configuration.write_text(yaml.safe_dump({"remote_write": [{"name": "millrace", "url": url}]}))
        suite = tmp_path / "suite"
        await eventually(lambda: ready(rough), 30)
        made = await asyncio.to_thread(run, [go, "test", "-c", "-o", str(suite), "."], folder)
        if made.returncode:
            pytest.skip(f"the suite cannot be built: {made.stderr[-500:]}")
        variables = {"PROMETHEUS_RW2_COMPLIANCE_CONFIG_FILE": str(configuration)}
        ran = await asyncio.to_thread(run, [str(suite), "-test.v"], folder, **variables)
    verdicts = Counter(line.split()[1] for line in ran.stdout.splitlines() if line.lstrip().startswith("--- "))
    failed = [line for line in ran.stdout.splitlines() if line.lstrip().startswith("--- FAIL")]
    assert (ran.returncode, failed, set(verdicts)) == (0, [], {"PASS:"}), ran.stdout[-2000:]
    assert verdicts["PASS:"] > CASES
    assert not [each.answer.status_code for each in kept if each.answer.is_server_error]
    taken = [sample for each in kept for sample in samples(each)]
    names = {name for name, _ in taken}
    assert len(names) > 10
    assert await rough.settled(len(taken), *names) == sorted(row for _, row in taken)
    # What was refused left no series behind.
    assert await sql(rough.settings.database, "select name from sensors where name in ('', 'error_test')") == []


async def ready(rough: Rough) -> bool:
    async with httpx.AsyncClient(base_url=rough.ingest) as client:
        return (await client.get("/readyz")).status_code == 200


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=1800, check=False
    )


def samples(exchange: Exchange) -> list[tuple[str, Row]]:
    """Return the samples of a request that must be stored, a name and a reading each.

    They must be as many as the answer says, together with those that are no numbers.
    """
    written = exchange.answer.headers.get(WRITTEN)
    if written == "0" or exchange.answer.status_code not in {204, 400}:
        return []
    body = bytes(cramjam.snappy.decompress_raw(exchange.body))
    second = "v2" in exchange.media
    of_valid = [
        (labels, sample) for labels, sample in (_second(body) if second else _first(body)) if "__name__" in labels
    ]
    assert written == (str(len(of_valid)) if second else None)
    return [
        (labels["__name__"], _row(labels, sample.timestamp * 1000, sample.value))
        for labels, sample in of_valid
        if math.isfinite(sample.value)
    ]


def _row(labels: dict[str, str], micros: int, value: float) -> Row:
    others = {name: text for name, text in labels.items() if name != "__name__"}
    return series_id(series_of(labels["__name__"], others.items())), micros, value


def _first(body: bytes) -> Iterator[tuple[dict[str, str], Any]]:
    for series in REQUEST_1.FromString(body).timeseries:
        labels = {label.name: label.value for label in map(LABEL.FromString, series.labels)}
        for sample in series.samples:
            yield labels, sample


def _second(body: bytes) -> Iterator[tuple[dict[str, str], Any]]:
    request = REQUEST_2.FromString(body)
    for series in request.timeseries:
        texts = [request.symbols[ref] for ref in series.labels_refs]
        for sample in series.samples:
            yield dict(zip(texts[::2], texts[1::2], strict=True)), sample
