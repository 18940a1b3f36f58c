"""What goes wrong at the doors of those who send without an Idempotency-Key, and send again: each reading once."""

import asyncio
import re
import signal
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest

from services.platform.runtime.failpoints import Place
from services.platform.settings import RedisSettings, Settings
from services.prove.agents import DOORS
from services.prove.harness import loaded
from services.prove.verdict import judge
from tests.conftest import whole
from tests.support import Service, TestDatabase, eventually, free_port
from tests.support.faults import LEAVES_ALONE, Failpoints, Make, chance, drained, worker
from tests.support.late import connected
from tests.support.moments import counted
from tests.support.proxy import moved, proxied
from tests.support.readings import sql
from tests.support.repeats import ROUND, SENDERS, held_once, killed_and_sent_again, values

pytestmark = pytest.mark.long

INGEST_PLACES: tuple[Place, ...] = ("ingest.before_add", "ingest.after_add")
HELD = 50.0
"""Seconds that transactions may be held: longer than a test takes on a busy machine."""

every_door = pytest.mark.parametrize("door", SENDERS)


def another(settings: Settings) -> Settings:
    """Return the settings of one more ingest."""
    port = free_port()
    return settings.model_copy(
        update={"ingest": settings.ingest.model_copy(update={"port": port, "admin_port": port + 1})}
    )


async def waiting(database: TestDatabase) -> bool:
    """Tell whether a worker's session waits for another's."""
    query = (
        "select exists (select from pg_stat_activity where datname = current_database() "
        "and usename = 'millrace_writer' and wait_event_type = 'Lock')"
    )
    async with connected(database, "superuser") as superuser:
        return bool(await superuser.fetchval(query))


@every_door
async def test_row_49_a_worker_killed_at_any_moment_while_the_same_comes_again_by_a_door_stores_it_once(
    settings: Settings, service: Make, failpoints: Failpoints, door: str
) -> None:
    victim = service("worker", worker(settings, "w"))
    places: tuple[Place, ...] = ("worker.before_copy", "worker.before_commit", "worker.after_commit")
    await killed_and_sent_again(service("ingest", settings), victim, failpoints, SENDERS[door], places)


@pytest.mark.parametrize("ending", ["commits", "dies"])
@every_door
async def test_row_50_what_goes_to_another_ingest_while_another_worker_writes_the_first_is_stored_once(
    settings: Settings, database: TestDatabase, service: Make, failpoints: Failpoints, door: str, ending: str
) -> None:
    sender = SENDERS[door]
    holder = failpoints.given_to(service("worker", worker(settings, "holder", transaction_timeout=HELD)))
    async with (
        service("ingest", settings),
        service("ingest", another(settings)) as other,
        holder,
        proxied("127.0.0.1", settings.ingest.port) as way,
    ):
        failpoints.arm("worker.before_commit", "stop")
        way.swallows = True
        asking = asyncio.create_task(sender.post(f"http://127.0.0.1:{way.port}", 0))
        await failpoints.fired("worker.before_commit")
        way.cut()
        with pytest.raises(httpx.TransportError):
            await asking
        # As Telegraf does: what was not answered, beside what is newer.
        rounds = [0, 1] if sender.regroups else [0]
        content = worker(settings, "second", transaction_timeout=HELD, reclaim_idle=LEAVES_ALONE)
        async with service("worker", content) as second:
            await sender.post(other.url, *rounds)
            await eventually(lambda: waiting(database), 40.0)
            if ending == "commits":
                assert holder.process
                holder.process.send_signal(signal.SIGCONT)
            else:
                holder.kill()
                holder.start()
            await drained(settings)
            await held_once(settings, *rounds)
            await holder.ready()
            await eventually(lambda: _repeated(ROUND, holder, second))


async def _repeated(rows: int, *workers: Service) -> bool:
    return sum([await counted(one, "millrace_rows_repeated_total") for one in workers]) == rows


