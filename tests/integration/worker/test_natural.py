"""`dedup=natural`: of a sensor and instant the first reading is stored, whoever has it, and whatever happens."""

import asyncio
import contextlib
import dataclasses
import itertools
import random
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Sequence

import asyncpg
import msgspec
import pytest

from services.contract import Batch, Columns, Entry, Outcome, Slice, decode, encode, keyed_id, member_id, new_group
from services.database.schema.apply import apply
from services.platform.postgres.capability import Capability
from services.platform.postgres.connections import Connector
from services.platform.postgres.schema import look_at_schema
from services.platform.settings import Settings, WorkerSettings
from services.platform.stream import Delivery
from services.worker.natural import may_look
from services.worker.transaction import DeadLettersError, Store
from services.worker.work import Work, Written
from tests.support.admin import both_ports
from tests.support.deletions import ask_deletion, carry_out
from tests.support.readings import Row, columns, entry_of, rows_in, sql
from tests.support.worker import parts_of

NOW = time.time_ns() // 1000
SECOND, HOUR = 1_000_000, 3_600_000_000
WORKERS, ROUNDS = 4, 8


def natural(*batches: Sequence[Row], keys: Sequence[uuid.UUID | None] = (), **members: object) -> Entry:
    """Return an entry of natural batches."""
    entry = entry_of(*batches, keys=keys, **members)
    return dataclasses.replace(entry, batches=[msgspec.structs.replace(batch, natural=True) for batch in entry.batches])


def some(count: int, value: float = 0.0, sensor: str = "a", start: int = NOW, step: int = SECOND) -> list[Row]:
    """Return readings of one sensor, all of one value, which tells who wrote them."""
    return [(sensor, start + number * step, value) for number in range(count)]


def work_of(*entries: Entry) -> Work:
    read = [Delivery(b"%d-0" % at, encode(entry)) for at, entry in enumerate(entries, 1)]
    return Work((delivery, decode(delivery.fields or {})) for delivery in read)


async def written(store: Store, *entries: Entry) -> tuple[list[Outcome], Written]:
    work = work_of(*entries)
    found = await store.write(work, most_dead=100)
    return [found.verdicts[part].outcome for part in work.parts], found


async def write(store: Store, *entries: Entry) -> list[Outcome]:
    return (await written(store, *entries))[0]


async def ledger(settings: Settings) -> list[tuple[int, int]]:
    rows = await sql(settings.database, "select batches, rows from ingest_ledger order by committed_at, rows")
    return [tuple(row) for row in rows]


async def test_the_first_reading_of_a_sensor_and_instant_wins_whatever_its_value(settings: Settings) -> None:
    store = (await parts_of(settings)).store
    assert await write(store, natural(some(3, 1.0))) == [Outcome.STORED]
    outcomes, found = await written(store, natural(some(5, 2.0), some(3, 3.0), some(2, 3.0, "b") + some(2, 4.0, "b")))
    store.close()
    assert outcomes == [Outcome.STORED, Outcome.DUPLICATE, Outcome.STORED]
    assert [found.selection.repeated(part) for part in found.verdicts] == [3, 3, 2]
    assert await rows_in(settings.database) == some(3, 1.0) + some(5, 2.0)[3:] + some(2, 3.0, "b")
    # An entry's anonymous batches share a line of the ledger, which has the rows that were stored.
    assert await ledger(settings) == [(1, 3), (3, 4)]


@pytest.mark.parametrize("poison", [[], [("p", NOW, 13.0)]])
async def test_the_first_is_that_of_the_earlier_entry_whatever_ids_they_have(
    settings: Settings, poison: list[Row]
) -> None:
    await sql(settings.database, "alter table sensor_data add constraint c check (value <> 13)")
    store = (await parts_of(settings)).store
    for round_, numbers in enumerate(itertools.permutations((1, 2, 3))):
        start = NOW + round_ * HOUR
        entries = [
            natural(some(2, float(number), start=start), keys=[keyed_id("", str(number + 10 * round_))], digest=b"d")
            for number in numbers
        ]
        # Where one is refused, the others are stored part by part.
        refused = [natural(poison)] if poison else []
        outcomes = await write(store, *entries, *refused)
        assert outcomes[:3] == [Outcome.STORED, Outcome.DUPLICATE, Outcome.DUPLICATE]
        found = [row for row in await rows_in(settings.database) if row[1] >= start]
        assert found == some(2, float(numbers[0]), start=start)
    store.close()


