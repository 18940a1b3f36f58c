"""Faults at one exact moment of a batch's way: failpoints let a real process die, hang or lose its connection there."""

import signal
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from services.platform.runtime.failpoints import Place
from services.platform.settings import Settings
from tests.support import Service, TestDatabase, eventually
from tests.support.faults import Failpoints, Make, drained, worker
from tests.support.late import connected
from tests.support.moments import counted, killed_worker, repeated_request, send, stored_once
from tests.support.proxy import proxied
from tests.support.readings import rows_in

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    ("place", "committed"),
    [
        pytest.param("worker.after_commit", True, id="row_02_between_commit_and_acknowledgement"),
        pytest.param("worker.after_ledger", False, id="row_03_between_ledger_and_copy"),
        pytest.param("worker.before_commit", False, id="row_03_between_copy_and_commit"),
        pytest.param("worker.after_read", False, id="row_03_after_the_read"),
    ],
)
async def test_a_worker_killed_at_one_moment_stores_once(
    settings: Settings, service: Make, failpoints: Failpoints, place: Place, *, committed: bool
) -> None:
    victim, heir = (service("worker", worker(settings, name)) for name in ("victim", "heir"))
    duplicates = await killed_worker(service("ingest", settings), victim, heir, failpoints, place)
    assert duplicates == committed


async def test_row_04_a_worker_that_wakes_up_after_its_entries_were_taken_over_writes_nothing(
    settings: Settings, service: Make, failpoints: Failpoints
) -> None:
    async with (
        service("ingest", settings),
        failpoints.given_to(service("worker", worker(settings, "zombie"))) as zombie,
    ):
        failpoints.arm("worker.after_read", "stop")
        await send(settings)
        await failpoints.fired("worker.after_read")
        async with service("worker", worker(settings, "heir")):
            await stored_once(settings)
            assert zombie.process
            zombie.process.send_signal(signal.SIGCONT)
            await eventually(lambda: _is(zombie, 1.0))
            await stored_once(settings)


async def _is(process: Service, wanted: float) -> bool:
    return await counted(process, "millrace_batches_duplicate_total") == wanted


async def test_row_05_a_worker_stopped_inside_its_transaction_holds_up_nobody_for_longer_than_its_limit(
    settings: Settings, service: Make, failpoints: Failpoints
) -> None:
    quick = settings.worker.model_copy(update={"transaction_timeout": 2.0})
    settings = settings.model_copy(update={"worker": quick})
    async with (
        service("ingest", settings),
        failpoints.given_to(service("worker", worker(settings, "zombie"))) as zombie,
    ):
        failpoints.arm("worker.before_commit", "stop")
        await send(settings)
        await failpoints.fired("worker.before_commit")
        async with service("worker", worker(settings, "heir")):
            await stored_once(settings)
            assert zombie.process
            zombie.process.send_signal(signal.SIGCONT)
            await zombie.ready()
            await stored_once(settings)


async def test_row_13_a_worker_whose_database_session_is_ended_writes_again(
    database: TestDatabase, settings: Settings, service: Make, failpoints: Failpoints
) -> None:
    async with service("ingest", settings), failpoints.given_to(service("worker", worker(settings, "w"))) as process:
        failpoints.arm("worker.before_commit", "stop")
        await send(settings)
        await failpoints.fired("worker.before_commit")
        async with connected(database, "superuser") as superuser:
            ended = await superuser.fetch(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where usename = 'millrace_writer' and datname = current_database()"
            )
        assert ended
        assert process.process
        process.process.send_signal(signal.SIGCONT)
        await stored_once(settings)
        assert "database fails" in process.log_text()


async def test_row_18_a_commit_whose_reply_is_lost_is_resolved_by_the_ledger(
    settings: Settings, service: Make, failpoints: Failpoints
) -> None:
    url = settings.database.writer_url.get_secret_value()
    there = urlsplit(url)
    async with proxied(there.hostname or "", there.port or 5432) as proxy:
        through = SecretStr(url.replace(f":{there.port}/", f":{proxy.port}/"))
        lossy = settings.model_copy(update={"database": settings.database.model_copy(update={"writer_url": through})})
        async with service("ingest", settings), failpoints.given_to(service("worker", worker(lossy, "w"))) as process:
            failpoints.arm("worker.before_commit", "stop")
            await send(settings)
            await failpoints.fired("worker.before_commit")
            proxy.swallows = True
            assert process.process
            process.process.send_signal(signal.SIGCONT)
            await eventually(lambda: rows_in(settings.database))
            proxy.swallows = False
            proxy.cut()
            await stored_once(settings)
            await eventually(lambda: _is(process, 1.0))


async def test_row_19_what_a_worker_behind_a_silent_network_had_read_is_taken_over_and_stored_once(
    settings: Settings, service: Make, failpoints: Failpoints
) -> None:
    url = settings.redis.url.get_secret_value()
    there = urlsplit(url)
    async with proxied(there.hostname or "", there.port or 6379) as proxy:
        through = SecretStr(url.replace(f":{there.port}/", f":{proxy.port}/"))
        far = settings.model_copy(update={"redis": settings.redis.model_copy(update={"url": through, "timeout": 2.0})})
        async with service("ingest", settings), failpoints.given_to(service("worker", worker(far, "cut off"))) as alone:
            failpoints.arm("worker.after_commit", "stop")
            await send(settings)
            await failpoints.fired("worker.after_commit")
            proxy.open.clear()
            assert alone.process
            alone.process.send_signal(signal.SIGCONT)
            async with service("worker", worker(settings, "heir")) as heir:
                await stored_once(settings)
                assert await counted(heir, "millrace_batches_duplicate_total") == 1
                proxy.open.set()
                await alone.ready(60)
                await stored_once(settings)


@pytest.mark.parametrize("place", ["ingest.before_add", "ingest.after_add"])
@pytest.mark.parametrize("action", ["kill", "fail"])
async def test_row_23_a_request_whose_answer_was_lost_and_that_is_repeated_with_its_key_is_stored_once(
    settings: Settings, service: Make, failpoints: Failpoints, place: Place, action: str
) -> None:
    keen = service("worker", worker(settings, "w"))
    await repeated_request(service("ingest", settings), keen, failpoints, place, action)


async def test_row_24_without_a_key_a_repeat_is_a_second_batch_and_with_one_it_is_not(
    settings: Settings, service: Make
) -> None:
    async with service("ingest", settings), service("worker", worker(settings, "w")):
        for key in ("key-1", "key-1", None, None):
            assert (await send(settings, key)).status_code == 200
        await drained(settings)
        assert len(await rows_in(settings.database)) == 30
