import asyncio
import time
import uuid

import msgspec
import numpy as np
import pytest

from services.contract import Columns, Entry, Outcome, decode, encode, keyed_id
from services.contract.codec import MAX_VALUE
from services.platform.postgres.connections import Connector
from services.platform.postgres.schema import wait_for_schema
from services.platform.runtime.health import Health
from services.platform.settings import DatabaseSettings, Settings, WorkerSettings
from services.platform.stream import Delivery
from services.worker.deletions import NONE_KNOWN
from services.worker.transaction import DeadLettersError, Store
from services.worker.work import Work, Written
from tests.support.proxy import moved, proxied, server_of
from tests.support.readings import Row, entry_of, rows_in, sql
from tests.support.worker import parts_of

NOW = time.time_ns() // 1000
HOUR = 3_600_000_000


async def store_for(settings: Settings, worker: WorkerSettings | None = None) -> Store:
    return (await parts_of(settings, worker)).store


def work_of(*entries: Entry) -> Work:
    deliveries = [Delivery(b"%d-0" % number, encode(entry)) for number, entry in enumerate(entries, 1)]
    return Work(((delivery, decode(delivery.fields or {})) for delivery in deliveries), together=True)


def outcomes(written: Written) -> list[Outcome]:
    """Return the outcome of each batch."""
    return [written.verdicts[part].outcome for part in written.work.parts for _ in range(part.batches)]


def some(count: int, sensor: str = "a", start: int = NOW) -> list[Row]:
    return [(sensor, start + number * 1_000_000, float(number)) for number in range(count)]


async def test_rows_of_an_entry_are_stored_with_one_ledger_row_for_its_anonymous_batches(settings: Settings) -> None:
    store = await store_for(settings)
    work = work_of(entry_of(some(3), some(2, "bb"), some(1, "größe")))
    written = await store.write(work)
    store.close()
    assert outcomes(written) == [Outcome.STORED] * 3
    assert await rows_in(settings.database) == sorted(some(3) + some(2, "bb") + some(1, "größe"))
    ledger = await sql(settings.database, "select batches, rows, repeats, dead from ingest_ledger")
    assert [tuple(row) for row in ledger] == [(3, 6, 0, None)]


async def test_a_redelivered_entry_is_stored_once_and_not_counted_as_a_repeat(settings: Settings) -> None:
    store = await store_for(settings)
    entry = entry_of(some(2), some(2), some(2))
    # They came one behind the other; what has a trace is a part of its own between the others.
    batches = [msgspec.structs.replace(batch, accepted_at=NOW + number) for number, batch in enumerate(entry.batches)]
    batches[1] = msgspec.structs.replace(batches[1], traceparent=f"00-{'1' * 32}-{'1' * 16}-01")
    entry = Entry(entry.group, batches, entry.columns)
    await store.write(work_of(entry))
    written = await store.write(work_of(entry, entry_of(some(1, "new"))))
    store.close()
    assert outcomes(written) == [Outcome.DUPLICATE] * 3 + [Outcome.STORED]
    assert await rows_in(settings.database) == sorted(some(2) * 3 + some(1, "new"))
    assert [row[0] for row in await sql(settings.database, "select repeats from ingest_ledger")] == [0, 0]


async def test_a_repeat_of_a_key_is_refused_and_counted_even_within_one_transaction(settings: Settings) -> None:
    store = await store_for(settings)
    key = keyed_id("", "k1")
    first = entry_of(some(2), keys=[key], digest=b"d", accepted_at=NOW)
    repeat = entry_of(some(2), keys=[key], digest=b"d", accepted_at=NOW + 5)
    work = work_of(first, repeat)
    written = await store.write(work)
    later = work_of(repeat)
    written_later = await store.write(later)
    store.close()
    assert outcomes(written) == [Outcome.STORED, Outcome.DUPLICATE]
    assert outcomes(written_later) == [Outcome.DUPLICATE]
    assert await rows_in(settings.database) == sorted(some(2))
    assert [row[0] for row in await sql(settings.database, "select repeats from ingest_ledger")] == [2]


async def test_a_key_with_other_readings_becomes_a_dead_letter_and_leaves_the_stored_one(settings: Settings) -> None:
    store = await store_for(settings)
    key = keyed_id("", "k1")
    await store.write(work_of(entry_of(some(2), keys=[key], digest=b"one")))
    other = work_of(entry_of(some(3, "x"), keys=[key], digest=b"two"))
    written = await store.write(other, 1)
    store.close()
    assert outcomes(written) == [Outcome.DEAD]
    [(_, [letter])] = written.work.settlement(written.verdicts).entries
    assert letter.code == "key_reused"
    assert len(decode(letter.fields).columns) == 3
    assert await rows_in(settings.database) == sorted(some(2))


