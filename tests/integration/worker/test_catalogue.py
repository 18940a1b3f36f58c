"""The catalogue as workers write it: with the readings or not at all, and nothing that is known is written again."""

import asyncio
import dataclasses
import time

import numpy as np
import pytest

from services.contract import Entry, Outcome, Series, decode, encode, keyed_id, series_id, series_of
from services.database.schema.apply import apply
from services.platform.settings import Settings
from services.platform.stream import Delivery
from services.worker.transaction import DeadLettersError, Store
from services.worker.work import Work, Written
from tests.support.readings import Row, entry_of, rows_in, sql
from tests.support.worker import parts_of

NOW = time.time_ns() // 1000
HEAT = series_of("heat", [("room", "kitchen"), ("floor", "größe")])
WIND = series_of("wind", [("site", "a")], "gust")


async def store_for(settings: Settings, **changed: object) -> Store:
    return (await parts_of(settings, settings.worker.model_copy(update=changed))).store


def some(count: int, sensor: str = "a") -> list[Row]:
    return [(sensor, NOW + number, float(number)) for number in range(count)]


def work_of(*entries: Entry) -> Work:
    deliveries = [Delivery(b"%d-0" % number, encode(entry)) for number, entry in enumerate(entries, 1)]
    return Work((delivery, decode(delivery.fields or {})) for delivery in deliveries)


def labelled(*series: Series, plain: str = "plain") -> Entry:
    entry = entry_of(some(1, plain), *(some(2, series_id(one)) for one in series))
    columns = dataclasses.replace(entry.columns, series={series_id(one): one for one in series})
    return Entry(entry.group, entry.batches, columns)


async def catalogue(settings: Settings) -> list[str]:
    return [
        row[0] for row in await sql(settings.database, 'select sensor_id from sensors order by sensor_id collate "C"')
    ]


async def test_sensors_come_in_with_their_readings_and_series_with_their_labels(settings: Settings) -> None:
    store = await store_for(settings)
    await store.write(work_of(labelled(HEAT, WIND)))
    store.close()
    found = await sql(
        settings.database,
        "select sensor_id, name, field, labels = $1::jsonb as right, kind, unit from sensors order by name",
        '{"room": "kitchen", "floor": "größe"}',
    )
    assert [tuple(row) for row in found] == [
        (series_id(HEAT), "heat", None, True, None, None),
        (series_id(WIND), "wind", "gust", False, None, None),
        ("plain", None, None, None, None, None),
    ]
    assert await sql(settings.database, "select from sensors where first_seen > now()") == []


async def test_kinds_and_units_are_the_newest_that_were_told(settings: Settings) -> None:
    store = await store_for(settings)
    for kind, unit, expected in (
        (None, None, (None, None)),
        ("gauge", "Cel", ("gauge", "Cel")),
        (None, None, ("gauge", "Cel")),
        (None, "K", ("gauge", "K")),
        ("counter", None, ("counter", "K")),
    ):
        told = series_of(HEAT.name, HEAT.labels, HEAT.field, kind, unit)
        await store.write(work_of(labelled(told)))
        found = await sql(settings.database, "select kind, unit from sensors where name = 'heat'")
        assert [tuple(row) for row in found] == [expected]
    store.close()


async def test_rights_that_were_lost_come_back_with_the_schema(settings: Settings) -> None:
    """A restore without privileges, and a role that is made anew, have none."""
    await sql(settings.database, "revoke all on all tables in schema public from millrace_writer, millrace_reader")
    await sql(settings.database, "revoke update (name, field, labels, kind, unit) on sensors from millrace_writer")
    await apply(settings.database)
    store = await store_for(settings)
    await store.write(work_of(labelled(HEAT)))
    # A sensor that is known gets its labels by an update.
    await store.write(work_of(entry_of(some(1, series_id(WIND)))))
    await store.write(work_of(labelled(WIND)))
    store.close()
    named = "select count(*) from sensors where name is not null"
    assert [tuple(row) for row in await sql(settings.database, named)] == [(2,)]


async def test_a_batch_that_is_not_stored_brings_no_sensors(settings: Settings) -> None:
    await sql(settings.database, "alter table sensor_data add constraint c check (value <> 13)")
    store = await store_for(settings)
    key = keyed_id("", "k")
    first = entry_of(some(1, "first"), keys=[key], digest=b"d")
    await store.write(work_of(first))
    other = entry_of(some(1, "other"), keys=[key], digest=b"e")
    expired = entry_of(some(1, "expired"), accepted_at=NOW - 100 * 3_600_000_000)
    poison = entry_of([("poison", NOW, 13.0), ("beside", NOW, 1.0)], some(1, "good"))
    work = work_of(first, other, expired, poison)
    with pytest.raises(DeadLettersError):
        await store.write(work)
    assert await catalogue(settings) == ["first"]
    written = await store.write(work, 3)
    store.close()
    assert [written.verdicts[part].outcome for part in work.parts].count(Outcome.DEAD) == 3
    assert await catalogue(settings) == ["first", "good"]


async def test_what_the_catalogue_refuses_is_bisected_to_the_batch(settings: Settings) -> None:
    await sql(settings.database, "alter table sensors add constraint c check (sensor_id <> 'refused')")
    store = await store_for(settings)
    work = work_of(entry_of(some(1, "a"), some(1, "refused"), some(1, "b")))
    written = await store.write(work, 1)
    store.close()
    outcomes = [written.verdicts[part].outcome for part in work.parts]
    assert outcomes == [Outcome.STORED, Outcome.DEAD, Outcome.STORED]
    assert await catalogue(settings) == ["a", "b"]
    assert [row[0] for row in await rows_in(settings.database)] == ["a", "b"]


