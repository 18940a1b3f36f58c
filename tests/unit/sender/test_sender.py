"""Each batch ends acked, refused or unknown, and nothing that may be stored is called refused."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from services.sender.journal import Journal
from services.sender.posting import Way
from services.sender.progress import Tally
from services.sender.readings import Fleet, make
from services.sender.sender import Plan, Sender
from tests.support import eventually, free_port
from tests.support.prepared import Answers, Server, answer
from tests.support.prepared import serving as prepared

FLEET = Fleet(10, datetime(2026, 1, 1, tzinfo=UTC), 1.0)
GOOD = answer(200, {"batch_id": "b-1", "accepted": 1, "rejected": []})
FULL = answer(429, {"code": "backlog_full", "detail": "later"}, "retry-after: 0")
AWAY = answer(503, {"code": "stream_unavailable", "detail": "later"}, "retry-after: 0")
WRONG = answer(422, {"code": "invalid_readings", "detail": "row 3"})
BROKEN = answer(500, {"code": "internal", "detail": "ours"})


@contextlib.asynccontextmanager
async def serving(answers: Answers) -> AsyncIterator[tuple[Server, Plan]]:
    async with prepared(answers) as (server, url):
        yield server, Plan(Way(urlsplit(f"{url}/some/"), False, 5.0), "durable", 2, "a run")


async def send(plan: Plan, count: int = 1, path: Path | None = None) -> Tally:
    tally = Tally()
    with Journal(path) as journal:
        await Sender(plan, make(FLEET, count * 10, 10), tally, journal).run()
    return tally


async def states(answers: Answers, path: Path, **changes: Any) -> list[tuple[str, int | None]]:
    async with serving(answers) as (_, plan):
        await send(replace(plan, way=replace(plan.way, **changes)), path=path)
    return [(line["state"], line["status"]) for line in lines(path)]


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


async def test_every_row_is_posted_once_to_the_path_below_the_url() -> None:
    async with serving(lambda _: GOOD) as (server, plan):
        tally = await send(plan, 20)
    assert tally.complete
    assert tally.accepted == 200
    assert {url for url, _, _ in server.requests} == {"/some/ingest?ack=durable"}
    values = [reading["value"] for _, _, body in server.requests for reading in orjson.loads(body)]
    assert sorted(values) == list(range(200))


async def test_a_repeat_of_a_run_sends_the_same_keys_and_another_run_others() -> None:
    async with serving(lambda _: GOOD) as (server, plan):
        for run in ("one", "one", "two"):
            await send(replace(plan, run=run), 3)
    assert sorted(server.seen.values()) == [1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (GOOD, [("sent", None), ("acked", 200)]),
        (FULL, [("sent", None), ("acked", 200)]),
        (AWAY, [("sent", None), ("acked", 200)]),
        (None, [("sent", None), ("acked", 200)]),
        (WRONG, [("sent", None), ("refused", 422)]),
        (BROKEN, [("sent", None), ("unknown", 500)]),
        (answer(200, ["no batch id"]), [("sent", None), ("unknown", 200)]),
        (b"HTTP/1.1 gibberish\r\n\r\n", [("sent", None), ("acked", 200)]),
    ],
)
async def test_a_batch_ends_as_its_answers_say(
    first: bytes | None, expected: list[tuple[str, int | None]], tmp_path: Path
) -> None:
    assert await states(lambda n: GOOD if n else first, tmp_path / "journal") == expected


async def test_what_was_refused_after_a_lost_answer_is_unknown(tmp_path: Path) -> None:
    found = await states(lambda n: WRONG if n else None, tmp_path / "journal")
    assert found == [("sent", None), ("unknown", 422)]


async def test_without_keys_what_may_be_stored_is_not_sent_again(tmp_path: Path) -> None:
    async with serving(lambda n: GOOD if n else None) as (server, plan):
        tally = await send(replace(plan, run=None), path=tmp_path / "journal")
    assert len(server.requests) == 1
    assert (tally.given_up, tally.retries) == (1, 0)
    assert "idempotency-key" not in server.requests[0][1]


async def test_without_keys_what_is_certainly_not_stored_is_sent_again() -> None:
    async with serving(lambda n: GOOD if n else FULL) as (_, plan):
        tally = await send(replace(plan, run=None))
    assert tally.complete
    assert tally.retries == 1


async def test_patience_ends_and_the_batch_is_given_up(tmp_path: Path) -> None:
    later = FULL.replace(b"retry-after: 0", b"retry-after: 60")
    found = await states(lambda _: later, tmp_path / "journal", patience=0.5)
    assert found == [("sent", None), ("refused", 429)]


async def test_a_server_that_is_not_there_is_told_without_a_traceback() -> None:
    plan = Plan(Way(urlsplit(f"http://127.0.0.1:{free_port()}"), False, 0.0), "queued", 1, None)
    tally = await send(plan)
    assert (tally.given_up, tally.answers) == (1, {"none": 1})
    assert "refused: no answer" in tally.faults[0]


async def test_gzip_is_announced_and_true() -> None:
    async with serving(lambda _: GOOD) as (server, plan):
        await send(replace(plan, way=replace(plan.way, gzip=True)))
    _, headers, body = server.requests[0]
    assert headers["content-encoding"] == "gzip"
    assert body.startswith(b"\x1f\x8b")


async def test_an_interrupted_sender_says_so_and_shows_its_figures() -> None:
    async with serving(lambda _: GOOD) as (server, plan):
        sending = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.cli", "send", "--rows", "100000000", "--url", plan.way.url.geturl()),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # Whoever runs the tests in the background has SIGINT ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        await eventually(lambda: len(server.requests) > 10)
        sending.send_signal(signal.SIGINT)
        told, complained = await sending.communicate()
    assert sending.returncode == 130
    assert b"rows accepted" in told
    assert complained.startswith(b"millrace: stopped;")


async def test_the_journal_says_which_rows_a_batch_has(tmp_path: Path) -> None:
    async with serving(lambda _: GOOD) as (_, plan):
        await send(replace(plan, connections=1), 2, tmp_path / "journal")
    assert lines(tmp_path / "journal")[-1] == {
        "batch": 1,
        "key": plan.key(1),
        "batch_id": "b-1",
        "first_row": 10,
        "rows": 10,
        "state": "acked",
        "status": 200,
    }


def test_percentiles_are_right_to_one_per_cent() -> None:
    tally = Tally()
    for milliseconds in range(1, 1001):
        tally.answered(200, milliseconds / 1000)
    assert tally.percentile(0.5) == pytest.approx(0.5, rel=0.01)
    assert tally.percentile(0.99) == pytest.approx(0.99, rel=0.01)
    assert Tally().percentile(0.5) == 0
