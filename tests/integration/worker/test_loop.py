import asyncio
import uuid
from typing import Any

import pytest

from services.contract import GROUP, DeadLetter, SettlementEvent, decode_settlement, encode, keyed_id
from services.platform.runtime.tasks import end
from services.platform.settings import Settings
from services.platform.stream import DeadLetters, Settlement, Stream
from services.worker.janitor import keep_house
from tests.support import eventually
from tests.support.readings import add_entry, entry_of, raw_entries, rows_in, sql
from tests.support.worker import Start, parts_of

NOW = 1_790_000_000_000_000


async def empty(stream: Stream) -> bool:
    return (await stream.backlog()).entries == 0


async def test_entries_become_rows_and_leave_nothing_behind(settings: Settings, stream: Stream, start: Start) -> None:
    await start()
    for number in range(20):
        await add_entry(stream, entry_of([(f"s{number}", NOW, 1.0)], [(f"t{number}", NOW, 2.0)]))
    await eventually(lambda: empty(stream))
    assert len(await rows_in(settings.database)) == 40
    left = await stream.client.keys(f"*{settings.redis.stream}*")
    assert set(left) == {settings.redis.stream.encode(), stream.names.totals.encode()}
    backlog = await stream.backlog()
    assert (backlog.rows, backlog.accepted, backlog.settled) == (0, 40, 40)
    pending = await stream.client.xpending(settings.redis.stream, GROUP)
    assert pending["pending"] == 0


async def test_counts_of_the_backlog_follow_every_entry(stream: Stream) -> None:
    await stream.ensure_group()
    entries = [entry_of([("a", NOW, 1.0)] * count) for count in (1, 10, 100)]
    for entry in entries:
        await add_entry(stream, entry)
    backlog = await stream.backlog()
    assert (backlog.entries, backlog.rows) == (3, 111)
    assert (backlog.accepted, backlog.settled) == (111, 0)
    assert backlog.bytes == sum(len(encode(entry)[b"e"]) for entry in entries)


async def test_entries_of_a_dead_consumer_are_taken_over(settings: Settings, stream: Stream, start: Start) -> None:
    await stream.ensure_group()
    for number in range(5):
        await add_entry(stream, entry_of([(f"s{number}", NOW, 1.0)]))
    assert len(await stream.read_new("dead", 5, 0.1)) == 5
    await start()
    await eventually(lambda: empty(stream))
    assert len(await rows_in(settings.database)) == 5


async def test_a_restarted_consumer_takes_up_its_own_entries_at_once(
    settings: Settings, stream: Stream, start: Start
) -> None:
    await stream.ensure_group()
    await add_entry(stream, entry_of([("a", NOW, 1.0)]))
    await stream.read_new("w1", 5, 0.1)
    await start("w1", reclaim_idle=3600.0)
    await eventually(lambda: empty(stream))
    assert len(await rows_in(settings.database)) == 1


async def test_a_damaged_entry_is_a_dead_letter_and_its_neighbours_are_stored(
    settings: Settings, stream: Stream, start: Start
) -> None:
    await stream.ensure_group()
    await add_entry(stream, entry_of([("a", NOW, 1.0)]))
    damaged: list[Any] = [{"v": "1", "n": "3", "e": b"\x00garbage"}, {"hello": "world"}, {"v": "x"}]
    damaged += [{"v": "1", "n": digits, "e": b""} for digits in ("9" * 18, "9" * 5000)]
    for fields in damaged:
        await stream.client.xadd(settings.redis.stream, fields)
    await add_entry(stream, entry_of([("b", NOW, 1.0)]))
    await start()
    await eventually(lambda: empty(stream))
    assert len(await rows_in(settings.database)) == 2
    letters = await raw_entries(stream, stream.names.dead)
    assert [fields[b"reason"] for _, fields in letters] == [b"damaged"] * 5
    assert letters[0][1][b"e"] == b"\x00garbage"
    assert letters[1][1][b"hello"] == b"world"


async def test_a_newer_entry_stays_pending_and_the_worker_says_so(
    settings: Settings, stream: Stream, start: Start
) -> None:
    await stream.ensure_group()
    await stream.client.xadd(settings.redis.stream, {"v": "999", "n": "1", "e": b"from the future"})
    await add_entry(stream, entry_of([("b", NOW, 1.0)]))
    health = await start()
    await eventually(lambda: rows_in(settings.database))
    assert "newer" in await eventually(lambda: health.reasons().get("contract", ""))
    assert (await stream.client.xpending(settings.redis.stream, GROUP))["pending"] == 1
    assert await stream.client.xlen(stream.names.dead) == 0


