"""What somebody else puts into a channel, key or table that processes share: it ends nothing, and it is told."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from structlog.testing import capture_logs

from services.contract import GROUP, DeadLetter, SettlementEvent, encode, encode_letter, encode_settlement
from services.database.repair.late_ranges import repair_once
from services.ingest.commit.pending import Accepted
from services.ingest.receipts import Receipts, stored_receipt
from services.platform.postgres.capability import capability
from services.platform.runtime import foreign_content, metrics
from services.platform.runtime.health import Health
from services.platform.settings import Settings
from services.platform.stream import Stream, redis_client
from tests.support import TestDatabase, eventually
from tests.support.admin import both_ports
from tests.support.ingest import READING, assert_problem, entries, taking
from tests.support.late import connected
from tests.support.moments import counted
from tests.support.readings import add_entry, entry_of, raw_entries, rows_in, sql
from tests.support.service import Service
from tests.support.worker import Start

NOW = 1_790_000_000_000_000
KEYS = ("stream", "backlog", "totals", "queued", "dead")


def messages(batch_id: uuid.UUID) -> dict[str, bytes]:
    packed = msgspec.msgpack.encode
    return {
        "text": b"hello",
        "nothing": b"",
        "junk": bytes(range(256)) * 4000,
        "later version": packed({"v": 2, "batches": [batch_id.bytes], "outcome": "archived"}),
        "unknown outcome, before versions": packed([(batch_id.bytes, None, "archived", "")]),
        "well-formed, before versions": packed([(batch_id.bytes, None, "stored", "")]),
        "well-formed": encode_settlement(SettlementEvent([batch_id])),
    }


@pytest.fixture
def told() -> Iterator[Callable[[str], bool]]:
    """Tells whether something was said to be passed over, that is in the place of what is named."""
    foreign_content._told_at.clear()
    with capture_logs() as lines:
        yield lambda what: any(line.get("action") == "pass_over" and line["what"] == what for line in lines)


def patient(settings: Settings) -> Settings:
    """Return settings by which `ack=stored` waits for as long as a busy machine takes."""
    return settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"stored_timeout": 60.0})})


async def elsewhere(settings: Settings) -> Redis:
    """Return a client of another database of the same server."""
    url = settings.redis.url.get_secret_value().removesuffix("/0") + "/1"
    return redis_client(settings.redis.model_copy(update={"url": SecretStr(url)}))


async def test_no_message_of_the_settled_channel_ends_ingest_or_stands_for_a_stored_row(
    settings: Settings, stream: Stream, service: Callable[[str, Settings], Service], start: Start
) -> None:
    hasty = settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"stored_timeout": 1.0})})
    async with service("ingest", hasty) as ingest, httpx.AsyncClient(base_url=ingest.url) as client:
        asked = asyncio.create_task(client.post("/ingest?ack=stored", json=[READING]))
        [entry] = await eventually(lambda: entries(stream))
        forged = messages(entry.batches[0].batch_id)
        async with await elsewhere(settings) as other:
            for message in forged.values():
                await stream.client.publish(stream.names.settled, message)
                await other.publish(stream.names.settled, message)
        assert (await asked).status_code == 202
        assert await rows_in(settings.database) == []

        # All but the well-formed one, from either database.
        async def all_counted() -> bool:
            return await counted(ingest, "millrace_foreign_content_total") == 2 * len(forged) - 2

        await eventually(all_counted)
        await start()

        async def stored() -> bool:
            return (await client.post("/ingest?ack=stored", json=[READING])).status_code == 200

        await eventually(stored)
    assert ingest.log_text().count("passed over") == 1


async def test_stored_is_answered_though_no_event_is_understood(
    settings: Settings, stream: Stream, start: Start
) -> None:
    """As beside workers of another release."""
    await start()
    receipts = Receipts(settings.database)
    entry = entry_of([("a", NOW, 1.0)], notify=True)
    await add_entry(stream, entry)
    [batch] = entry.batches
    accepted = Accepted(batch.batch_id, None, batch.accepted_at, batch.rows, [], settled=None, skipped={})
    receipt = await stored_receipt(receipts, accepted, asyncio.Event(), 20.0)
    receipts.close()
    assert receipt is not None
    assert receipt.verdict.outcome == "stored"


async def test_a_thousand_looks_at_one_moment_are_one_query(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How soon a look is given up is not what is asked here.
    monkeypatch.setattr("services.ingest.receipts._TIMEOUT", 60.0)
    rows = await sql(
        settings.database,
        "insert into ingest_ledger (batch_id, batches, rows, accepted_at) "
        "select gen_random_uuid(), 1, 1, now() from generate_series(1, 1000) returning batch_id",
    )
    receipts = Receipts(settings.database)
    looks: list[int] = []
    look = receipts._look

    async def counting(batch_ids: list[uuid.UUID]) -> Any:
        looks.append(len(batch_ids))
        return await look(batch_ids)

    receipts._look = counting  # type: ignore[method-assign]
    found = await asyncio.gather(*(receipts.find(row[0]) for row in rows))
    receipts.close()
    assert all(found)
    assert looks == [1000]


@pytest.mark.parametrize("name", KEYS)
async def test_a_key_of_another_type_ends_nothing_and_is_named_until_it_is_gone(
    settings: Settings, stream: Stream, start: Start, name: str
) -> None:
    key = getattr(stream.names, name)
    async with taking(patient(settings)) as client:
        health = await start()
        await eventually(lambda: not health.reasons())
        await stream.client.delete(key)
        await stream.client.set(key, "mine")

        async def named() -> bool:
            reasons = (await client.get("/readyz")).json()["reasons"]
            return f"{key} holds a string" in reasons.get("stream", "") and key in health.reasons().get("stream", "")

        await eventually(named)
        refused = await client.post("/ingest", json=[READING])
        assert key in assert_problem(refused, 503, "stream_unavailable")["detail"]
        assert await stream.client.get(key) == b"mine"
        await stream.client.delete(key)

        async def stored() -> bool:
            return (await client.post("/ingest?ack=stored", json=[READING])).status_code == 200

        await eventually(stored)
        await eventually(lambda: not health.reasons())


async def test_junk_in_the_keys_beside_the_stream_is_passed_over_and_told(
    settings: Settings, stream: Stream, start: Start, told: Callable[[str], bool]
) -> None:
    names, redis = stream.names, stream.client
    async with taking(patient(settings)) as client:
        await start(janitor_interval=0.1)
        waiting = (await client.post("/ingest", json=[READING])).json()["batch_id"]
        for junk in (b"junk", b"", b"1e999", b"nan", b"0x10", b"-7", b"9" * 30, b"\xff"):
            for key, fields in ((names.backlog, ("rows", "bytes")), (names.totals, ("accepted", "settled", "removed"))):
                for field in fields:
                    await redis.hset(key, field, junk)
            await redis.hset(names.totals, mapping={"missing": junk, "counted": junk, junk: junk})
            await redis.hset(names.queued, mapping={junk: junk, uuid.UUID(waiting).bytes[:9]: junk})
            await redis.xadd(names.dead, {junk: junk, b"reason": junk, b"batch_id": junk, b"n": junk})
            await redis.xadd(names.stream, {junk: junk, b"v": b"1", b"n": junk})
            assert (await client.post("/ingest", json=[READING])).status_code == 200
            await stream.backlog()
        await redis.xgroup_create(names.stream, "others", id="0", mkstream=True)
        await redis.xgroup_createconsumer(names.stream, GROUP, b"\xff\xfe\r\n")
        assert (await client.post("/ingest?ack=stored", json=[READING])).status_code == 200
        await eventually(lambda: told("count"))
        assert (await client.get("/readyz")).status_code == 200
    await eventually(lambda: _of_length(settings, 10))
    assert len(await raw_entries(stream, names.dead)) == 16


async def test_an_entry_of_a_later_version_stays_and_junk_becomes_a_dead_letter_and_each_is_counted(
    settings: Settings, stream: Stream, service: Callable[[str, Settings], Service]
) -> None:
    junk: list[Any] = [{"v": "1", "n": "1", "e": b"\xc1"}, {"hello": "world"}, {"v": "0", "n": "1", "e": b""}]
    newer: Any = {"v": "999", "n": "1", "e": b"from the future", "x": "new"}
    async with service("worker", settings) as worker:
        later = await stream.client.xadd(stream.names.stream, newer)
        for fields in junk:
            await stream.client.xadd(stream.names.stream, fields)
        await add_entry(stream, entry_of([("a", NOW, 1.0)]))

        async def written() -> bool:
            return await counted(worker, "millrace_rows_written_total") == 1

        await eventually(written)
        assert await counted(worker, "millrace_foreign_content_total") == 1
        assert await counted(worker, "millrace_batches_dead_total") == 3
    assert [entry_id for entry_id, _ in await raw_entries(stream, stream.names.stream)] == [later]
    assert len(await raw_entries(stream, stream.names.dead)) == 3


async def test_a_dead_letter_that_cannot_be_read_stays_and_the_others_are_replayed(
    settings: Settings,
    stream: Stream,
    start: Start,
    told: Callable[[str], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted_as: list[str] = []
    monkeypatch.setattr(metrics.foreign_content, "add", lambda _, by: counted_as.append(by["what"]))
    await stream.ensure_group()
    kept: dict[Any, Any] = encode_letter(DeadLetter("refused", "why", "1-1", encode(entry_of([("a", NOW, 1.0)]))))
    later: dict[Any, Any] = {**kept, b"letter": b"2", b"new": b"\xff"}
    letters: list[dict[Any, Any]] = [later, {b"letter": b"\xff"}, kept, {b"junk": b""}]
    for fields in letters:
        await stream.client.xadd(stream.names.dead, fields)
    async with both_ports(settings) as ports:
        shown = (await ports.admin.get("/dead-letters")).json()["letters"]
        assert len(shown) == 4
        for letter in shown:
            assert (await ports.admin.get(f"/dead-letters/{letter['letter_id']}")).status_code == 200
        done = (await ports.admin.post("/replay")).json()
    assert (done["replayed"], [left["code"] for left in done["left"]]) == (1, ["letter_damaged"] * 3)
    assert told("dead_letter")
    assert counted_as == ["dead_letter"] * 3
    await start()
    await eventually(lambda: _of_length(settings, 1))
    assert len(await raw_entries(stream, stream.names.dead)) == 3


async def _of_length(settings: Settings, count: int) -> bool:
    return len(await rows_in(settings.database)) == count


async def test_a_mark_that_is_no_count_is_no_server_error(
    stream: Stream, client: httpx.AsyncClient, told: Callable[[str], bool]
) -> None:
    batch_id = (await client.post("/ingest", json=[READING])).json()["batch_id"]
    [group] = await stream.client.hkeys(stream.names.queued)
    for junk, status in ((b"junk", 404), (b"9" * 5000, 200), (b"-1", 404), (b"1", 200)):
        await stream.client.hset(stream.names.queued, group, junk)
        assert (await client.get(f"/batches/{batch_id}")).status_code == status
    assert told("mark")


ODD_LEDGER = (
    """dead = '[]'""",
    """dead = '["0"]'""",
    """dead = '{"0": 7}'""",
    """dead = '{"0": {"code": "refused", "detail": "why"}}'""",
    """dead = '{"zero": null}'""",
    """dead = '"0"'""",
    """accepted_at = 'infinity', committed_at = '-infinity'""",
    """accepted_at = '4000-01-01 BC', committed_at = '290000-01-01'""",
    """rows = -1, batches = 0, digest = ''""",
)


async def test_odd_rows_of_the_ledger_end_nothing(
    settings: Settings, start: Start, told: Callable[[str], bool]
) -> None:
    health = await start()
    async with taking(patient(settings)) as client:
        for number, odd in enumerate(ODD_LEDGER):
            headers = {"Idempotency-Key": f"k-{number}"}
            sent = await client.post("/ingest?ack=stored", json=[READING], headers=headers)
            assert sent.status_code == 200
            batch_id = uuid.UUID(sent.json()["batch_id"])
            await sql(settings.database, f"update ingest_ledger set {odd} where batch_id = $1", batch_id)
            assert (await client.get(f"/batches/{batch_id}")).status_code == 200
            again = await client.post("/ingest?ack=stored", json=[READING], headers=headers)
            assert again.status_code in {200, 422}, again.text
        assert (await client.post("/ingest?ack=stored", json=[READING])).status_code == 200
    assert not health.reasons()
    assert told("refusal")


async def test_a_late_range_beyond_all_calendars_stays_and_the_others_are_repaired(
    database: TestDatabase, told: Callable[[str], bool]
) -> None:
    odd = [("'4000-01-01 BC'", "'3999-01-01 BC'"), ("'20000-01-01'", "'200000-01-01'")]
    for first, last in [*odd, ("'2024-01-01'", "'2024-01-02'")]:
        await sql(database.settings, f"insert into late_ranges (range_start, range_end) values ({first}, {last})")
    async with connected(database, "owner") as owner, connected(database, "owner") as guard:
        assert (await repair_once(owner, guard, await capability(owner), Health("database"))).ranges == 1
    assert (await sql(database.settings, "select count(*) from late_ranges"))[0][0] == 2
    assert told("late_range")
