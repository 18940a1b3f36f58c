"""Dead letters by HTTP: seen, mended, replayed exactly once, deleted, expired; and no more of them than the limit."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.contract import keyed_id
from services.platform.settings import Settings
from services.platform.stream import DeadLetters, Stream
from tests.support import eventually
from tests.support.admin import Ports, both_ports
from tests.support.ingest import READING, assert_problem
from tests.support.readings import add_entry, entry_of, raw_entries, rows_in, sql
from tests.support.worker import Start

NOW = time.time_ns() // 1000
OLD = NOW - 100 * 3_600_000_000
LETTERS = "/dead-letters"


@pytest.fixture
async def ports(settings: Settings) -> AsyncIterator[Ports]:
    async with both_ports(settings) as found:
        yield found


@pytest.fixture
async def refusing(settings: Settings, stream: Stream) -> None:
    """A database that takes no thirteen."""
    await sql(settings.database, "alter table sensor_data add constraint no_thirteen check (value <> 13)")
    await stream.ensure_group()


async def listed(ports: Ports, **parameters: Any) -> list[dict[str, Any]]:
    return list((await ports.admin.get(LETTERS, params=parameters)).json()["letters"])


async def first_letter(ports: Ports) -> dict[str, Any]:
    return (await eventually(lambda: listed(ports)))[0]


@pytest.mark.usefixtures("refusing")
async def test_a_letter_is_shown_in_clear_mended_and_stored_under_the_id_that_its_sender_knows(
    settings: Settings, ports: Ports, start: Start
) -> None:
    await start()
    headers = {"Idempotency-Key": "order-1"}
    answer = await ports.public.post("/ingest?ack=stored", json=[{**READING, "value": 13}, READING], headers=headers)
    batch_id = assert_problem(answer, 422, "batch_dead")["batch_id"]
    letter = await first_letter(ports)
    assert (letter["reason"], letter["batch_id"], letter["rows"]) == ("refused", batch_id, 2)
    assert "no_thirteen" in letter["detail"]

    path = f"{LETTERS}/{letter['letter_id']}"
    shown = (await ports.admin.get(path, params={"rows": 1})).json()
    assert shown["first_rows"] == [{**READING, "value": 13.0}]
    readings = (await ports.admin.get(f"{path}/readings")).json()
    readings[0]["value"] = 12.5
    answer = await ports.admin.post(f"{path}/replay", json=readings)
    assert (answer.status_code, answer.json()) == (200, {"batch_id": batch_id})
    await eventually(lambda: rows_in(settings.database))
    assert [value for _, _, value in await rows_in(settings.database)] == [12.5, 25.3]
    assert (await ports.public.get(f"/batches/{batch_id}")).json()["status"] == "stored"
    again = await ports.public.post("/ingest", json=[{**READING, "value": 13}, READING], headers=headers)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")


@pytest.mark.usefixtures("refusing")
async def test_a_letter_replayed_by_many_at_once_is_stored_once(
    settings: Settings, stream: Stream, ports: Ports, start: Start
) -> None:
    await start()
    await add_entry(stream, entry_of([("a", NOW, 13.0)]))
    letter = await first_letter(ports)
    await sql(settings.database, "alter table sensor_data drop constraint no_thirteen")
    path = f"{LETTERS}/{letter['letter_id']}/replay"
    answers = await asyncio.gather(*(ports.admin.post(path) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [404] * 7
    assert_problem(next(answer for answer in answers if answer.status_code == 404), 404, "unknown_letter")
    await eventually(lambda: rows_in(settings.database))
    assert len(await rows_in(settings.database)) == 1
    assert await listed(ports) == []


@pytest.mark.usefixtures("refusing")
async def test_two_letters_of_one_batch_are_stored_once(
    settings: Settings, stream: Stream, ports: Ports, start: Start
) -> None:
    entry = entry_of([("a", NOW, 13.0)], [("b", NOW, 13.0)])
    for _ in range(2):
        await add_entry(stream, entry)
    await start()
    await eventually(lambda: _count(ports, 4))
    await sql(settings.database, "alter table sensor_data drop constraint no_thirteen")
    done = (await ports.admin.post("/replay")).json()
    assert (done["replayed"], done["left"], done["next"]) == (4, [], None)
    await eventually(lambda: _drained(stream))
    assert len(await rows_in(settings.database)) == 2


@pytest.mark.usefixtures("refusing")
async def test_what_is_refused_again_is_a_new_letter_behind_the_end_of_the_replay(
    stream: Stream, ports: Ports, start: Start
) -> None:
    await start()
    for number in range(5):
        await add_entry(stream, entry_of([(f"s{number}", NOW, 13.0)]))
    await eventually(lambda: _count(ports, 5))
    cursor: dict[str, Any] = {}
    replayed = 0
    for _ in range(3):
        done = (await ports.admin.post("/replay", params={"limit": 2, **cursor})).json()
        replayed += done["replayed"]
        cursor = {"after": done["next"], "through": done["through"]}
        await eventually(lambda: _drained(stream))
    assert replayed == 5
    assert await _count(ports, 5)


async def test_letters_are_found_by_reason_and_batch_page_by_page(stream: Stream, ports: Ports) -> None:
    wanted = uuid.uuid4()
    for number in range(7):
        fields: dict[Any, Any] = {"reason": "refused" if number % 2 else "damaged", "e": b"x" * number}
        await stream.client.xadd(stream.names.dead, fields | ({"batch_id": str(wanted)} if number == 3 else {}))
    page = (await ports.admin.get(LETTERS, params={"reason": "refused", "limit": 2})).json()
    rest = (await ports.admin.get(LETTERS, params={"reason": "refused", "after": page["next"]})).json()
    assert [letter["bytes"] for letter in page["letters"] + rest["letters"]] == [1, 3, 5]
    assert (page["total"], rest["next"]) == (7, None)
    assert [letter["bytes"] for letter in await listed(ports, batch_id=wanted)] == [3]
    through = page["letters"][0]["letter_id"]
    assert [letter["bytes"] for letter in await listed(ports, through=through)] == [0, 1]


async def test_a_damaged_letter_is_replayed_only_with_readings(
    settings: Settings, stream: Stream, ports: Ports, start: Start
) -> None:
    await start()
    await stream.client.xadd(stream.names.stream, {"v": "1", "n": "3", "e": b"\x00", "reason": "mine"})
    letter = await first_letter(ports)
    assert (letter["reason"], letter["rows"], letter["batch_id"]) == ("damaged", 3, None)
    path = f"{LETTERS}/{letter['letter_id']}"
    assert_problem(await ports.admin.post(f"{path}/replay"), 422, "letter_damaged")
    assert_problem(await ports.admin.get(f"{path}/readings"), 422, "letter_damaged")
    assert_problem(await ports.admin.post(f"{path}/replay", json=[{**READING, "value": "x"}]), 422, "invalid_readings")
    batch_id = (await ports.admin.post(f"{path}/replay", json=[READING])).json()["batch_id"]
    await eventually(lambda: rows_in(settings.database))
    assert (await ports.public.get(f"/batches/{batch_id}")).json()["status"] == "stored"


async def test_a_letter_older_than_the_ledger_is_replayed_only_by_consent(
    settings: Settings, stream: Stream, ports: Ports, start: Start
) -> None:
    await start()
    await stream.ensure_group()
    entry = entry_of([("a", NOW, 1.0)], keys=[keyed_id("", "old")], digest=b"d", accepted_at=OLD)
    await add_entry(stream, entry)
    letter = await first_letter(ports)
    assert letter["reason"] == "expired"
    path = f"{LETTERS}/{letter['letter_id']}/replay"
    assert_problem(await ports.admin.post(path), 409, "letter_expired")
    done = (await ports.admin.post("/replay")).json()
    assert [left["code"] for left in done["left"]] == ["letter_expired"]
    assert (await ports.admin.post(path, params={"even_expired": True})).status_code == 200
    await eventually(lambda: rows_in(settings.database))


async def test_deleting_leaves_what_came_later(stream: Stream, ports: Ports) -> None:
    made: list[Any] = [await stream.client.xadd(stream.names.dead, {"reason": "refused"}) for _ in range(5)]
    ids = [letter_id.decode() for letter_id in made]
    assert (await ports.admin.delete(f"{LETTERS}/{ids[0]}")).status_code == 204
    assert_problem(await ports.admin.delete(f"{LETTERS}/{ids[0]}"), 404, "unknown_letter")
    done = (await ports.admin.delete(LETTERS, params={"through": ids[3], "limit": 2})).json()
    assert (done["deleted"], done["next"]) == (2, ids[2])
    done = (await ports.admin.delete(LETTERS, params={"through": ids[3], "after": done["next"]})).json()
    assert (done["deleted"], done["next"]) == (1, None)
    assert [letter["letter_id"] for letter in await listed(ports)] == ids[4:]


async def test_a_wrong_method_is_told_all_that_are_right(ports: Ports) -> None:
    for path, methods in (
        (LETTERS, "DELETE, GET, HEAD"),
        (f"{LETTERS}/1-1", "DELETE, GET, HEAD"),
        ("/replay", "POST"),
    ):
        response = await ports.admin.put(path)
        assert_problem(response, 405, "method_not_allowed")
        assert response.headers["allow"] == methods


@pytest.mark.parametrize("letter_id", ["7", "7-", "x-1", "99999999999999999999-0", "1-1%20"])
async def test_no_id_brings_an_error_of_ours(ports: Ports, letter_id: str) -> None:
    assert_problem(await ports.admin.get(f"{LETTERS}/{letter_id}"), 422, "invalid_parameter")


async def test_expired_letters_are_those_older_than_the_retention(stream: Stream) -> None:
    letters = DeadLetters(stream.client, stream.names)
    await stream.client.xadd(stream.names.dead, {"reason": "refused"}, id=f"{OLD // 1000}-0")
    await stream.client.xadd(stream.names.dead, {"reason": "refused"})
    assert await letters.expire(99 * 3600.0) == 1
    assert await letters.count() == 1


@pytest.mark.usefixtures("refusing")
async def test_past_the_limit_nothing_more_becomes_a_dead_letter_and_the_worker_says_so_until_there_is_room(
    settings: Settings, stream: Stream, ports: Ports, start: Start
) -> None:
    health = await start(dead_letter_limit=3, batch_entries=1)
    for number in range(6):
        await add_entry(stream, entry_of([(f"s{number}", NOW, 13.0)]))
    assert "limit is 3" in await eventually(lambda: health.reasons().get("dead_letters", ""))
    assert await _count(ports, 3)
    assert (await stream.backlog()).entries == 3
    await stream.client.xadd(stream.names.stream, {"hello": "world"})
    await sql(settings.database, "alter table sensor_data drop constraint no_thirteen")
    await eventually(lambda: _drained(stream, 1), 30)
    await ports.admin.post("/replay")
    await eventually(lambda: _drained(stream), 30)
    assert health.reasons() == {}
    assert len(await rows_in(settings.database)) == 6
    assert [fields[b"reason"] for _, fields in await raw_entries(stream, stream.names.dead)] == [b"damaged"]


async def _count(ports: Ports, wanted: int) -> bool:
    return len(await listed(ports)) == wanted


async def _drained(stream: Stream, left: int = 0) -> bool:
    return (await stream.backlog()).entries == left
