"""The writer against an ingest that is scripted, answer by answer, and counts what it took under which key."""

import contextlib
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from millrace_client import MillraceError, Reject, UnsentError, Writer, WriterFullError

AT = datetime(2025, 10, 22, 21, tzinfo=UTC)
Answer = httpx.Response | Exception
NAMED = 100


class Ingest(httpx.BaseTransport):
    """Ingest as the documents tell it: keys, digests, faults. `script` is asked before each request is served.

    Attributes:
        stored: values by key.
        requests: key and values of each request, in order.
        lost: whether the answer to what was stored is lost.
    """

    def __init__(self, *script: Answer | str | None) -> None:
        self.script = list(script)
        self.stored: dict[str, list[float]] = {}
        self.requests: list[tuple[str, list[float]]] = []
        self.bad: Callable[[float], bool] = lambda _: False
        self.most = 50_000
        self.open = threading.Event()
        self.open.set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.open.wait()
        key, body = request.headers["idempotency-key"], json.loads(request.read())
        values = [reading["value"] for reading in body]
        self.requests.append((key, values))
        turn = self.script.pop(0) if self.script else None
        if isinstance(turn, httpx.Response):
            return turn
        if isinstance(turn, Exception):
            raise turn
        answer = self._taken(key, values)
        if turn == "lost":
            raise httpx.ReadTimeout("no answer came", request=request)
        return answer

    def _taken(self, key: str, values: list[float]) -> httpx.Response:
        if len(values) > self.most:
            return problem(413, "too_many_rows")
        faults = [
            {"index": place, "field": "value", "code": "too_large", "message": "it is"}
            for place, value in enumerate(values)
            if self.bad(value)
        ]
        if faults:
            return problem(422, "invalid_readings", errors=faults[:NAMED], rejected=len(faults))
        if self.stored.setdefault(key, values) != values:
            return problem(422, "key_reused")
        return httpx.Response(200, json={"batch_id": "x", "accepted": len(values), "rejected": []})

    @property
    def values(self) -> list[float]:
        return sorted(value for values in self.stored.values() for value in values)


def problem(status: int, code: str, after: int | None = None, **more: Any) -> httpx.Response:
    headers = {} if after is None else {"retry-after": str(after)}
    return httpx.Response(status, json={"code": code, "detail": "it is so", **more}, headers=headers)


@pytest.fixture
def rejects() -> list[Reject]:
    return []


@pytest.fixture
def writer(rejects: list[Reject]) -> Iterator[Callable[..., Writer]]:
    """Make writers; what still runs behind the test is ended."""
    made: list[Writer] = []

    def make(ingest: Ingest, **options: Any) -> Writer:
        made.append(Writer("http://ingest", transport=ingest, on_reject=rejects.append, **options))
        return made[-1]

    yield make
    for each in made:
        ended(each)


def ended(writer: Writer) -> None:
    with contextlib.suppress(UnsentError):
        writer.close(0)


def write(writer: Writer, count: int) -> None:
    assert writer.write_many(("a", AT + timedelta(seconds=number), number) for number in range(count)) == count


def test_rows_and_age_cut_batches_and_order_is_kept(writer: Callable[..., Writer]) -> None:
    ingest = Ingest()
    one = writer(ingest, batch_rows=10, batch_age=0.02)
    write(one, 25)
    one.flush(20)
    assert [value for _, values in ingest.requests for value in values] == list(range(25))
    assert [len(values) for _, values in ingest.requests][:2] == [10, 10]
    assert len({key for key, _ in ingest.requests}) == len(ingest.requests)
    one.write("a", AT, 99)
    one.close()
    assert ingest.values[-1] == 99
    with pytest.raises(MillraceError, match="closed"):
        one.write("a", AT, 1)
    one.close()


@pytest.mark.parametrize("spooled", [False, True])
def test_an_answer_that_is_lost_or_a_plea_to_wait_is_followed_by_the_same_request(
    writer: Callable[..., Writer], tmp_path: Path, spooled: bool
) -> None:
    ingest = Ingest(
        "lost", httpx.ConnectError("refused"), problem(503, "overloaded", 0), problem(429, "rate_limited", 0), "lost"
    )
    one = writer(ingest, spool=tmp_path / "spool" if spooled else None)
    write(one, 5)
    one.flush(20)
    assert ingest.values == list(range(5))
    assert len({key for key, _ in ingest.requests}) == 1
    assert (one.stats.acknowledged, one.stats.retries, one.stats.waiting) == (5, 5, 0)


