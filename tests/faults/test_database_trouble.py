"""The database refuses, hangs or is lost: the worker waits, tells and goes on; what was acknowledged is there once."""

from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from pydantic import SecretStr

from services.platform.settings import RedisSettings, Settings
from tests.conftest import whole
from tests.support import TestDatabase, eventually
from tests.support.faults import Make, acknowledged, drained, load, worker
from tests.support.ingest import READING
from tests.support.late import connected
from tests.support.moments import told
from tests.support.oracle import check
from tests.support.proxy import proxied
from tests.support.readings import rows_in, sql

pytestmark = pytest.mark.long

ROWS = 100_000


async def send(settings: Settings) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.ingest.port}") as client:
        assert (await client.post("/ingest", json=[READING])).status_code == 200


async def test_row_15_a_database_stopped_again_and_again_in_the_middle_of_a_copy_loses_and_doubles_nothing(
    postgres: TestDatabase, redis_settings: RedisSettings, service: Make, tmp_path: Path, scale: float
) -> None:
    settings = whole(postgres, redis_settings)
    rows = round(3 * ROWS * scale)
    async with service("ingest", settings), service("worker", worker(settings, "w")):
        async with load(settings, tmp_path / "journal", rows) as sender:
            stops = 0
            while stops < 5 * scale and await acknowledged(tmp_path / "journal", sender, 50):
                # SIGQUIT is PostgreSQL's immediate stop: no checkpoint, no farewell.
                assert postgres.server.process
                postgres.server.process.send_signal(3)
                await postgres.server.ended()
                await postgres.server.start()
                stops += 1
        await drained(settings)
    verdict = await check(tmp_path / "journal", settings.database)
    assert stops
    assert verdict.clean, verdict
    assert verdict.stored == rows


async def test_row_17_a_lock_on_the_table_is_waited_for_and_questions_are_not_held_up(
    database: TestDatabase, settings: Settings, service: Make
) -> None:
    limited = worker(settings, "w", transaction_timeout=1.0)
    async with service("ingest", settings), service("worker", limited) as process:
        async with connected(database, "owner") as owner, owner.transaction():
            await owner.execute("lock table sensor_data in exclusive mode")
            await send(settings)
            await eventually(lambda: told(process, "lock timeout"), 30)
            async with service("query", settings) as query, httpx.AsyncClient(base_url=query.url) as client:
                assert (await client.get("/hourly?sensor_id=sensor-1")).json() == []
        await drained(settings)
        await process.ready()
    assert len(await rows_in(settings.database)) == 1


READ_ONLY = """
create function read_only() returns event_trigger language plpgsql as $$
begin
  if session_user = 'millrace_writer' then
    perform set_config('default_transaction_read_only', 'on', false);
  end if;
end
$$;
create event trigger read_only on login execute function read_only();
"""


async def test_row_17_a_database_that_became_read_only_is_left_for_one_that_is_not(
    database: TestDatabase, settings: Settings, service: Make
) -> None:
    async with service("ingest", settings), service("worker", worker(settings, "w")) as process:
        await send(settings)
        await drained(settings)
        async with connected(database, "superuser") as superuser:
            # Sessions keep what they began with, as they do when their server has become a standby. The worker asks for
            # sessions that write, so what makes them read-only comes behind that.
            await superuser.execute(READ_ONLY)
            await superuser.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where usename = 'millrace_writer' and datname = current_database()"
            )
            await send(settings)
            await eventually(lambda: told(process, "read-only"), 30)
            await superuser.execute("drop event trigger read_only")
        await drained(settings)
        await process.ready()
    assert len(await rows_in(settings.database)) == 2


async def test_row_20_a_database_behind_a_silent_network_is_given_up_and_found_again(
    settings: Settings, service: Make
) -> None:
    url = settings.database.writer_url.get_secret_value()
    there = urlsplit(url)
    async with proxied(there.hostname or "", there.port or 5432) as proxy:
        through = SecretStr(url.replace(f":{there.port}/", f":{proxy.port}/"))
        far = settings.model_copy(update={"database": settings.database.model_copy(update={"writer_url": through})})
        far = worker(far, "w", transaction_timeout=2.0)
        async with service("ingest", settings), service("worker", far) as process:
            await send(settings)
            await drained(settings)
            proxy.open.clear()
            await send(settings)
            await eventually(lambda: told(process, "database"), 60)
            assert len(await sql(settings.database, "select 1 from ingest_ledger")) == 1
            proxy.open.set()
            await drained(settings)
            await process.ready()
    assert len(await rows_in(settings.database)) == 2


async def test_row_21_a_stream_behind_a_silent_network_is_answered_503_in_time_and_a_repeat_is_stored_once(
    settings: Settings, service: Make
) -> None:
    url = settings.redis.url.get_secret_value()
    there = urlsplit(url)
    async with proxied(there.hostname or "", there.port or 6379) as proxy:
        through = SecretStr(url.replace(f":{there.port}/", f":{proxy.port}/"))
        far = settings.model_copy(update={"redis": settings.redis.model_copy(update={"url": through, "timeout": 1.0})})
        process = service("ingest", far)
        async with (
            process,
            service("worker", worker(settings, "w")),
            httpx.AsyncClient(base_url=process.url, timeout=20) as client,
        ):

            async def status() -> int:
                headers = {"Idempotency-Key": "order-1"}
                return (await client.post("/ingest", json=[READING], headers=headers)).status_code

            proxy.open.clear()
            assert await status() == 503

            async def unready() -> bool:
                return not await process.is_ready()

            await eventually(unready)
            proxy.open.set()

            async def taken() -> bool:
                return await status() == 200

            await eventually(taken, 30)
        await drained(settings)
    assert len(await rows_in(settings.database)) == 1


async def test_row_20_a_ledger_behind_a_silent_network_holds_up_no_request(settings: Settings, service: Make) -> None:
    url = settings.database.reader_url.get_secret_value()
    there = urlsplit(url)
    async with proxied(there.hostname or "", there.port or 5432) as proxy:
        through = SecretStr(url.replace(f":{there.port}/", f":{proxy.port}/"))
        far = settings.model_copy(update={"database": settings.database.model_copy(update={"reader_url": through})})
        process = service("ingest", far)
        async with process, httpx.AsyncClient(base_url=process.url, timeout=20) as client:
            for key in ("before", "while", "while", "while"):
                answer = await client.post("/ingest", json=[READING], headers={"Idempotency-Key": key})
                assert answer.status_code == 200
                proxy.open.clear()
            assert (await client.get(f"/batches/{answer.json()['batch_id']}")).status_code == 503
