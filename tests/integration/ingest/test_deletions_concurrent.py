"""Deletions beside workers, against a model: a reading stays where no deletion covers it that came behind it."""

import asyncio
import itertools
import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from services.contract import decode, encode
from services.database.repair import deletions as carrying
from services.database.repair.late_ranges import repair_once
from services.platform.postgres.capability import capability
from services.platform.runtime.health import Health
from services.platform.settings import Settings
from services.platform.stream import Delivery
from services.worker.transaction import Store
from services.worker.work import Work
from tests.support import TestDatabase, eventually
from tests.support.admin import both_ports
from tests.support.deletions import ask_deletion, carry_out, instant
from tests.support.late import HOURLY, connected
from tests.support.readings import Row, entry_of, rows_in, sql
from tests.support.worker import parts_of

HOUR = 3_600_000_000
NOW = time.time_ns() // 1000
BASE = NOW // HOUR * HOUR - 400 * HOUR
SENSORS = ["a", "b", "c", "d"]
WORKERS, ENTRIES, DELETIONS = 3, 12, 6


@dataclass
class Model:
    """What was accepted, with the instant, and what deletions answered."""

    sent: list[tuple[int, list[Row]]] = field(default_factory=list)
    deletions: list[tuple[set[str], int, int, int]] = field(default_factory=list)

    def left(self) -> list[Row]:
        return sorted(row for accepted_at, rows in self.sent for row in rows if self._stays(row, accepted_at))

    def _stays(self, row: Row, accepted_at: int) -> bool:
        sensor, at, _ = row
        return not any(
            sensor in sensors and start <= at < end and accepted_at <= requested_at
            for sensors, start, end, requested_at in self.deletions
        )


async def writing(store: Store, model: Model, dice: random.Random) -> None:
    """Write entries, some of them long after they were accepted."""
    waiting: list[Work] = []
    for number in range(ENTRIES):
        batches = [
            [
                (dice.choice(SENSORS), BASE + dice.randrange(12 * HOUR), float(number))
                for _ in range(dice.randint(1, 60))
            ]
            for _ in range(dice.randint(1, 3))
        ]
        entry = entry_of(*batches)
        model.sent += [(entry.batches[0].accepted_at, rows) for rows in batches]
        delivery = Delivery(b"%d-0" % number, encode(entry))
        waiting.append(Work([(delivery, decode(delivery.fields or {}))]))
        while waiting and (dice.random() < 0.6 or number == ENTRIES - 1):
            await store.write(waiting.pop(dice.randrange(len(waiting))))
        await asyncio.sleep(dice.random() / 50)


async def test_whatever_comes_between_deletions_and_readings_what_is_left_is_what_the_model_says(
    settings: Settings, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    monkeypatch.setattr(carrying, "SLICE_ROWS", 40)
    model = Model()
    stores = [(await parts_of(settings)).store for _ in range(WORKERS)]
    written = asyncio.gather(*(writing(store, model, dice) for store in stores))

    async def deleting() -> None:
        async with both_ports(settings) as ports:
            for _ in range(DELETIONS):
                sensors = dice.sample(SENSORS, dice.randint(1, 3))
                start = BASE + dice.randrange(10 * HOUR)
                end = start + dice.randrange(1, 6 * HOUR)
                asked = await ask_deletion(ports.admin, sensors, start, end)
                requested_at = datetime.fromisoformat(asked["requested_at"])
                model.deletions.append((set(sensors), start, end, round(requested_at.timestamp() * 1e6)))
                if dice.random() < 0.5:
                    await carry_out(settings.database)
                await asyncio.sleep(dice.random() / 20)

    await asyncio.gather(written, deleting())
    await eventually(lambda: _carried_out(settings))
    for store in stores:
        store.close()
    wanted = model.left()
    assert await rows_in(settings.database) == wanted
    await _hours_are(settings, wanted)
    assert await eventually(lambda: _repaired(database))
    await _hours_are(settings, wanted)

    stored, taken = await sql(
        settings.database, "select sum(rows) from ingest_ledger union all select sum(rows) from deletions"
    )
    assert stored[0] - taken[0] == len(wanted)


async def _carried_out(settings: Settings) -> bool:
    return await carry_out(settings.database) == 0


async def _repaired(database: TestDatabase) -> bool:
    async with connected(database, "owner") as owner, connected(database, "owner") as guard:
        return (await repair_once(owner, guard, await capability(owner), Health())).waiting == 0


async def _hours_are(settings: Settings, rows: list[Row]) -> None:
    for sensor in SENSORS:
        found = {round(at.timestamp() * 1e6): count for at, count in await sql(settings.database, HOURLY, sensor)}
        assert found == Counter(at // HOUR * HOUR for name, at, _ in rows if name == sensor)


async def test_a_deletion_of_hundreds_of_thousands_of_compressed_rows_is_carried_out_in_slices(
    timescaledb_settings: Settings, timescaledb: TestDatabase
) -> None:
    database = timescaledb_settings.database
    make = """
        insert into sensor_data (timestamp, sensor_id, value)
        select '2025-10-01 00:00Z'::timestamptz + second * interval '10 seconds', 's' || sensor, second
        from generate_series(0, 29999) as second, generate_series(1, 10) as sensor
    """
    await sql(database, make)
    await sql(database, "call refresh_continuous_aggregate('measurement_hourly', '2025-09-30', '2025-10-10')")
    await sql(database, "select compress_chunk(chunk) from show_chunks('sensor_data') as chunk")
    async with both_ports(timescaledb_settings) as ports:
        # Both edges lie inside columnstore batches.
        start, end = (round(datetime.fromisoformat(f"2025-10-0{day}T00:00:30Z").timestamp() * 1e6) for day in (1, 4))
        asked = await ask_deletion(ports.admin, [f"s{sensor}" for sensor in range(1, 10)], start, end)
    counts = [300_000]
    async with connected(timescaledb, "owner") as owner:
        able = await capability(owner)
        [[deletion_id]] = await owner.fetch(carrying.UNFINISHED)
        step: timedelta | None = timedelta.max
        while step and (step := await carrying._slice(owner, able, deletion_id, step, carrying.SLICE_ROWS)):
            counts.append(await owner.fetchval("select count(*) from sensor_data"))
        counts.append(await owner.fetchval("select count(*) from sensor_data"))
        kept = await owner.fetchval(
            "select count(*) from sensor_data where sensor_id = 's10' or timestamp < $1 or timestamp >= $2",
            datetime.fromisoformat(instant(start)),
            datetime.fromisoformat(instant(end)),
        )
    gone = 9 * 3 * 8640
    assert (counts[-1], kept) == (300_000 - gone, 300_000 - gone)
    assert len(counts) > gone / carrying.SLICE_ROWS
    assert max(before - after for before, after in itertools.pairwise(counts)) <= carrying.SLICE_ROWS
    assert str(deletion_id) == asked["deletion_id"]
    for _ in range(2):
        for sensor, edges in (("s1", {"2025-10-01 00:00Z": 3, "2025-10-04 00:00Z": 357}), ("s10", {})):
            left = await sql(database, "select count(*) from sensor_data where sensor_id = $1", sensor)
            hours = {at: count for at, count in await sql(database, HOURLY, sensor) if count}
            assert sum(hours.values()) == left[0][0]
            assert {at: hours[datetime.fromisoformat(at)] for at in edges} == edges
        assert await eventually(lambda: _repaired(timescaledb))
    assert await sql(database, "select from measurement_hourly where sensor_id = 's1' and bucket = '2025-10-02'") == []
