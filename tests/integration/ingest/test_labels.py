"""Labelled readings on their whole way: by HTTP, through the stream, into the table and the catalogue."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.contract import codec, series_id, series_of
from services.platform.settings import Settings
from services.platform.stream import Stream
from tests.support import eventually
from tests.support.admin import Ports, both_ports
from tests.support.ingest import READING, assert_problem
from tests.support.readings import raw_entries, rows_in, sql
from tests.support.worker import Start

ROOM = {"room": "kitchen", "floor": "1"}
WHEN = {name: READING[name] for name in ("timestamp", "value")}
LABELLED: dict[str, Any] = {"name": "heat", "labels": ROOM, **WHEN}
HEAT = series_id(series_of("heat", ROOM.items()))


@pytest.fixture
async def ports(settings: Settings) -> AsyncIterator[Ports]:
    async with both_ports(settings) as found:
        yield found


async def catalogue(settings: Settings) -> dict[str, Any]:
    rows = await sql(settings.database, "select sensor_id, name, labels from sensors")
    return {row["sensor_id"]: row["labels"] and (row["name"], json.loads(row["labels"])) for row in rows}


async def test_requests_that_share_an_entry_bring_their_labels_each(
    settings: Settings, ports: Ports, start: Start
) -> None:
    await start()
    bodies: list[Any] = [READING, LABELLED, *({**LABELLED, "labels": {"room": str(n)}} for n in range(20))]
    answers = await asyncio.gather(*(ports.public.post("/ingest?ack=stored", json=body) for body in bodies))
    assert {answer.status_code for answer in answers} == {200}
    expected = {series_id(series_of("heat", [("room", str(n))])): ("heat", {"room": str(n)}) for n in range(20)}
    assert await catalogue(settings) == {READING["sensor_id"]: None, HEAT: ("heat", ROOM)} | expected
    assert {row[0] for row in await rows_in(settings.database)} == set(await catalogue(settings))


async def test_a_key_is_of_the_same_readings_whatever_the_order_of_their_labels(ports: Ports, start: Start) -> None:
    await start()
    headers = {"Idempotency-Key": "k"}
    first = await ports.public.post("/ingest?ack=stored", json=LABELLED, headers=headers)
    other_order = {**LABELLED, "labels": dict(reversed(ROOM.items()))}
    again = await ports.public.post("/ingest?ack=stored", json=[other_order], headers=headers)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert again.json()["batch_id"] == first.json()["batch_id"]
    other = await ports.public.post("/ingest?ack=stored", json={**LABELLED, "labels": {}}, headers=headers)
    assert_problem(other, 422, "key_reused")


async def test_a_label_that_no_selector_could_choose_is_refused(ports: Ports) -> None:
    refused = await ports.public.post("/ingest", json={**LABELLED, "labels": {"__name__": "heat"}})
    [fault] = assert_problem(refused, 422, "invalid_readings")["errors"]
    assert (fault["field"], fault["code"]) == ("labels", "reserved")
    assert fault["message"] == "label '__name__' is the name itself; send it as name"


async def test_the_good_part_of_a_batch_goes_in_with_its_labels(settings: Settings, ports: Ports, start: Start) -> None:
    await start()
    body = [LABELLED, {**LABELLED, "labels": {"room": ""}}, {**LABELLED, "name": "cold", "value": "x"}]
    assert_problem(await ports.public.post("/ingest", json=body), 422, "invalid_readings")
    answer = (await ports.public.post("/ingest?ack=stored&partial=true", json=body)).json()
    assert [(fault["index"], fault["field"], fault["code"]) for fault in answer["rejected"]] == [
        (1, "labels", "empty"),
        (2, "value", "wrong_type"),
    ]
    assert await catalogue(settings) == {HEAT: ("heat", ROOM)}


async def test_a_dead_letter_is_shown_mended_and_replayed_with_its_labels(
    settings: Settings, stream: Stream, ports: Ports, start: Start
) -> None:
    await sql(settings.database, "alter table sensor_data add constraint no_thirteen check (value <> 13)")
    await stream.ensure_group()
    await start()
    answer = await ports.public.post("/ingest?ack=stored", json=[{**LABELLED, "value": 13}, {**READING, "value": 12}])
    assert_problem(answer, 422, "batch_dead")
    assert await catalogue(settings) == {}

    async def letters() -> list[dict[str, Any]]:
        return list((await ports.admin.get("/dead-letters")).json()["letters"])

    path = f"/dead-letters/{(await eventually(letters))[0]['letter_id']}"
    shown = (await ports.admin.get(path, params={"rows": 1})).json()
    assert shown["first_rows"] == [{**LABELLED, "labels": dict(sorted(ROOM.items())), "value": 13.0}]
    readings = (await ports.admin.get(f"{path}/readings")).json()
    readings[0]["value"] = 12.5
    assert (await ports.admin.post(f"{path}/replay", json=readings)).status_code == 200
    await eventually(lambda: rows_in(settings.database))
    assert await catalogue(settings) == {READING["sensor_id"]: None, HEAT: ("heat", ROOM)}


async def test_only_what_has_labels_waits_for_a_worker_that_knows_them(
    settings: Settings, stream: Stream, ports: Ports, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stream.ensure_group()
    for body in (READING, LABELLED):
        assert (await ports.public.post("/ingest", json=body)).status_code == 200
    assert [fields[b"v"] for _, fields in await raw_entries(stream)] == [b"1", b"2"]
    with monkeypatch.context() as of_the_release_before:
        of_the_release_before.setattr(codec, "VERSION", 1)
        health = await start("old")
        await eventually(lambda: rows_in(settings.database))
        await eventually(lambda: "contract" in str(health.reasons()))
        assert [row[0] for row in await rows_in(settings.database)] == [READING["sensor_id"]]
        assert len(await raw_entries(stream)) == 1
    await start("new", reclaim_idle=0.1, reclaim_interval=0.1)

    async def stored() -> bool:
        return HEAT in await catalogue(settings)

    await eventually(stored)
    assert {row[0] for row in await rows_in(settings.database)} == {READING["sensor_id"], HEAT}