@every_door
async def test_row_50_what_an_ingest_that_was_killed_around_the_write_is_asked_again_is_stored_once(
    settings: Settings, service: Make, failpoints: Failpoints, door: str
) -> None:
    sender = SENDERS[door]
    ingest = failpoints.given_to(service("ingest", settings))
    async with service("worker", worker(settings, "w")), ingest:
        for number, place in enumerate(INGEST_PLACES):
            failpoints.arm(place, "kill")
            with pytest.raises(httpx.TransportError):
                await sender.post(ingest.url, number)
            ingest.start()
            await ingest.ready()
            await sender.post(ingest.url, number)
        await drained(settings)
    await held_once(settings, *range(len(INGEST_PLACES)))


@pytest.mark.parametrize("door", DOORS)
async def test_row_51_agents_of_a_door_lose_and_double_nothing_while_ingest_and_workers_are_killed(
    settings: Settings, service: Make, tmp_path: Path, scale: float, door: str
) -> None:
    dice = chance()
    journal = tmp_path / "journal"
    ingest = service("ingest", settings)
    workers = [service("worker", worker(settings, f"worker-{number}")) for number in range(2)]
    for process in (ingest, *workers):
        process.start()
    await ingest.ready()

    def acked() -> int:
        return journal.read_bytes().count(b'"acked"') if journal.exists() else 0

    def more(wanted: int) -> bool:
        return acked() >= wanted

    async with loaded(ingest.url, journal, door, dice.randrange(1 << 32)):
        for _ in range(round(8 * scale)):
            await eventually(partial(more, acked() + dice.randint(5, 40)), 60.0)
            # Ingest often enough: what it was asked and has not answered comes again.
            victim = dice.choice([ingest, *workers, ingest])
            victim.kill()
            victim.start()
        await eventually(partial(more, acked() + 10), 60.0)
    await drained(settings)
    verdict = await judge(journal, settings.database)
    assert verdict.clean, verdict
    assert verdict.unanswered > 0


HORIZON = 36.0
"""Seconds; a test waits for a tenth of it, and a second."""


@pytest.mark.parametrize("known_by", ["hash", "key"])
async def test_row_52_what_comes_again_and_waits_for_longer_than_it_is_remembered_is_stored_once(
    settings: Settings, service: Make, failpoints: Failpoints, known_by: str
) -> None:
    table = {"hash": "ingest_recent", "key": "ingest_ledger"}[known_by]
    # The receipts of the ledger are away: a key that is stored goes into the stream again.
    ingest = service("ingest", moved(settings, free_port()))
    sender = SENDERS["ingest, each reading"]
    if known_by == "key":
        sender = sender._replace(path="/ingest", headers={**sender.headers, "idempotency-key": "order-1"})
    victim = failpoints.given_to(service("worker", worker(settings, "victim")))
    forgetful = _forgetful(settings, known_by)
    async with ingest, victim:
        await sender.post(ingest.url, 0)
        await drained(settings)
        failpoints.arm("worker.after_read", "stop")
        await sender.post(ingest.url, 0)
        await failpoints.fired("worker.after_read")
        # It came while what it repeats was remembered, and is written when that is so no more.
        aged = f"update {table} set committed_at = now() - interval '{HORIZON - 1} s' returning committed_at"
        [stored, *_] = await sql(settings.database, aged)
        async with service("worker", forgetful):
            await eventually(lambda: _forgettable(settings, stored["committed_at"]), 60.0)
            await _pruned(settings, table)
            assert victim.process
            victim.process.send_signal(signal.SIGCONT)
            await drained(settings)
    assert await values(settings) == list(range(ROUND))


def _forgetful(settings: Settings, known_by: str) -> Settings:
    """Return the settings of a worker that forgets quickly and takes nothing over."""
    horizons = {"hash": {"repeat_horizon": HORIZON / 3600}, "key": {"ledger_horizon": HORIZON / 3600}}[known_by]
    made = worker(settings, "forgetful", reclaim_idle=LEAVES_ALONE, janitor_interval=0.2, **horizons)
    # Ingest takes nothing that waits for longer than the ledger remembers, and the two are held against each other.
    return made.model_copy(update={"ingest": made.ingest.model_copy(update={"backlog_age": HORIZON / 2})})