async def test_what_the_database_refuses_is_bisected_to_the_batch(settings: Settings) -> None:
    await sql(settings.database, "alter table sensor_data add constraint c check (value <> 13)")
    store = await store_for(settings)
    poison: list[Row] = [("p", NOW, 1.0), ("p", NOW, 13.0)]
    entries = [entry_of(some(4, f"s{number}"), some(1, "n")) for number in range(5)]
    keyed = entry_of(poison, some(1, "k"), keys=[keyed_id("", "bad"), keyed_id("", "good")], digest=b"d")
    grouped = entry_of(some(2, "g1"), poison, some(2, "g2"))
    written = await store.write(work_of(*entries, grouped, keyed), 2)
    dead = [part for part in written.work.parts if written.verdicts[part].outcome is Outcome.DEAD]
    assert [part.position for part in dead] == [2, 0]
    good = [row for number in range(5) for row in some(4, f"s{number}") + some(1, "n")]
    assert await rows_in(settings.database) == sorted(good + some(2, "g1") + some(2, "g2") + some(1, "k"))
    written = await store.write(work_of(grouped, keyed), 2)
    assert outcomes(written) == [Outcome.DUPLICATE, Outcome.DEAD, Outcome.DUPLICATE, Outcome.DEAD, Outcome.DUPLICATE]
    await sql(settings.database, "alter table sensor_data drop constraint c")
    written = await store.write(work_of(keyed))
    store.close()
    assert outcomes(written) == [Outcome.STORED, Outcome.DUPLICATE]
    reasons = await sql(settings.database, "select dead from ingest_ledger where dead is not null")
    assert len(reasons) == 1
    assert '"2"' in reasons[0][0]


async def test_what_would_make_more_dead_letters_than_it_may_is_rolled_back_whole_and_says_how_many(
    settings: Settings,
) -> None:
    await sql(settings.database, "alter table sensor_data add constraint c check (value <> 13)")
    store = await store_for(settings)
    poison: list[Row] = [("p", NOW, 13.0)]
    old = entry_of(some(1, "old"), accepted_at=NOW - 73 * HOUR)
    work = work_of(entry_of(some(1), poison, some(1, "b")), old)
    for most in (0, 1):
        with pytest.raises(DeadLettersError) as refused:
            await store.write(work, most)
        assert refused.value.count == 2
        assert await rows_in(settings.database) == []
        assert await sql(settings.database, "select 1 from ingest_ledger") == []
    await sql(settings.database, "alter table sensor_data drop constraint c")
    written = await store.write(work, 1)
    store.close()
    assert outcomes(written) == [Outcome.STORED] * 3 + [Outcome.DEAD]
    assert await rows_in(settings.database) == sorted(some(1) + poison + some(1, "b"))


async def test_a_batch_older_than_the_ledger_remembers_is_a_dead_letter_and_its_neighbour_is_stored(
    settings: Settings,
) -> None:
    store = await store_for(settings)
    entry = entry_of(some(1), some(1, "b"))
    old = msgspec.structs.replace(entry.batches[0], accepted_at=NOW - 73 * HOUR)
    written = await store.write(work_of(Entry(entry.group, [old, entry.batches[1]], entry.columns)), 1)
    store.close()
    assert outcomes(written) == [Outcome.DEAD, Outcome.STORED]
    assert await rows_in(settings.database) == some(1, "b")


@pytest.mark.parametrize("seed", range(3))
async def test_concurrent_writers_of_the_same_entries_in_any_order_store_each_once(
    settings: Settings, seed: int
) -> None:
    random = np.random.default_rng(seed)
    entries = [entry_of(some(3, f"s{number}"), keys=[keyed_id("", str(number))]) for number in range(20)]
    stores = [await store_for(settings) for _ in range(4)]

    async def writer(store: Store) -> list[Outcome]:
        found: list[Outcome] = []
        for chosen in np.array_split(random.permutation(20), 5):
            work = work_of(*(entries[number] for number in chosen))
            found += outcomes(await store.write(work))
        return found

    found = [outcome for part in await asyncio.gather(*map(writer, stores)) for outcome in part]
    for store in stores:
        store.close()
    assert found.count(Outcome.STORED) == 20
    assert await rows_in(settings.database) == sorted(row for number in range(20) for row in some(3, f"s{number}"))


async def test_a_server_that_falls_silent_is_given_up_and_the_work_stored_once(settings: Settings) -> None:
    async with proxied(*server_of(settings, "writer")) as proxy:
        behind = moved(settings, proxy.port, "writer", connect_timeout=4.0)
        store = await store_for(behind, settings.worker.model_copy(update={"transaction_timeout": 2.0}))
        await store.write(work_of(entry_of(some(1, "before"))))
        work = work_of(entry_of(some(1, "silent")))
        proxy.open.clear()
        for _ in range(2):
            async with asyncio.timeout(10):
                with pytest.raises(TimeoutError):
                    await store.write(work)
        proxy.open.set()
        await store.write(work)
        store.close()
    assert [row[0] for row in await rows_in(settings.database)] == ["before", "silent"]