@pytest.mark.parametrize("way", ["XDEL", "XACK", "DEL", "XCLAIM"])
async def test_a_worker_is_ready_again_when_what_it_held_is_gone_though_nothing_comes(
    stream: Stream, start: Start, way: str
) -> None:
    names = stream.names
    await stream.ensure_group()
    entry_id: Any = await stream.client.xadd(names.stream, {"v": "999", "n": "1", "e": b"from the future"})
    health = await start(reclaim_idle=3600.0)
    await eventually(lambda: health.reasons().get("contract"))
    match way:
        case "XDEL":
            await stream.client.xdel(names.stream, entry_id)
        case "XACK":
            await stream.client.xack(names.stream, GROUP, entry_id)
        case "DEL":
            await stream.client.delete(names.stream)
        case _:
            await stream.client.xclaim(names.stream, GROUP, "newer", 0, [entry_id])
    await eventually(lambda: not health.reasons())


async def test_a_worker_holds_newer_entries_until_the_last_is_gone(stream: Stream, start: Start) -> None:
    await stream.ensure_group()
    pipeline = stream.client.pipeline()
    for _ in range(600):
        pipeline.xadd(stream.names.stream, {"v": "999", "n": "1"})
    newer = await pipeline.execute()
    health = await start(reclaim_idle=3600.0)
    await eventually(lambda: "600 entries" in health.reasons().get("contract", ""))
    await stream.client.xdel(stream.names.stream, *newer[1:])
    await eventually(lambda: "1 entries" in health.reasons()["contract"].partition(" of ")[0])
    assert (await stream.client.xpending(stream.names.stream, GROUP))["pending"] == 1
    await stream.client.xdel(stream.names.stream, newer[0])
    await eventually(lambda: not health.reasons())


async def test_a_worker_that_a_full_limit_stopped_goes_on_when_another_took_what_stopped_it(
    stream: Stream, start: Start
) -> None:
    await stream.ensure_group()
    await stream.client.xadd(stream.names.dead, {"reason": "refused"})
    damaged: Any = await stream.client.xadd(stream.names.stream, {"v": "damaged"})
    health = await start(reclaim_idle=3600.0, dead_letter_limit=1)
    await eventually(lambda: health.reasons().get("dead_letters"))
    await stream.client.xclaim(stream.names.stream, GROUP, "another", 0, [damaged])
    await eventually(lambda: not health.reasons())