async def test_what_is_known_is_not_entered_again_until_the_connections_or_the_table_are_others(
    settings: Settings,
) -> None:
    store = await store_for(settings)
    await store.write(work_of(labelled(HEAT)))
    await sql(settings.database, "delete from sensors")
    await store.write(work_of(labelled(HEAT)))
    assert await catalogue(settings) == []
    await store.write(work_of(labelled(WIND)))
    assert await catalogue(settings) == [series_id(WIND)]
    store.close()
    await store.write(work_of(labelled(HEAT)))
    assert await catalogue(settings) == [series_id(HEAT), "plain", series_id(WIND)]
    await sql(settings.database, "truncate sensors")
    await store.write(work_of(labelled(HEAT)))
    assert await catalogue(settings) == [series_id(HEAT), "plain"]
    store.close()


async def test_what_was_rolled_back_is_not_known(settings: Settings) -> None:
    store = await store_for(settings)
    expired = entry_of(some(1, "expired"), accepted_at=NOW - 100 * 3_600_000_000)
    with pytest.raises(DeadLettersError):
        await store.write(work_of(entry_of(some(1, "a")), expired))
    assert await catalogue(settings) == []
    await store.write(work_of(entry_of(some(1, "a"))))
    store.close()
    assert await catalogue(settings) == ["a"]


async def test_more_sensors_than_are_remembered_are_all_entered_again_and_again(settings: Settings) -> None:
    store = await store_for(settings, remembered_sensors=10)
    for turn in range(3):
        await store.write(work_of(*(entry_of(some(1, f"s{number:02}")) for number in range(15))))
        await store.write(work_of(entry_of(some(1, f"t{turn}"))))
    store.close()
    assert await catalogue(settings) == [f"s{number:02}" for number in range(15)] + ["t0", "t1", "t2"]


async def test_a_large_fleet_is_known_as_a_whole_only_as_long_as_its_sensors_are(settings: Settings) -> None:
    store = await store_for(settings)

    def fleet(*others: str) -> Work:
        rows: list[Row] = [(f"s{number}", NOW, 1.0) for number in range(1500)]
        return work_of(entry_of([*rows, *((other, NOW, 1.0) for other in others)]))

    for _ in range(3):
        await store.write(fleet())
    await store.write(fleet("new"))
    assert len(await catalogue(settings)) == 1501
    await sql(settings.database, "truncate sensors")
    await store.write(fleet())
    store.close()
    assert len(await catalogue(settings)) == 1500


async def test_an_id_that_came_without_its_labels_gets_them_with_the_first_reading_that_has_some(
    settings: Settings,
) -> None:
    store = await store_for(settings)
    await store.write(work_of(entry_of(some(1, series_id(HEAT)))))
    await store.write(work_of(labelled(HEAT)))
    await store.write(work_of(entry_of(some(1, series_id(HEAT)))))
    store.close()
    found = await sql(settings.database, "select name, labels is null from sensors where sensor_id <> 'plain'")
    assert [tuple(row) for row in found] == [("heat", False)]


async def test_a_dead_letter_keeps_the_labels_of_its_own_readings(settings: Settings) -> None:
    await sql(settings.database, "alter table sensor_data add constraint c check (value <> 1)")
    store = await store_for(settings)
    work = work_of(labelled(HEAT, WIND))
    written = await store.write(work, 2)
    assert await catalogue(settings) == ["plain"]
    [(_, letters)] = work.settlement(written.verdicts).entries
    kept = [decode(letter.fields).columns.series for letter in letters]
    assert kept == [{series_id(HEAT): HEAT}, {series_id(WIND): WIND}]
    await sql(settings.database, "alter table sensor_data drop constraint c")
    await store.write(work_of(*(decode(letter.fields) for letter in letters)))
    store.close()
    assert await catalogue(settings) == [series_id(HEAT), "plain", series_id(WIND)]


@pytest.mark.parametrize("seed", range(3))
async def test_workers_that_enter_the_same_sensors_in_any_order_do_not_wait_for_each_other_for_ever(
    settings: Settings, seed: int
) -> None:
    random = np.random.default_rng(seed)
    await sql(settings.database, "alter table sensor_data add constraint c check (value <> 13)")
    stores = [await store_for(settings) for _ in range(4)]

    async def writer(number: int, store: Store) -> list[Written]:
        found = []
        for _ in range(6):
            series = [series_of("n", [("l", str(one))]) for one in random.permutation(40)[:15]]
            batches = [some(1, f"s{one}") for one in random.permutation(40)[:15]]
            bad: list[Row] = [("s0", NOW, 13.0)] if random.random() < 0.3 else []
            plain = [some(1, series_id(one)) for one in series[:5]] if number % 2 else []
            work = work_of(labelled(*series), entry_of(*batches, *plain, *([bad] if bad else [])))
            found.append(await store.write(work, 1))
        return found

    await asyncio.gather(*(writer(number, store) for number, store in enumerate(stores)))
    for store in stores:
        store.close()
    lacking = "select from sensor_data where sensor_id not in (select sensor_id from sensors)"
    assert await sql(settings.database, lacking) == []
    unlabelled = "select from sensors where sensor_id like 'n#%' and labels is null"
    assert await sql(settings.database, unlabelled) == []
    log = "select deadlocks from pg_stat_database where datname = current_database()"
    assert [row[0] for row in await sql(settings.database, log)] == [0]
