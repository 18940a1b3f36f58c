"""Readings that are taken back: from the table, from the stream, from dead letters; by HTTP, once, with a reason."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from services.contract import Entry, decode, encode
from services.database.repair import deletions as carrying
from services.platform.http.auth import new_key
from services.platform.postgres.capability import capability
from services.platform.settings import Settings
from services.platform.stream import Delivery
from services.worker.work import Work
from tests.support import TestDatabase, eventually
from tests.support.admin import Ports, both_ports
from tests.support.deletions import ask_deletion, carry_out, instant
from tests.support.ingest import assert_problem
from tests.support.late import HOURLY, connected
from tests.support.readings import Row, entry_of, rows_in, sql
from tests.support.worker import Start, parts_of

HOUR = 3_600_000_000
NOW = time.time_ns() // 1000
BASE = NOW // HOUR * HOUR - 1000 * HOUR


@pytest.fixture
async def ports(settings: Settings) -> AsyncIterator[Ports]:
    async with both_ports(settings) as found:
        yield found


def some(sensor: str, start: int = BASE, count: int = 10, step: int = HOUR // 4) -> list[Row]:
    return [(sensor, start + number * step, float(number)) for number in range(count)]


def work_of(*entries: Entry) -> Work:
    read = [Delivery(b"%d-0" % number, encode(entry)) for number, entry in enumerate(entries, 1)]
    return Work((delivery, decode(delivery.fields or {})) for delivery in read)


async def send(ports: Ports, rows: list[Row], ack: str = "stored") -> None:
    body = [{"sensor_id": sensor, "timestamp": instant(at), "value": value} for sensor, at, value in rows]
    answer = await ports.public.post("/ingest", params={"ack": ack}, json=body)
    assert answer.is_success, answer.text


async def hours_of(settings: Settings, sensor: str) -> dict[int, int]:
    rows = await sql(settings.database, HOURLY, sensor)
    return {int(bucket.timestamp()) * 1_000_000: samples for bucket, samples in rows}


async def test_readings_are_counted_taken_back_and_gone_from_hours_at_once(
    settings: Settings, ports: Ports, start: Start
) -> None:
    await start()
    await send(ports, some("a") + some("b") + some("c"))
    body = {"sensor_ids": ["a", "b"], "start": instant(BASE + HOUR), "end": instant(BASE + 2 * HOUR), "reason": "wrong"}
    counted = await ports.admin.post("/deletions", params={"dry_run": "true"}, json=body)
    assert (counted.status_code, counted.json()) == (200, {"rows": 8, "hours": 1})
    assert len(await rows_in(settings.database)) == 30

    asked = await ask_deletion(ports.admin, ["b", "a", "b"], BASE + HOUR, BASE + 2 * HOUR, requested_by="ann")
    assert (asked["sensor_ids"], asked["requested_by"], asked["finished_at"]) == (["a", "b"], "ann", None)
    assert await carry_out(settings.database) == 0
    kept = [row for row in some("a") + some("b") if not BASE + HOUR <= row[1] < BASE + 2 * HOUR]
    assert await rows_in(settings.database) == sorted(kept + some("c"))
    assert await hours_of(settings, "a") == {BASE: 4, BASE + 2 * HOUR: 2}
    assert await hours_of(settings, "c") == {BASE: 4, BASE + HOUR: 4, BASE + 2 * HOUR: 2}

    shown = (await ports.admin.get(f"/deletions/{asked['deletion_id']}")).json()
    assert (shown["rows"], shown["hours"], shown["problem"]) == (8, 1, None)
    assert shown["finished_at"] is not None
    assert (await ports.admin.get("/deletions")).json() == {"deletions": [shown], "next": None}


async def test_what_waits_in_the_stream_is_taken_back_too_and_what_is_accepted_later_stays(
    settings: Settings, ports: Ports, start: Start
) -> None:
    await send(ports, some("a"), ack="durable")
    await send(ports, some("b") + some("a", BASE - 50 * HOUR), ack="durable")
    await ask_deletion(ports.admin, ["a"], BASE, BASE + 100 * HOUR)
    await send(ports, some("a", BASE + 1), ack="durable")
    await start()
    wanted = sorted(some("b") + some("a", BASE - 50 * HOUR) + some("a", BASE + 1))
    await eventually(lambda: _holds(settings, wanted))
    await carry_out(settings.database)
    assert await rows_in(settings.database) == wanted
    ledger = await sql(settings.database, "select rows, dead from ingest_ledger order by accepted_at")
    assert [tuple(row) for row in ledger] == [(0, None), (20, None), (10, None)]


async def test_a_deletion_reaches_from_the_first_instant_to_the_last(
    settings: Settings, database: TestDatabase, ports: Ports
) -> None:
    instants = ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000001Z", "9999-12-31T23:59:59.999998Z"]
    async with connected(database, "owner") as owner:
        for at in instants:
            insert = f"insert into sensor_data (timestamp, sensor_id, value) values ('{at}', 'a', 1), ('{at}', 'b', 1)"
            await owner.execute(insert)
    span = {"start": "0001-01-01T00:00:00Z", "end": "9999-12-31T23:59:59.999999Z"}
    body = {"sensor_ids": ["a"], **span, "reason": "all of it"}
    counted = await ports.admin.post("/deletions?dry_run=true", json=body)
    assert (counted.status_code, counted.json()) == (200, {"rows": 3, "hours": 2})
    taken = await ports.admin.post("/deletions", json=body)
    assert taken.status_code == 202, taken.text
    assert {name: taken.json()[name] for name in span} == span
    assert await carry_out(settings.database) == 0
    shown = (await ports.admin.get(f"/deletions/{taken.json()['deletion_id']}")).json()
    assert (shown["rows"], shown["deleted_until"]) == (3, span["end"])
    left = await sql(settings.database, "select sensor_id, count(*) from sensor_data group by 1")
    assert [tuple(row) for row in left] == [("b", 3)]


ODD = [
    {"range_start": "'4000-01-01 BC'"}, {"range_end": "'30000-01-01'"}, {"deleted_until": "'infinity'"},
    {"requested_at": "'-infinity'"}, {"finished_at": "'infinity'"}, {"sensor_ids": "array[null, 'a']"},
    {"sensor_ids": "array[array['a', 'b'], array['c', 'd']]"}, {"sensor_ids": "'{}'"},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: " ".join(map(" ".join, odd.items())))
async def test_the_table_refuses_deletions_that_nobody_could_carry_out(
    settings: Settings, database: TestDatabase, odd: dict[str, str]
) -> None:
    values = {
        "deletion_id": "gen_random_uuid()", "sensor_ids": "array['a']", "range_start": "now() - interval '1 day'",
        "range_end": "now()", "reason": "'by hand'", "requested_by": "'ann'", "requested_at": "now()", "last_id": "0",
        "deleted_until": "now() - interval '1 day'", "finished_at": "null",
    }  # fmt: skip
    insert = "insert into deletions ({}) values ({})"
    async with connected(database, "owner") as owner:
        await owner.execute(insert.format(", ".join(values), ", ".join(values.values())))
        values |= odd
        with pytest.raises(asyncpg.CheckViolationError):
            await owner.execute(insert.format(", ".join(values), ", ".join(values.values())))
    assert await carry_out(settings.database) == 0


async def _holds(settings: Settings, wanted: list[Row]) -> bool:
    return await rows_in(settings.database) == wanted


async def test_corrections_sent_before_a_deletion_is_carried_out_stay(
    settings: Settings, ports: Ports, start: Start
) -> None:
    await start()
    await send(ports, some("a"))
    await ask_deletion(ports.admin, ["a"], BASE, BASE + 100 * HOUR)
    # Their worker has ids in store that were given out before.
    await send(ports, some("a", BASE + 1))
    await send(ports, some("a", BASE + 2))
    await carry_out(settings.database)
    assert await rows_in(settings.database) == sorted(some("a", BASE + 1) + some("a", BASE + 2))


async def test_a_deletion_waits_for_transactions_that_do_not_know_it(
    settings: Settings, database: TestDatabase, ports: Ports
) -> None:
    store = (await parts_of(settings)).store
    async with connected(database, "owner") as other:
        lock = other.transaction()
        await lock.start()
        await other.execute("lock table sensor_data in exclusive mode")
        writing = asyncio.create_task(store.write(work_of(entry_of(some("a")))))
        await eventually(lambda: _waiting(database, "copy%"))
        asking = asyncio.create_task(ask_deletion(ports.admin, ["a"], BASE, BASE + 100 * HOUR))
        await eventually(lambda: _waiting(database, "%pg_advisory_xact_lock(%"))
        await lock.rollback()
    await writing
    assert (await asking)["rows"] == 0
    await carry_out(settings.database)
    store.close()
    assert await rows_in(settings.database) == []


async def test_a_transaction_that_waited_for_a_deletion_knows_it(settings: Settings, database: TestDatabase) -> None:
    store = (await parts_of(settings)).store
    await store.write(work_of(entry_of(some("b"))))
    async with connected(database, "owner") as other:
        taking = other.transaction()
        await taking.start()
        await other.execute("select pg_advisory_xact_lock(hashtext('millrace deletions'))")
        work = work_of(entry_of(some("a") + some("b", BASE + 1)))
        writing = asyncio.create_task(store.write(work))
        await eventually(lambda: _waiting(database, "%ingest_ledger%"))
        await other.execute(
            "insert into deletions (deletion_id, sensor_ids, range_start, range_end, reason, requested_by,"
            " requested_at, last_id, deleted_until)"
            " values (gen_random_uuid(), '{a}', '2000-01-01', '2100-01-01', 'wrong', '', clock_timestamp(), 0,"
            " '2000-01-01')"
        )
        await taking.commit()
    written = await writing
    store.close()
    assert await rows_in(settings.database) == sorted(some("b") + some("b", BASE + 1))
    assert [written.selection.taken_back(part) for part in work.parts] == [10]


async def _waiting(database: TestDatabase, query: str) -> bool:
    """Tell whether a statement like `query` waits for a lock."""
    async with connected(database, "superuser") as superuser:
        looked = "select exists (select from pg_stat_activity where datname = current_database()"
        found = await superuser.fetchval(f"{looked} and wait_event_type = 'Lock' and query ilike $1)", query)
    return bool(found)


async def test_a_deletion_is_asked_for_once_by_its_key(ports: Ports) -> None:
    first = await ask_deletion(ports.admin, ["a", "b"], BASE, BASE + HOUR, key="k1")
    body = {"sensor_ids": ["b", "a"], "start": instant(BASE), "end": instant(BASE + HOUR), "reason": "wrong"}
    again = await ports.admin.post("/deletions", json=body, headers={"Idempotency-Key": "k1"})
    assert (again.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (202, first, "true")
    for other in ({"reason": "other"}, {"sensor_ids": ["a"]}, {"end": instant(BASE + 2 * HOUR)}):
        answer = await ports.admin.post("/deletions", json=body | other, headers={"Idempotency-Key": "k1"})
        assert_problem(answer, 422, "key_reused")
    asked = [ports.admin.post("/deletions", json=body, headers={"Idempotency-Key": "k2"}) for _ in range(8)]
    answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["deletion_id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    await ask_deletion(ports.admin, ["a"], BASE, BASE + HOUR)
    await ask_deletion(ports.admin, ["a"], BASE, BASE + HOUR)
    newest = (await ports.admin.get("/deletions", params={"limit": 3})).json()
    rest = (await ports.admin.get("/deletions", params={"limit": 3, "after": newest["next"]})).json()
    assert ([len(newest["deletions"]), len(rest["deletions"])], rest["next"]) == ([3, 1], None)
    assert rest["deletions"] == [first]


GOOD: dict[str, Any] = {
    "sensor_ids": ["a"], "start": "2025-10-22T21:00:00Z", "end": "2025-10-22T22:00:00Z", "reason": "wrong"
}  # fmt: skip
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"sensor_ids": []}, "sensor_ids"),
    ({"sensor_ids": ["a"] * 1001}, "sensor_ids"),
    ({"sensor_ids": ["a", "x" * 129]}, "sensor_ids.1"),
    ({"sensor_ids": ["a", "x\0y"]}, "sensor_ids.1"),
    ({"sensor_ids": ["a", 5]}, "sensor_ids.1"),
    ({"sensor_ids": "a"}, "sensor_ids"),
    ({"start": "2025-10-22T21:00:00"}, "start"),
    ({"start": 1_700_000_000}, "start"),
    ({"end": "9999-12-31T23:59:59-14:00"}, "end"),
    ({"end": "2025-10-22T21:00:00Z"}, "start"),
    ({"reason": ""}, "reason"),
    ({"reason": "x" * 501}, "reason"),
    ({"reason": "a\0b"}, "reason"),
    ({"requested_by": "x" * 65}, "requested_by"),
    ({"sensor": "a"}, "sensor"),
]


@pytest.mark.parametrize("dry_run", ["false", "true"])
async def test_a_wrong_deletion_is_refused_by_name(timescaledb_settings: Settings, dry_run: str) -> None:
    async with both_ports(timescaledb_settings) as ports:
        for body, named in WRONG:
            answer = await ports.admin.post("/deletions", params={"dry_run": dry_run}, json=GOOD | body)
            problem = assert_problem(answer, 422, "invalid_parameter")
            assert [fault["parameter"] for fault in problem["parameters"]] == [named]


async def test_a_deletion_that_is_none_is_refused(ports: Ports) -> None:
    for text in (b"", b"[]", b"{", b'{"reason": "\\ud800"}', b"[" * 100_000, b"\xff"):
        answer = await ports.admin.post("/deletions", content=text)
        assert_problem(answer, 422, "malformed_body")
    for query in ("dry=true", "dry_run=2", "dry_run=true&dry_run=false"):
        assert_problem(await ports.admin.post(f"/deletions?{query}", json=GOOD), 422, "invalid_parameter")
    for keys in ([" "], ["k1", "k2"]):
        headers = [("Idempotency-Key", key) for key in keys]
        assert_problem(await ports.admin.post("/deletions", json=GOOD, headers=headers), 422, "invalid_parameter")
    unknown = "/deletions/6d0cf4d6-8a3c-5f0e-9d0e-5a5f2f6f7a11"
    assert_problem(await ports.admin.get(unknown), 404, "unknown_deletion")
    for wrong in ("/deletions/1", f"{unknown}?rows=1", "/deletions?sensor_id=a", "/deletions?limit=1&limit=2"):
        assert_problem(await ports.admin.get(wrong), 422, "invalid_parameter")
    assert (await ports.admin.get("/deletions")).json() == {"deletions": [], "next": None}


async def test_a_dead_letter_that_is_replayed_after_a_deletion_is_covered_by_it(
    settings: Settings, ports: Ports, start: Start
) -> None:
    await sql(settings.database, "alter table sensor_data add constraint no_thirteen check (value <> 13)")
    await start()
    rows = [("a", BASE, 13.0), ("a", BASE + HOUR, 1.0), ("b", BASE, 1.0)]
    body = [{"sensor_id": sensor, "timestamp": instant(at), "value": value} for sensor, at, value in rows]
    assert_problem(await ports.public.post("/ingest?ack=stored", json=body), 422, "batch_dead")
    await ask_deletion(ports.admin, ["a"], BASE, BASE + HOUR)
    await sql(settings.database, "alter table sensor_data drop constraint no_thirteen")
    assert (await ports.admin.post("/replay")).json()["replayed"] == 1
    await eventually(lambda: _holds(settings, rows[1:]))


async def test_who_took_readings_back_is_the_callers_name_where_there_are_keys(
    timescaledb_settings: Settings, tmp_path: Path
) -> None:
    texts, callers = [], []
    for name, scope in (("ann", "admin"), ("bob", "ingest")):
        text, key = new_key()
        texts.append(text)
        callers.append({"name": name, "scopes": [scope], "keys": [key.model_dump(mode="json")]})
    (tmp_path / "keys.yaml").write_text(yaml.safe_dump({"callers": callers}))
    auth = timescaledb_settings.auth.model_copy(update={"keys_file": tmp_path / "keys.yaml"})
    async with both_ports(timescaledb_settings.model_copy(update={"auth": auth})) as ports:
        ann, bob = ({"Authorization": f"Bearer {text}"} for text in texts)
        answer = await ports.admin.post("/deletions", json=GOOD | {"requested_by": "eve"}, headers=ann)
        assert (answer.status_code, answer.json()["requested_by"]) == (202, "ann")
        assert_problem(await ports.admin.post("/deletions", json=GOOD, headers=bob), 403, "forbidden")
        assert_problem(await ports.admin.get("/deletions"), 401, "no_key")


async def test_one_deletion_that_the_database_refuses_tells_why_and_does_not_hold_up_others(
    settings: Settings, database: TestDatabase, ports: Ports, start: Start
) -> None:
    await start()
    await send(ports, some("a") + some("b"))
    stuck = await ask_deletion(ports.admin, ["a"], BASE, BASE + 100 * HOUR)
    await ask_deletion(ports.admin, ["b"], BASE, BASE + 100 * HOUR)
    guard = """
        create function guard() returns trigger language plpgsql as
          $$ begin if old.sensor_id = 'a' then raise 'a is kept'; end if; return old; end $$;
        create trigger guard before delete on sensor_data for each row execute function guard();
    """
    async with connected(database, "owner") as owner:
        await owner.execute(guard)
    assert await carry_out(settings.database) == 1
    assert await rows_in(settings.database) == some("a")
    shown = (await ports.admin.get(f"/deletions/{stuck['deletion_id']}")).json()
    assert "a is kept" in shown["problem"]
    await sql(settings.database, "drop trigger guard on sensor_data")
    assert await carry_out(settings.database) == 0
    shown = (await ports.admin.get(f"/deletions/{stuck['deletion_id']}")).json()
    assert (shown["rows"], shown["problem"]) == (10, None)


async def test_a_deletion_whose_transactions_take_too_long_goes_on_by_smaller_ones(
    settings: Settings, database: TestDatabase, ports: Ports, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "SLICE_ROWS", 40)
    await start()
    await send(ports, some("a", count=60) + some("b"))
    await ask_deletion(ports.admin, ["a"], BASE, BASE + 100 * HOUR)
    slow = """
        create function slow() returns trigger language plpgsql as
          $$ begin perform pg_sleep(0.03); return old; end $$;
        create trigger slow before delete on sensor_data for each row execute function slow();
    """
    async with connected(database, "owner") as owner:
        await owner.execute(slow)
        await owner.execute("set statement_timeout = '600ms'")
        assert await carrying.delete_once(owner, await capability(owner)) == 0
    assert await rows_in(settings.database) == some("b")