@pytest.mark.parametrize(
    ("count", "told"),
    [(2, "1 reading was not taken for too_large"), (4, "2 readings were not taken; the first one for too_large")],
)
def test_the_log_says_how_many_were_not_taken(
    writer: Callable[..., Writer], caplog: pytest.LogCaptureFixture, count: int, told: str
) -> None:
    ingest = Ingest()
    ingest.bad = lambda value: value % 2 == 1
    one = writer(ingest, batch_age=60)
    with caplog.at_level(logging.WARNING, "millrace_client"):
        write(one, count)
        one.flush(20)
    assert [told in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize("spooled", [False, True])
def test_bad_readings_go_to_the_callback_and_the_file_and_the_good_ones_in(
    writer: Callable[..., Writer], rejects: list[Reject], tmp_path: Path, spooled: bool
) -> None:
    ingest = Ingest()
    ingest.bad = lambda value: value % 2 == 1
    one = writer(ingest, spool=tmp_path / "spool" if spooled else None, rejects=tmp_path / "rejects", batch_age=60)
    write(one, 450)
    one.flush(20)
    assert ingest.values == list(range(0, 450, 2))
    assert sorted(each.reading["value"] for each in rejects) == list(range(1, 450, 2))
    assert {(each.code, each.field, each.certain) for each in rejects} == {("too_large", "value", True)}
    lines = [json.loads(line) for line in (tmp_path / "rejects").read_text().splitlines()]
    assert [line["reading"] for line in lines] == [each.reading for each in rejects]
    assert {key for key, _ in ingest.requests} == {ingest.requests[0][0]}
    assert (one.stats.acknowledged, one.stats.rejected) == (225, 225)
    assert one.stats.held_up_by is None


def test_what_was_stored_before_its_readings_became_wrong_is_stored_once(
    writer: Callable[..., Writer], rejects: list[Reject]
) -> None:
    """The answer is lost, and by the repeat a reading is too old: the smaller batch has the same key and is refused."""
    ingest = Ingest("lost")
    served = ingest._taken
    one = writer(ingest)

    def later(key: str, values: list[float]) -> httpx.Response:
        answer = served(key, values)
        ingest.bad = lambda value: value == 3
        return answer

    ingest._taken = later  # type: ignore[method-assign]
    write(one, 5)
    one.flush(20)
    assert ingest.values == list(range(5))
    assert [(each.reading["value"], each.certain) for each in rejects] == [(3, False)]
    assert [values for _, values in ingest.requests][-1] == [0, 1, 2, 4]


@pytest.mark.parametrize("spooled", [False, True])
def test_a_batch_that_is_larger_than_ingest_takes_goes_in_parts(
    writer: Callable[..., Writer], tmp_path: Path, spooled: bool
) -> None:
    ingest = Ingest()
    ingest.most = 7
    one = writer(ingest, spool=tmp_path / "spool" if spooled else None)
    write(one, 50)
    one.flush(20)
    assert ingest.values == list(range(50))
    assert one.stats.acknowledged == 50


def test_a_reading_that_nobody_can_read_does_not_block_the_others(
    writer: Callable[..., Writer], rejects: list[Reject]
) -> None:
    ingest = Ingest()
    served = ingest._taken
    ingest._taken = lambda key, values: problem(400, "malformed_body") if 13 in values else served(key, values)  # type: ignore[method-assign]
    one = writer(ingest)
    write(one, 20)
    one.flush(20)
    assert ingest.values == [value for value in range(20) if value != 13]
    assert [(each.reading["value"], each.code) for each in rejects] == [(13, "malformed_body")]


def test_memory_that_is_full_blocks_or_raises(writer: Callable[..., Writer]) -> None:
    ingest = Ingest()
    ingest.open.clear()
    one = writer(ingest, memory_bytes=300, full="raise")
    with pytest.raises(WriterFullError):
        write(one, 100)
    assert 1 <= one.stats.written < 100
    taken = one.stats.written
    ingest.open.set()
    one.flush(20)
    assert ingest.values == list(range(taken))

    ingest = Ingest()
    ingest.open.clear()
    other = writer(ingest, memory_bytes=300)
    thread = threading.Thread(target=write, args=(other, 100))
    thread.start()
    with pytest.raises(UnsentError):
        other.flush(0.1)
    assert thread.is_alive()
    ingest.open.set()
    thread.join(20)
    other.flush(20)
    assert ingest.values == list(range(100))


def test_a_full_spool_or_a_full_disk_leaves_readings_in_memory_and_says_so(
    writer: Callable[..., Writer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = Ingest()
    ingest.open.clear()
    small = writer(ingest, spool=tmp_path / "small", spool_bytes=1, memory_bytes=1_000, full="raise")
    with pytest.raises(WriterFullError):
        write(small, 100)
    with pytest.raises(UnsentError, match="is full") as unsent:
        small.sync(0.1)
    assert unsent.value.kept == 0
    taken = small.stats.written

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    broken = Ingest()
    broken.open.clear()
    monkeypatch.setattr("os.fsync", no_space)
    other = writer(broken, spool=tmp_path / "disk")
    write(other, 3)
    with pytest.raises(UnsentError, match="No space left"):
        other.sync(0.3)
    assert not list((tmp_path / "disk").glob("0*"))
    monkeypatch.undo()
    for each in (ingest, broken):
        each.open.set()
    small.flush(20)
    other.flush(20)
    assert (ingest.values, broken.values) == (list(range(taken)), [0, 1, 2])


def test_a_key_that_is_wrong_is_said_and_waited_for(
    writer: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("millrace_client.delivery._BLOCKED", 0.01)
    ingest = Ingest(problem(401, "wrong_key"), problem(401, "wrong_key"), httpx.Response(404, text="no such path"))
    one = writer(ingest)
    with caplog.at_level(logging.ERROR, "millrace_client"):
        write(one, 3)
        one.flush(20)
    assert ingest.values == [0, 1, 2]
    assert ["wrong_key" in record.message for record in caplog.records] == [True, False]


def test_closing_tells_how_many_are_kept_and_lost(writer: Callable[..., Writer], tmp_path: Path) -> None:
    ingest = Ingest()
    ingest.script = [httpx.ConnectError("refused")] * 1000
    for spool, kept, lost in ((tmp_path, 5, 0), (None, 0, 5)):
        one = writer(ingest, spool=spool, batch_rows=3)
        write(one, 5)
        with pytest.raises(UnsentError, match=r"5 readings are not acknowledged.*: ") as unsent:
            one.close(0.2)
        with pytest.raises(UnsentError):
            one.flush()
        assert (unsent.value.kept, unsent.value.lost) == (kept, lost)


def test_an_unsent_batch_of_an_earlier_life_goes_with_its_key_and_one_past_the_horizon_is_put_aside(
    writer: Callable[..., Writer], tmp_path: Path
) -> None:
    away = Ingest("lost", *[httpx.ConnectError("refused")] * 1000)
    one = writer(away, spool=tmp_path, batch_rows=2, batch_age=60)
    write(one, 4)
    one.sync(20)
    with pytest.raises(UnsentError):
        one.close(0.3)
    [first, second] = sorted(path.name for path in tmp_path.glob("0*"))
    assert first.endswith(".tried")
    assert second.endswith(".segment")

    ingest = Ingest()
    ingest.stored = dict(away.stored)
    assert len(away.stored) == 1
    again = writer(ingest, spool=tmp_path)
    again.close(20)
    assert ingest.values == [0, 1, 2, 3]
    assert not list(tmp_path.glob("0*"))

    write(other := writer(Ingest("lost", *[httpx.ConnectError("refused")] * 1000), spool=tmp_path, batch_rows=2), 4)
    other.sync(20)
    with pytest.raises(UnsentError):
        other.close(0.3)
    ingest = Ingest()
    late = writer(ingest, spool=tmp_path, horizon=timedelta(0))
    late.close(20)
    assert ingest.values == [2, 3], "what was never sent is sent, however old"
    assert (late.stats.expired, late.stats.acknowledged) == (2, 2)
    assert len(list(tmp_path.glob("*.expired"))) == 1


def test_a_damaged_segment_is_put_aside_and_counted(writer: Callable[..., Writer], tmp_path: Path) -> None:
    one = writer(Ingest(*[httpx.ConnectError("refused")] * 1000), spool=tmp_path, batch_rows=2)
    write(one, 4)
    one.sync(20)
    with pytest.raises(UnsentError):
        one.close(0)
    first, _ = sorted(tmp_path.glob("0*"))
    first.write_bytes(first.read_bytes()[:-5])
    ingest = Ingest()
    again = writer(ingest, spool=tmp_path)
    again.close(20)
    assert (ingest.values, again.stats.damaged) == ([2, 3], 2)
    assert len(list(tmp_path.glob("*.damaged"))) == 1


@pytest.mark.parametrize(
    ("reading", "kind"),
    [
        (("a", datetime(2025, 1, 1), 1), ValueError),  # noqa: DTZ001 -- the fault itself
        (("a", 5, 1), TypeError),
        (("a", AT, "1"), TypeError),
        (("a", AT, True), TypeError),
        (("a", AT, float("nan")), ValueError),
        ((7, AT, 1), TypeError),
        (("a", AT), ValueError),
        ({"name": "a", "labels": {"b": float("inf")}, "timestamp": AT, "value": 1}, ValueError),
    ],
)
def test_what_is_no_reading_is_refused_at_once(
    writer: Callable[..., Writer], reading: Any, kind: type[Exception]
) -> None:
    one = writer(Ingest())
    with pytest.raises(kind):
        one.write_many([reading])
    assert one.stats.written == 0


async def test_a_writer_of_tasks_closes_without_holding_the_loop() -> None:
    ingest = Ingest()
    async with Writer("http://ingest", transport=ingest) as one:
        one.write("a", AT, 1)
    assert ingest.values == [1]


PROGRAM = """
import sys
from millrace_client import Writer
writer = Writer("http://127.0.0.1:9", spool=sys.argv[1] or None, closing=0.2)
writer.write("a", "2025-10-22T21:00:00Z", 1.0)
"""


@pytest.mark.parametrize(("spooled", "said"), [(True, "1 kept in the spool"), (False, "1 in memory alone")])
def test_the_interpreter_s_end_is_loud_about_what_is_not_sent(tmp_path: Path, spooled: bool, said: str) -> None:
    spool = tmp_path / "spool"
    command = [sys.executable, "-c", PROGRAM, str(spool) if spooled else ""]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert f"1 reading is not acknowledged ({said})" in done.stderr
    assert len(list(spool.glob("0*"))) == spooled