async def test_only_natural_rows_are_left_out_beside_others_of_their_instant(settings: Settings) -> None:
    store = (await parts_of(settings)).store
    keys = [keyed_id("", "k")]
    one, other = some(1, 1.0), some(1, 2.0)
    # Before, behind, and between plain ones, in one transaction.
    assert await write(store, natural(one), entry_of(other, keys=keys, digest=b"d"), natural(one)) == [
        Outcome.STORED, Outcome.STORED, Outcome.DUPLICATE,
    ]  # fmt: skip
    # A plain one that came first counts, and later plain ones are stored as they come.
    late = some(1, 3.0, start=NOW + HOUR)
    assert await write(store, entry_of(late), natural(some(1, 4.0, start=NOW + HOUR))) == [
        Outcome.STORED, Outcome.DUPLICATE,
    ]  # fmt: skip
    assert await write(store, entry_of(late, one)) == [Outcome.STORED] * 2
    store.close()
    assert await rows_in(settings.database) == sorted([*one, *other, *late, *late, *one])


async def test_a_natural_batch_goes_beside_a_sliced_one_in_one_entry(settings: Settings) -> None:
    store = (await parts_of(settings)).store

    def both() -> Entry:
        group = new_group()
        batches = [
            Batch(member_id(group, 1), 2, NOW, slices=(Slice(2, b"k" * 16),)),
            Batch(member_id(group, 2), 3, NOW, natural=True),
        ]
        return Entry(group, batches, Columns.concat([columns(some(2, 1.0)), columns(some(3, 2.0))]))

    assert await write(store, both()) == [Outcome.STORED, Outcome.STORED]
    assert await write(store, both()) == [Outcome.DUPLICATE, Outcome.DUPLICATE]
    store.close()
    assert await rows_in(settings.database) == some(2, 1.0) + some(3, 2.0)[2:]
    assert await ledger(settings) == [(2, 3), (2, 0)]


async def test_a_dictionary_that_has_a_sensor_twice_makes_no_second_reading(settings: Settings) -> None:
    store = (await parts_of(settings)).store
    entry = natural(some(2, 1.0) + some(2, 2.0, "b"))
    twice = dataclasses.replace(entry.columns, sensor_ids=["a", "a"], timestamps=entry.columns.timestamps)
    assert await write(store, dataclasses.replace(entry, columns=twice)) == [Outcome.STORED]
    store.close()
    assert await rows_in(settings.database) == some(2, 1.0)


async def test_a_batch_that_the_database_refuses_claims_no_instant(settings: Settings) -> None:
    await sql(settings.database, "alter table sensor_data add constraint c check (value <> 13)")
    store = (await parts_of(settings)).store
    poison, good = [*some(2, 1.0), ("p", NOW, 13.0)], some(4, 2.0)
    batches = [some(1, 5.0, "first"), poison, good, some(3, 3.0), some(1, 4.0, "p")]
    outcomes, found = await written(store, natural(*batches))
    assert outcomes == [Outcome.STORED, Outcome.DEAD, Outcome.STORED, Outcome.DUPLICATE, Outcome.STORED]
    assert [found.selection.repeated(part) for part in found.verdicts] == [0, 0, 0, 3, 0]
    assert await rows_in(settings.database) == sorted(batches[0] + good + batches[4])
    assert await ledger(settings) == [(5, sum(map(len, batches)) - 3)]
    # The letter keeps what its batch was: replayed, it stores what is not there by now.
    work = work_of(natural([("p", NOW + HOUR, 13.0)]))
    with pytest.raises(DeadLettersError):
        await store.write(work)
    verdicts = (await store.write(work, most_dead=1)).verdicts
    [(_, [letter])] = work.settlement(verdicts).entries
    assert [batch.natural for batch in decode(letter.fields).batches] == [True]
    store.close()


async def test_what_is_rolled_back_claims_no_instant(settings: Settings) -> None:
    await sql(settings.database, "alter table sensor_data add constraint c check (value <> 13)")
    store = (await parts_of(settings)).store
    with pytest.raises(DeadLettersError):
        await store.write(work_of(natural(some(3, 1.0)), natural(some(1, 13.0, "p"))))
    assert await rows_in(settings.database) == []
    assert await write(store, natural(some(3, 2.0))) == [Outcome.STORED]
    store.close()
    assert await rows_in(settings.database) == some(3, 2.0)


