"""What clients without a key send again: each slice is stored once, whichever worker has it, and whatever happens."""

import asyncio
import hashlib
import random
import secrets
import time
from collections.abc import Sequence

from services.contract import Batch, Columns, Entry, Outcome, Slice, decode, encode, member_id, new_group
from services.platform.settings import Settings
from services.platform.stream import Delivery
from services.worker.transaction import Store
from services.worker.work import Work
from tests.support.readings import Row, columns, rows_in, sql
from tests.support.worker import parts_of

NOW = time.time_ns() // 1000
WORKERS, ROUNDS, SLICES = 4, 8, 50


def sliced(*batches: Sequence[list[Row]]) -> Entry:
    """Return an entry of anonymous batches, each of slices whose keys are hashes of their rows."""
    group = new_group()
    made = [
        Batch(
            member_id(group, number),
            sum(map(len, slices)),
            NOW,
            slices=tuple(Slice(len(rows), hashlib.md5(repr(rows).encode()).digest()) for rows in slices),
        )
        for number, slices in enumerate(batches, 1)
    ]
    return Entry(group, made, Columns.concat([columns(rows) for slices in batches for rows in slices]))


def work_of(*entries: Entry) -> Work:
    read = [Delivery(b"%d-0" % at, encode(entry)) for at, entry in enumerate(entries, 1)]
    return Work((delivery, decode(delivery.fields or {})) for delivery in read)


def some(number: int, count: int = 3) -> list[Row]:
    return [(f"s{row}", NOW + number * 1_000_000, number + row / 10) for row in range(count)]


async def write(store: Store, *entries: Entry) -> list[Outcome]:
    work = work_of(*entries)
    written = await store.write(work, most_dead=100)
    return [written.verdicts[part].outcome for part in work.parts]


async def test_slices_that_came_before_are_left_out_and_new_ones_beside_them_stored(settings: Settings) -> None:
    store = (await parts_of(settings)).store
    first = sliced([some(1), some(2)])
    assert await write(store, first) == [Outcome.STORED]
    again = sliced([some(1), some(2), some(3)], [some(3)], [some(1), some(2)])
    assert await write(store, again, sliced([some(4), some(4)])) == [
        Outcome.STORED, Outcome.DUPLICATE, Outcome.DUPLICATE, Outcome.STORED,
    ]  # fmt: skip
    assert await write(store, first) == [Outcome.DUPLICATE]
    store.close()
    assert await rows_in(settings.database) == sorted(row for number in (1, 2, 3, 4) for row in some(number))
    ledger = await sql(settings.database, "select batches, rows from ingest_ledger order by rows, batches")
    assert [tuple(row) for row in ledger] == [(1, 3), (3, 3), (1, 6)]


async def test_a_slice_that_the_database_refused_is_none_that_came_before(settings: Settings) -> None:
    await sql(settings.database, "alter table sensor_data add constraint c check (value <> 13)")
    store = (await parts_of(settings)).store
    poison: list[Row] = [("p", NOW, 13.0)]
    work = sliced([some(1)], [poison, some(2)], [some(2)])
    assert await write(store, work) == [Outcome.STORED, Outcome.DEAD, Outcome.STORED]
    assert await rows_in(settings.database) == sorted(some(1) + some(2))
    await sql(settings.database, "alter table sensor_data drop constraint c")
    assert await write(store, sliced([poison, some(2)])) == [Outcome.STORED]
    store.close()
    assert await rows_in(settings.database) == sorted(some(1) + some(2) + poison)


async def test_workers_that_have_the_same_slices_at_once_store_each_once(settings: Settings) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    stores = [(await parts_of(settings)).store for _ in range(WORKERS)]
    drawn = [
        [sliced(*([some(n) for n in dice.sample(range(SLICES), 6)] for _ in range(3))) for _ in range(ROUNDS)]
        for _ in stores
    ]

    async def work_through(store: Store, entries: list[Entry]) -> None:
        for entry in entries:
            await write(store, entry)

    await asyncio.gather(*map(work_through, stores, drawn))
    for store in stores:
        store.close()
    rows = await rows_in(settings.database)
    sent = {row for entries in drawn for entry in entries for row in rows_of(entry)}
    assert rows == sorted(sent)
    ledger = await sql(settings.database, "select sum(rows) as rows from ingest_ledger")
    assert ledger[0]["rows"] == len(rows)


def rows_of(entry: Entry) -> list[Row]:
    found = entry.columns
    ids = [found.sensor_ids[code] for code in found.index]
    return list(zip(ids, found.timestamps.tolist(), found.values.tolist(), strict=True))


async def test_keys_are_forgotten_behind_their_horizon_only(settings: Settings) -> None:
    store = (await parts_of(settings)).store
    await write(store, sliced([some(1), some(2)]))
    await sql(
        settings.database,
        "update ingest_recent set committed_at = now() - interval '13 hours' "
        "where key = (select key from ingest_recent limit 1)",
    )
    assert [await store.prune_slices(12.0) for _ in range(2)] == [1, 0]
    await write(store, sliced([some(1)]), sliced([some(2)]))
    store.close()
    assert len(await rows_in(settings.database)) == 9