async def test_the_stream_is_asked_for_dead_letters_while_no_transaction_is_open(
    settings: Settings, stream: Stream, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sql(settings.database, "alter table sensor_data add constraint c check (value <> 13)")
    await stream.ensure_group()
    await add_entry(stream, entry_of([("good", NOW, 1.0)], [("bad", NOW, 13.0)]))
    count = DeadLetters.count
    seen: list[int] = []

    async def watched(self: DeadLetters) -> int:
        # The transaction holds a lock from the ledger on.
        locks = """
          select from pg_locks
          where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())
        """
        seen.append(len(await sql(settings.database, locks)))
        return await count(self)

    monkeypatch.setattr(DeadLetters, "count", watched)
    await start()
    await eventually(lambda: empty(stream))
    assert seen == [0]
    assert len(await raw_entries(stream, stream.names.dead)) == 1
    assert len(await rows_in(settings.database)) == 1


async def test_what_a_foreign_entry_claims_cannot_push_the_counts_below_nothing(stream: Stream, start: Start) -> None:
    await stream.ensure_group()
    await stream.client.xadd(stream.names.stream, {"v": "999", "n": "1", "e": b"from the future"})
    await stream.client.xadd(stream.names.stream, {"v": "1", "n": "100000000", "e": b"lies"})
    await start()
    await eventually(lambda: raw_entries(stream, stream.names.dead))
    assert await stream.client.hget(stream.names.backlog, "rows") == b"0"


async def test_refused_batches_are_kept_once_with_reason_and_origin(
    settings: Settings, stream: Stream, start: Start
) -> None:
    await sql(settings.database, "alter table sensor_data add constraint c check (value <> 13)")
    await stream.ensure_group()
    entry = entry_of([("good", NOW, 1.0)], [("bad", NOW, 13.0)])
    await add_entry(stream, entry)
    await start()
    await eventually(lambda: empty(stream))
    [(_, letter)] = await raw_entries(stream, stream.names.dead)
    assert letter[b"reason"] == b"refused"
    assert letter[b"batch_id"].decode() == str(entry.batches[1].batch_id)
    assert b"23514" in letter[b"detail"]
    assert len(await rows_in(settings.database)) == 1


async def test_a_stream_that_is_lost_is_made_again(settings: Settings, stream: Stream, start: Start) -> None:
    await start()
    await add_entry(stream, entry_of([("a", NOW, 1.0)]))
    await eventually(lambda: rows_in(settings.database))
    names = stream.names
    await stream.client.delete(names.stream, names.backlog, names.queued)
    await add_entry(stream, entry_of([("b", NOW, 1.0)]))

    async def both() -> bool:
        return len(await rows_in(settings.database)) == 2

    await eventually(both)
    await stream.client.xgroup_destroy(names.stream, GROUP)
    await add_entry(stream, entry_of([("c", NOW, 1.0)]))
    await eventually(lambda: empty(stream))
    assert len(await rows_in(settings.database)) == 3


async def test_several_workers_share_the_stream_and_store_each_batch_once(
    settings: Settings, stream: Stream, start: Start
) -> None:
    for number in range(4):
        await start(f"w{number}", reclaim_idle=0.05)
    wanted = []
    for number in range(100):
        rows = [(f"s{number % 7}", NOW + number, float(number))]
        wanted += rows
        entry = entry_of(rows, keys=[keyed_id("", str(number))])
        await add_entry(stream, entry)
        if number % 3 == 0:
            await add_entry(stream, entry)
    await eventually(lambda: empty(stream))
    assert await rows_in(settings.database) == sorted(wanted)


async def test_who_waits_hears_that_a_batch_is_settled(stream: Stream, start: Start) -> None:
    await start()
    async with stream.client.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe(stream.names.settled)
        await channel.get_message(timeout=1.0)
        entry = entry_of([("a", NOW, 1.0)], notify=True)
        await add_entry(stream, entry)
        message = await eventually(lambda: channel.get_message(timeout=1.0))
    assert decode_settlement(message["data"]) == SettlementEvent([entry.batches[0].batch_id])


async def test_settling_twice_changes_nothing(stream: Stream) -> None:
    await stream.ensure_group()
    await add_entry(stream, entry_of([("a", NOW, 1.0)] * 5))
    await add_entry(stream, entry_of([("b", NOW, 1.0)] * 7))

    [delivery] = await stream.read_new("w9", 1, 0.1)
    letter = DeadLetter("refused", "why", delivery.entry_id.decode(), delivery.fields or {})
    for wanted in (1, 0):
        assert await stream.settle(Settlement(entries=[(delivery, [letter])])) == wanted
    backlog = await stream.backlog()
    assert (backlog.entries, backlog.rows) == (1, 7)
    assert (backlog.accepted, backlog.settled) == (12, 5)
    assert await stream.client.xlen(stream.names.dead) == 1


async def test_the_janitor_removes_only_consumers_that_hold_nothing(settings: Settings, stream: Stream) -> None:
    await stream.ensure_group()
    await add_entry(stream, entry_of([("a", NOW, 1.0)]))
    assert len(await stream.read_new("holds", 1, 0.1)) == 1
    assert await stream.read_new("idle", 1, 0.01) == []
    worker = settings.worker.model_copy(update={"janitor_interval": 0.05, "consumer_idle": 0.1})
    parts = await parts_of(settings, worker)
    house = asyncio.create_task(keep_house(stream, parts.store, parts.letters, worker))

    async def names() -> set[bytes]:
        return {consumer["name"] for consumer in await stream.client.xinfo_consumers(stream.names.stream, GROUP)}

    async def gone() -> bool:
        return await names() == {b"holds"}

    await eventually(gone)
    await end([house])
    parts.store.close()


async def test_the_janitor_prunes_a_tenth_behind_the_horizon_however_short_that_is(
    settings: Settings, stream: Stream
) -> None:
    await stream.ensure_group()
    worker = settings.worker.model_copy(update={"janitor_interval": 0.05, "ledger_horizon": 1 / 6})
    parts = await parts_of(settings, worker)
    remembered = """
      insert into ingest_ledger (batch_id, batches, rows, accepted_at, committed_at)
      select gen_random_uuid(), 1, 1, now(), now() - age
      from unnest(array['11.5 minutes', '10.5 minutes', '9.5 minutes']::interval[]) as age
      returning batch_id
    """
    rows = await sql(settings.database, remembered)
    house = asyncio.create_task(keep_house(stream, parts.store, parts.letters, worker))

    async def left() -> set[uuid.UUID]:
        return {row[0] for row in await sql(settings.database, "select batch_id from ingest_ledger")}

    async def pruned() -> bool:
        return len(await left()) < len(rows)

    await eventually(pruned)
    # What comes now is met by a round of its own, which leaves alone what the one before it left.
    others = await sql(settings.database, remembered)

    async def pruned_again() -> bool:
        return len(await left()) == 2 * (len(rows) - 1)

    await eventually(pruned_again)
    await end([house])
    parts.store.close()
    assert await left() == {row[0] for row in [*rows[1:], *others[1:]]}
