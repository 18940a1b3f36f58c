"""The ledger under several workers at once, against what a set says."""

import asyncio
import random
import secrets
import time
from collections import Counter

from services.contract import Outcome, decode, encode, keyed_id
from services.platform.settings import Settings
from services.platform.stream import Delivery
from services.worker.transaction import Store
from services.worker.work import Verdicts, Work
from tests.support.readings import Row, entry_of, rows_in, sql
from tests.support.worker import parts_of

NOW = time.time_ns() // 1000
WORKERS, ROUNDS, BATCHES = 5, 8, 60


def draw(dice: random.Random, batches: list[list[Row]]) -> Work:
    """Return entries of some batches, in any order and grouping; the same batch may stand in several entries."""
    chosen = dice.choices(range(len(batches)), k=dice.randint(1, 25))
    entries = []
    while chosen:
        taken, chosen = list(dict.fromkeys(chosen[:4])), chosen[4:]
        keys = [keyed_id("", str(number)) for number in taken]
        entries.append(entry_of(*(batches[number] for number in taken), keys=keys, digest=b"d"))
    read = [Delivery(b"%d-0" % at, encode(entry)) for at, entry in enumerate(entries, 1)]
    return Work((delivery, decode(delivery.fields or {})) for delivery in read)


async def test_workers_that_write_overlapping_batches_at_once_store_each_batch_once(settings: Settings) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    values = iter(range(10_000))
    batches = [
        [
            (f"s{dice.randrange(9)}", NOW + dice.randrange(10**9), float(next(values)))
            for _ in range(dice.randint(1, 40))
        ]
        for _ in range(BATCHES)
    ]
    works = [[draw(dice, batches) for _ in range(ROUNDS)] for _ in range(WORKERS)]

    async def work_through(store: Store, own: list[Work]) -> list[Verdicts]:
        found = [(await store.write(work)).verdicts for work in own]
        store.close()
        return found

    stores = [(await parts_of(settings)).store for _ in range(WORKERS)]
    written = await asyncio.gather(*map(work_through, stores, works))

    found = [pair for own in written for verdicts in own for pair in verdicts.items()]
    assert len(found) == sum(len(work.parts) for own in works for work in own)
    sent = {part.batch.batch_id for part, _ in found}
    verdicts = Counter((part.batch.batch_id, verdict.outcome) for part, verdict in found)
    assert {outcome for _, outcome in verdicts} == {Outcome.STORED, Outcome.DUPLICATE}
    assert [verdicts[batch_id, Outcome.STORED] for batch_id in sent] == [1] * len(sent)
    wanted = [row for number, rows in enumerate(batches) if keyed_id("", str(number)) in sent for row in rows]
    assert await rows_in(settings.database) == sorted(wanted)
    ledger = await sql(settings.database, "select batch_id from ingest_ledger")
    assert sorted(row[0] for row in ledger) == sorted(sent)