async def test_late_rows_are_noted_and_fresh_ones_are_not(timescaledb_settings: Settings) -> None:
    store = await store_for(timescaledb_settings)
    start = NOW - 48 * HOUR
    now = time.time_ns() // 1000
    await store.write(work_of(entry_of([("a", start, 1.0), ("a", start + 5 * HOUR, 2.0), ("a", now, 3.0)])))
    store.close()
    notes = await sql(timescaledb_settings.database, "select range_end - range_start from late_ranges")
    assert [row[0].total_seconds() for row in notes] == [3600, 3600]


async def test_plain_databases_need_no_notes(settings: Settings) -> None:
    store = await store_for(settings)
    await store.write(work_of(entry_of([("a", NOW - 48 * HOUR, 1.0)])))
    store.close()
    notes = await sql(settings.database, "select 1 from late_ranges")
    capability = await wait_for_schema(Connector(settings.database.reader_url, settings.database), Health())
    assert len(notes) == (1 if capability.edition == "full" else 0)


async def test_compressed_copies_that_overlap_in_time_come_out_in_order(timescaledb_settings: Settings) -> None:
    store = await store_for(timescaledb_settings)
    base = NOW - 24 * HOUR
    for offset in (0, 1, 500):
        rows = [("a", base + (offset + 2 * number) * 1_000_000, float(number)) for number in range(1000)]
        await store.write(work_of(entry_of(rows)))
    store.close()
    database = timescaledb_settings.database
    compressed = await sql(database, "select is_compressed from timescaledb_information.chunks")
    assert all(row[0] for row in compressed)
    times = [row[0] for row in await sql(database, "select timestamp from sensor_data order by timestamp")]
    assert len(times) == 3000
    assert times == sorted(times)


async def test_a_columnstore_without_segments_takes_a_row_a_sensor_on_copy(timescaledb_settings: Settings) -> None:
    database = timescaledb_settings.database
    await sql(
        database,
        "alter table sensor_data set (timescaledb.segmentby = '', timescaledb.orderby = 'sensor_id, timestamp')",
    )
    store = await store_for(timescaledb_settings)
    base = NOW - 20 * 24 * HOUR
    sent = [
        [(f"s{number:04}", base + transaction * 1_000_000, float(transaction)) for number in range(1500)]
        for transaction in (2, 0, 1)
    ]
    for rows in sent:
        await store.write(work_of(entry_of(rows)))
    await store.write(work_of(entry_of([("few", base, 1.0)] * 100)))
    store.close()
    wanted = [("s0700", float(transaction)) for transaction in range(3)]
    question = "select sensor_id, value from sensor_data where sensor_id = 's0700' order by timestamp"
    assert [tuple(row) for row in await sql(database, question)] == wanted
    assert sorted(await rows_in_batches(database)) == [100, 500, 500, 500, 1000, 1000, 1000]
    [(policy,)] = await sql(
        database,
        "select job_id from timescaledb_information.jobs"
        " where hypertable_name = 'sensor_data' and proc_name = 'policy_compression'",
    )
    await sql(database, f"call run_job({policy})")
    assert sorted(await rows_in_batches(database)) == [600, 1000, 1000, 1000, 1000]
    assert [tuple(row) for row in await sql(database, question)] == wanted


async def rows_in_batches(database: DatabaseSettings) -> list[int]:
    """Return how many rows each batch of the columnstore's one chunk holds."""
    [(chunk,)] = await sql(
        database,
        "select compress_relid::text from _timescaledb_catalog.compression_settings where compress_relid is not null",
    )
    return [row[0] for row in await sql(database, f"select _ts_meta_count from {chunk}")]


async def test_no_value_that_is_taken_breaks_an_average(settings: Settings) -> None:
    store = await store_for(settings)
    await store.write(work_of(entry_of([("a", NOW, MAX_VALUE), ("a", NOW, -MAX_VALUE), ("a", NOW, 1.0)])))
    store.close()
    [hour] = await sql(settings.database, "select samples, min, max, avg from measurement_hourly")
    assert tuple(hour)[:3] == (3, -MAX_VALUE, MAX_VALUE)


async def test_prune_deletes_what_is_past_the_horizon_only(settings: Settings) -> None:
    store = await store_for(settings)
    for number in range(3):
        await store.write(work_of(entry_of(some(1, f"s{number}"))))
    rows = await sql(settings.database, "select batch_id from ingest_ledger")
    old: list[uuid.UUID] = [row[0] for row in rows[:2]]
    query = "update ingest_ledger set committed_at = now() - interval '80 hours' where batch_id = any($1)"
    await sql(settings.database, query, old)
    assert await store.prune(72.0) == 2
    assert await store.prune(72.0) == 0
    store.close()
    assert len(await sql(settings.database, "select 1 from ingest_ledger")) == 1


def test_columns_are_shared_and_not_copied_where_everything_is_new() -> None:
    work = work_of(entry_of(some(3), some(2))).apart()
    selection = work.without(NONE_KNOWN)
    assert selection.pick(work.parts) is work.columns
    assert isinstance(selection.pick(work.parts[:1]), Columns)