async def _forgettable(settings: Settings, committed_at: datetime) -> bool:
    """Tell whether it is longer ago than a horizon and its tenth."""
    limit = timedelta(seconds=1.1 * HORIZON + 0.5)
    [found] = await sql(settings.database, "select now() - $1::timestamptz > $2::interval as so", committed_at, limit)
    return bool(found["so"])


async def _pruned(settings: Settings, table: str) -> None:
    """Wait until somebody has forgotten what must be forgotten by now."""
    made = {
        "ingest_recent": "insert into ingest_recent (key, committed_at) "
        "values (gen_random_uuid(), now() - interval '1 day')",
        "ingest_ledger": "insert into ingest_ledger (batch_id, batches, rows, accepted_at, committed_at) "
        "values (gen_random_uuid(), 1, 0, now(), now() - interval '1 day')",
    }[table]
    await sql(settings.database, made)

    async def gone() -> bool:
        return not await sql(settings.database, f"select from {table} where committed_at < now() - interval '1 hour'")

    await eventually(gone, 60.0)


# What somebody is about to forget is left to them, else the two would wait for each other.
_AGE = """
update ingest_recent set committed_at = now() - interval '1 day'
where key in (select key from ingest_recent for update skip locked)
"""


async def test_row_52_what_comes_again_just_as_its_hash_is_forgotten_is_never_lost(
    settings: Settings, service: Make
) -> None:
    dice = chance()
    rounds = 12
    hasty = worker(settings, "w", janitor_interval=0.02)
    sender = SENDERS["line"]
    async with service("ingest", settings) as ingest, service("worker", hasty) as process:
        for number in range(rounds):
            await sender.post(ingest.url, number)
        await drained(settings)
        for number in range(rounds):
            await sql(settings.database, _AGE)
            again = dice.sample(range(rounds), 3)
            await asyncio.gather(*(sender.post(ingest.url, other) for other in (number, *again)))
        await drained(settings)
        assert not {"database fails", "housekeeping failed"} & set(re.findall(r"\w+ fail\w+", process.log_text()))
    stored = await values(settings)
    assert set(stored) == set(range(rounds * ROUND))
    [ledger] = await sql(settings.database, "select sum(rows)::bigint as rows from ingest_ledger")
    assert ledger["rows"] == len(stored)


async def test_row_54_what_comes_again_by_each_door_while_the_database_is_away_is_stored_once(
    postgres: TestDatabase, redis_settings: RedisSettings, service: Make
) -> None:
    dice = chance()
    settings = whole(postgres, redis_settings)
    server = postgres.server
    doors = list(SENDERS.values())
    # Each door has rounds of its own, and the last of its rounds come to a database that is away.
    rounds = {place: range(4 * place, 4 * place + 4) for place in range(len(doors))}
    async with (
        service("ingest", settings) as one,
        service("ingest", another(settings)) as two,
        service("worker", worker(settings, "worker-1")),
        service("worker", worker(settings, "worker-2")),
    ):

        async def again(place: int, number: int) -> None:
            sender = doors[place]
            beside = [number, dice.choice(rounds[place])] if sender.regroups else [number]
            await sender.post(dice.choice([one.url, two.url]), *dict.fromkeys(beside))

        first = [(place, number) for place in rounds for number in rounds[place][:2]]
        await asyncio.gather(*(again(place, number) for place, number in first))
        assert server.process
        server.process.kill()
        await server.ended()
        every = [(place, number) for place in rounds for number in rounds[place]] * 4
        dice.shuffle(every)
        for at in range(0, len(every), 8):
            await asyncio.gather(*(again(place, number) for place, number in every[at : at + 8]))
        await server.start()
        await drained(settings)
    await held_once(settings, *range(4 * len(doors)))
