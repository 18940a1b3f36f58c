"""`dedup=natural`: of a sensor and instant the first reading is stored, whichever worker has it, and whatever happens."""

import asyncio
import dataclasses
import random
import secrets
import time
from collections.abc import Sequence

from services.contract import Entry, Outcome, decode, encode, keyed_id
from services.platform.settings import Settings
from services.platform.stream import Delivery
from services.worker.transaction import Store
from services.worker.work import Work
from tests.support.readings import Row, entry_of, rows_in, sql
from tests.support.worker import parts_of

NOW = time.time_ns() // 1000
SECOND = 1_000_000


def natural(*batches: Sequence[Row]) -> Entry:
    entry = entry_of(*batches)
    return Entry(entry.group, [dataclasses.replace(batch, natural=True) for batch in entry.batches], entry.columns)


def work_of(*entries: Entry) -> Work:
    read = [Delivery(b"%d-0" % at, encode(entry)) for at, entry in enumerate(entries, 1)]
    return Work((delivery, decode(delivery.fields or {})) for delivery in read)


async def write(store: Store, *entries: Entry) -> list[Outcome]:
    work = work_of(*entries)
    written = await store.write(work, most_dead=100)
    return [written.verdicts[part].outcome for part in work.parts]


async def test_first(settings: Settings) -> None:
    store = (await parts_of(settings)).store
    rows = [("a", NOW + n * SECOND, float(n)) for n in range(5)]
    assert await write(store, natural(rows)) == [Outcome.STORED]
    assert await write(store, natural([(s, t, v + 100) for s, t, v in rows])) == [Outcome.DUPLICATE]
    assert await rows_in(settings.database) == rows
