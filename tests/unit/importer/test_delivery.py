"""What becomes of a piece by the answers to it."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from services.importer.delivery import Delivery
from services.importer.errors import StoppedError
from services.importer.files import Files, Which
from services.importer.forms import Words, files_of
from services.importer.state import State
from services.importer.tally import Rejects, Tally
from services.sender.posting import Way
from tests.support.prepared import Answers, Server, answer, serving

GOOD = answer(200, {"batch_id": "b", "accepted": 3, "rejected": []})
LARGE = answer(413, "a proxy's", "retry-after: 1")


def wrong(rejected: int, *indexes: int) -> bytes:
    errors = [{"index": index, "field": "value", "code": "missing", "message": "no value"} for index in indexes]
    return answer(422, {"code": "invalid_readings", "detail": "bad", "errors": errors, "rejected": rejected})


def refused(status: int, code: str) -> bytes:
    return answer(status, {"code": code, "detail": "so"})


async def imported(tmp_path: Path, answers: Answers, rows: int = 3, **changes: Any) -> tuple[Tally, Server]:
    """Import a file of so many rows; the piece of a repeat is not sent where it is done."""
    file = tmp_path / "a.csv"
    file.write_text("sensor_id,timestamp,value\n" + "".join(f"s,t,{row}\n" for row in range(rows)))
    tally, rejects = Tally(), Rejects(tmp_path / "rejects")
    async with serving(answers) as (server, url):
        with State(tmp_path / "state") as state:
            files = Files(Which(list(files_of([file], None)), Words(), "somewhere", ""), state, tally)
            way = Way(urlsplit(url), False, 5.0, "secret")
            await Delivery(files, way, 1, rejects, changes.get("most", 1000)).run()
    return tally, server


async def test_a_piece_that_is_taken_is_counted_and_known(tmp_path: Path) -> None:
    tally, server = await imported(tmp_path, lambda _: GOOD)
    assert (tally.readings, tally.pieces, tally.complete) == (3, 1, True)
    [(url, headers, body)] = server.requests
    assert url == "/ingest?layout=rows&partial=false"
    assert (headers["content-type"], headers["authorization"]) == ("text/csv", "Bearer secret")
    assert body.endswith(b"s,t,2\n")
    _, server = await imported(tmp_path, lambda _: GOOD)
    assert server.requests == []


async def test_what_is_wrong_is_named_and_the_rest_is_posted_under_the_same_key(tmp_path: Path) -> None:
    tally, server = await imported(tmp_path, lambda n: GOOD if n else wrong(1, 1))
    assert tally.faults == [f"{tmp_path / 'a.csv'} line 3: missing: no value"]
    assert [url.rpartition("&")[2] for url, _, _ in server.requests] == ["partial=false", "partial=true"]
    assert list(server.seen.values()) == [2]
    tally, _ = await imported(tmp_path, lambda _: GOOD)
    assert (tally.rejected, tally.rejected_before, tally.complete) == (0, 1, False)
    assert tally.faults == [f"{tmp_path / 'a.csv'}: 1 record of it was rejected before"]
    [reject] = map(orjson.loads, (tmp_path / "rejects").read_bytes().splitlines())
    assert (reject["number"], reject["record"], reject["field"]) == (3, "s,t,1", "value")


async def test_more_faults_than_are_named_divide_a_piece_unless_it_may_be_stored(tmp_path: Path) -> None:
    tally, server = await imported(tmp_path, lambda _: wrong(2, 0), rows=2)
    assert (len(server.seen), tally.rejected) == (3, 4)
    (tmp_path / "state").unlink()
    answers = [None, wrong(2, 0), GOOD]
    tally, server = await imported(tmp_path, lambda n: answers[n], rows=2)
    assert (len(server.seen), tally.rejected, tally.readings) == (1, 2, 3)


async def test_a_piece_that_takes_too_long_to_arrive_is_divided(tmp_path: Path) -> None:
    answers = iter([refused(408, "body_timeout"), GOOD, GOOD])
    tally, server = await imported(tmp_path, lambda _: next(answers))
    assert [len(body) for _, _, body in server.requests] == [44, 32, 38]
    assert (tally.pieces, tally.complete) == (2, True)


async def test_a_record_that_is_too_large_alone_is_a_reject(tmp_path: Path) -> None:
    tally, server = await imported(tmp_path, lambda _: LARGE)
    assert (len(server.seen), tally.rejected, tally.readings) == (5, 3, 0)


@pytest.mark.parametrize("found", [refused(422, "key_reused"), wrong(3, 0, 1, 2)])
async def test_a_key_of_other_readings_and_a_piece_without_good_ones_are_done(tmp_path: Path, found: bytes) -> None:
    await imported(tmp_path, lambda _: found)
    tally, server = await imported(tmp_path, lambda _: GOOD)
    assert (server.requests, tally.repeated) == ([], True)


@pytest.mark.parametrize(
    ("answers", "stored"),
    [
        ([wrong(3, 0, 1, 2)] * 2, False),
        ([wrong(1, 0), GOOD], True),
        ([refused(422, "key_reused")], True),
        ([wrong(3, 0, 1, 2), None, wrong(3, 0, 1, 2)], True),
        ([None, wrong(3, 0, 1, 2), wrong(3, 0, 1, 2)], True),
    ],
)
async def test_it_is_noted_whether_anything_of_a_piece_may_be_stored(
    tmp_path: Path, answers: list[bytes | None], stored: bool
) -> None:
    await imported(tmp_path, lambda n: answers[n])
    tally, _ = await imported(tmp_path, lambda _: GOOD, rows=2)
    assert (tally.readings, tally.failed) == ((0, True) if stored else (3, False))


@pytest.mark.parametrize(
    "found", [refused(401, "wrong_key"), refused(422, "too_many_series"), refused(500, "internal"), answer(404, "what")]
)
async def test_what_blames_no_record_stops_the_import_and_the_piece_is_sent_again(tmp_path: Path, found: bytes) -> None:
    with pytest.raises(StoppedError, match=r"a.csv from line 2 on: \d+ "):
        await imported(tmp_path, lambda _: found)
    tally, server = await imported(tmp_path, lambda _: GOOD)
    assert (len(server.requests), tally.complete) == (1, True)


async def test_more_rejects_than_are_allowed_stop_the_import_before_anything_is_stored(tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match="more are rejected than --max-rejects 2 allows"):
        await imported(tmp_path, lambda _: wrong(3, 0, 1, 2), most=2)
    with pytest.raises(StoppedError, match="more are rejected than --max-rejects 2 allows"):
        await imported(tmp_path, lambda _: LARGE, most=2)