async def test_rows_that_are_left_out_make_no_hour_late(settings: Settings) -> None:
    store = (await parts_of(settings)).store
    late = NOW - 400 * HOUR
    assert await write(store, natural(some(3, 1.0, start=late))) == [Outcome.STORED]
    await sql(settings.database, "delete from late_ranges")
    assert await write(store, natural(some(3, 2.0, start=late))) == [Outcome.DUPLICATE]
    store.close()
    assert await sql(settings.database, "select from late_ranges") == []


@pytest.mark.parametrize("compressed_by", ["policy", "copy"])
async def test_readings_in_the_columnstore_are_found(timescaledb_settings: Settings, compressed_by: str) -> None:
    database = timescaledb_settings.database
    store = (await parts_of(timescaledb_settings, WorkerSettings(compress_rows_per_sensor=32))).store
    start = NOW - 400 * HOUR
    width = 2000 if compressed_by == "copy" else 20
    there = [row for sensor in "abc" for row in some(width, 1.0, sensor, start)]
    assert await write(store, natural(there)) == [Outcome.STORED]
    if compressed_by == "policy":
        await sql(database, "select compress_chunk(chunk) from show_chunks('sensor_data') as chunk")
    assert {row[0] for row in await sql(database, "select is_compressed from timescaledb_information.chunks")} == {True}
    # Far apart, close together, beside what is there, and of a sensor that is new.
    sparse = [(sensor, at, 2.0) for sensor, at, _ in there[::7]]
    between = some(5, 3.0, "b", start + SECOND // 2)
    outcomes, found = await written(store, natural([*sparse, *between, *some(2, 4.0, "new", start)]))
    assert outcomes == [Outcome.STORED]
    assert [found.selection.repeated(part) for part in found.verdicts] == [len(sparse)]
    assert await write(store, natural([(sensor, at, 5.0) for sensor, at, _ in there])) == [Outcome.DUPLICATE]
    store.close()
    assert await rows_in(database) == sorted([*there, *between, *some(2, 4.0, "new", start)])


async def test_readings_are_found_while_their_chunk_goes_into_the_columnstore_and_back(
    timescaledb_settings: Settings,
) -> None:
    database = timescaledb_settings.database
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    stores = [(await parts_of(timescaledb_settings)).store for _ in range(2)]
    there = [row for sensor in "abcdefgh" for row in some(100, 1.0, sensor, NOW - 400 * HOUR)]
    await write(stores[0], natural(there))
    moving = asyncio.Event()

    # Who moves a chunk and who reads it may wait for each other; one is told so, and begins anew, as workers do.
    async def move() -> None:
        for way in ("compress", "decompress") * 8:
            with contextlib.suppress(asyncpg.DeadlockDetectedError):
                await sql(database, f"select {way}_chunk(chunk, true) from show_chunks('sensor_data') as chunk")
        moving.set()

    async def send(store: Store) -> None:
        while not moving.is_set():
            with contextlib.suppress(asyncpg.DeadlockDetectedError):
                assert await write(store, natural(dice.sample(there, 100))) == [Outcome.DUPLICATE]

    await asyncio.gather(move(), *map(send, stores))
    for store in stores:
        store.close()
    assert await rows_in(database) == sorted(there)


async def test_where_much_more_is_stored_than_is_looked_for_every_reading_is_found(settings: Settings) -> None:
    store = (await parts_of(settings)).store
    # A thousand readings a second of a plain sensor, of which natural ones have an instant every ten seconds.
    dense = some(30_000, 1.0, step=SECOND // 1000)
    await write(store, entry_of(dense))
    sought = some(3, 2.0, step=10 * SECOND)
    outcomes, found = await written(store, natural([*sought, ("a", NOW + 1, 3.0)]))
    store.close()
    assert outcomes == [Outcome.STORED]
    assert [found.selection.repeated(part) for part in found.verdicts] == [3]
    assert await rows_in(settings.database) == sorted([*dense, ("a", NOW + 1, 3.0)])


async def test_whatever_lies_how_close_the_first_of_each_instant_is_what_a_loop_says(settings: Settings) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    store = (await parts_of(settings)).store
    expected = list[Row]()
    there = set[tuple[str, int]]()
    for number in range(30):
        # Within a second, a minute apart, and hours apart: alone, in runs, and in runs of which others have more.
        step, count = dice.choice([(1000, 700), (SECOND, 60), (61 * SECOND, 20), (7 * HOUR, 5)])
        rows = [
            (dice.choice("abc"), NOW + step * dice.randrange(count), float(number)) for _ in range(dice.randint(1, 900))
        ]
        plain = dice.random() < 0.3
        await write(store, entry_of(rows) if plain else natural(rows))
        for sensor, at, value in rows:
            if plain or (sensor, at) not in there:
                expected.append((sensor, at, value))
            there.add((sensor, at))
    store.close()
    assert await rows_in(settings.database) == sorted(expected)


async def test_workers_that_have_the_same_readings_at_once_store_each_instant_once(settings: Settings) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    values = iter(range(1_000_000))

    def drawn() -> Entry:
        batches = [
            [
                (f"s{dice.randrange(12)}", NOW + dice.randrange(40) * SECOND, float(next(values)))
                for _ in range(dice.randint(1, 60))
            ]
            for _ in range(dice.randint(1, 4))
        ]
        return natural(*batches)

    stores = [(await parts_of(settings)).store for _ in range(WORKERS)]
    entries = [[[drawn() for _ in range(dice.randint(1, 3))] for _ in range(ROUNDS)] for _ in stores]

    async def work_through(store: Store, own: list[list[Entry]]) -> None:
        for together in own:
            await write(store, *together)

    await asyncio.gather(*map(work_through, stores, entries))
    for store in stores:
        store.close()
    rows = await rows_in(settings.database)
    sent = [row for own in entries for together in own for entry in together for row in rows_of(entry)]
    assert max(Counter((sensor, at) for sensor, at, _ in rows).values()) == 1
    assert {(sensor, at) for sensor, at, _ in rows} == {(sensor, at) for sensor, at, _ in sent}
    assert set(rows) <= set(sent)
    assert sum(rows for _, rows in await ledger(settings)) == len(rows)


def rows_of(entry: Entry) -> list[Row]:
    found = entry.columns
    ids = [found.sensor_ids[code] for code in found.index]
    return list(zip(ids, found.timestamps.tolist(), found.values.tolist(), strict=True))


async def test_a_reading_that_was_deleted_may_come_again_at_once(settings: Settings) -> None:
    store = (await parts_of(settings)).store
    await write(store, natural(some(4, 1.0)))
    # Both chunks of rows below lie in the range; of "b" nothing is deleted.
    await write(store, natural(some(2, 1.0, "b")))
    async with both_ports(settings) as ports:
        await ask_deletion(ports.admin, ["a"], NOW, NOW + 3 * SECOND)
    # Before it is carried out: what is on its way into nothing is not there.
    accepted = time.time_ns() // 1000
    again = natural(some(4, 2.0), some(2, 2.0, "b"), accepted_at=accepted)
    assert await write(store, again) == [Outcome.STORED, Outcome.DUPLICATE]
    assert await write(store, natural(some(4, 3.0))) == [Outcome.DUPLICATE]
    assert await carry_out(settings.database) == 0
    assert await rows_in(settings.database) == sorted([*some(3, 2.0), some(4, 1.0)[3], *some(2, 1.0, "b")])
    async with both_ports(settings) as ports:
        await ask_deletion(ports.admin, ["a"], NOW, NOW + 3 * SECOND)
    assert await carry_out(settings.database) == 0
    assert await write(store, natural(some(4, 4.0))) == [Outcome.STORED]
    store.close()
    assert [row for row in await rows_in(settings.database) if row[0] == "a"] == [*some(3, 4.0), some(4, 1.0)[3]]


async def test_a_worker_may_see_which_readings_are_there_and_not_what_they_say(settings: Settings) -> None:
    store = (await parts_of(settings)).store
    late = NOW - 400 * HOUR
    assert await write(store, natural(some(3, 1.0, start=late))) == [Outcome.STORED]
    await sql(settings.database, "revoke select (id, timestamp, sensor_id) on sensor_data from millrace_writer")
    writer = Connector(settings.database.writer_url, settings.database)
    # As on a schema of before, which a worker waits for; applying it again gives the right, whatever is stored.
    assert "apply sql/" in str(await look_at_schema(writer, may_look))
    await apply(settings.database)
    assert isinstance(await look_at_schema(writer, may_look), Capability)
    assert await write(store, natural(some(3, 2.0, start=late))) == [Outcome.DUPLICATE]
    store.close()
    connection = await writer.connect()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.fetch("select value from sensor_data")
    await connection.close()
