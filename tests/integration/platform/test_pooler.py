"""Behind PgBouncer, in session and in transaction mode: the whole way, and every promise of a connection kept."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from services.contract import decode, encode
from services.database.schema.apply import SchemaError, apply
from services.platform.http.errors import Problem
from services.platform.postgres.connections import Connector
from services.platform.postgres.schema import wait_for_schema
from services.platform.runtime.health import Health
from services.platform.settings import Settings
from services.platform.stream import Delivery
from services.query.fetch import Fetcher
from services.worker.work import Work
from tests.integration.worker.test_transaction import work_of
from tests.support import Service, TestDatabase, eventually
from tests.support.late import connected, notes
from tests.support.pooler import ABSENT, PgBouncer, pgbouncer, program
from tests.support.query import asking, owner, query_settings
from tests.support.readings import entry_of, rows_in
from tests.support.worker import parts_of

Make = Callable[[str, Settings], Service]

IGNORED = (
    "statement_timeout,lock_timeout,idle_in_transaction_session_timeout,synchronous_commit,search_path,jit,"
    "default_transaction_read_only,default_transaction_isolation,plan_cache_mode,datestyle,intervalstyle,"
    "client_connection_check_interval,client_min_messages,tcp_keepalives_idle,tcp_keepalives_interval,"
    "tcp_keepalives_count,millrace.connection,millrace.notes"
)
RANGE = "sensor_id=a&start=2025-10-22T21:00:00Z&end=2025-10-29T21:00:00Z"
MANY = 200_000
AT = 1_761_170_400_000_000
"""An instant of that range, in microseconds."""

pytestmark = pytest.mark.skipif(program() is None, reason=ABSENT)


@pytest.fixture(params=["session", "transaction"])
async def pooler(timescaledb: TestDatabase, request: pytest.FixtureRequest) -> AsyncIterator[PgBouncer]:
    """A strict PgBouncer in each mode."""
    async with pgbouncer(timescaledb.settings, request.param) as running:
        yield running


@pytest.fixture(params=["", IGNORED], ids=["strict", "lax"])
async def transactional(database: TestDatabase, request: pytest.FixtureRequest) -> AsyncIterator[PgBouncer]:
    """One in transaction mode that refuses startup parameters, or leaves them out."""
    async with pgbouncer(database.settings, "transaction", ignored=request.param) as running:
        yield running


async def test_a_reading_goes_the_whole_way(timescaledb_settings: Settings, pooler: PgBouncer, service: Make) -> None:
    settings = timescaledb_settings
    behind = settings.model_copy(update={"database": pooler.before("writer", "reader")})
    readings = [
        {"sensor_id": "a", "timestamp": f"2025-10-22T21:{number // 60:02}:{number % 60:02}Z", "value": number}
        for number in range(2000)
    ]
    ingest, worker, query = (service(name, behind) for name in ("ingest", "worker", "query"))
    for process in (ingest, worker, query):
        process.start()
    async with httpx.AsyncClient(timeout=30) as client:
        await asyncio.gather(*(process.ready() for process in (ingest, worker, query)))
        for _ in range(3):
            headers = {"Idempotency-Key": "once"}
            stored = await client.post(f"{ingest.url}/ingest?ack=stored", json=readings, headers=headers)
            assert stored.status_code == 200, stored.text
        batch = await client.get(f"{ingest.url}/batches/{stored.json()['batch_id']}")
        assert batch.json()["status"] in {"stored", "duplicate"}

        async def ask(path: str) -> httpx.Response:
            return await client.get(f"{query.url}{path}")

        answers = await asyncio.gather(*(ask(f"/{kind}?{RANGE}") for kind in ("get_range", "min", "hourly") * 20))
        assert {answer.status_code for answer in answers} == {200}
        assert len(answers[0].json()["data"]) == 2000
        assert answers[1].json() == {"min_value": 0.0}
        assert sum(hour["samples"] for hour in answers[2].json()) == 2000
        assert '"problem"' not in (await ask("/status")).text
        for process in (ingest, worker, query):
            assert "Traceback" not in process.log_text()
    assert len(await rows_in(settings.database)) == 2000


async def test_a_question_can_only_read_and_ends_at_its_timeout(
    database: TestDatabase, transactional: PgBouncer
) -> None:
    behind = query_settings(database, statement_timeout=0.7)
    behind = behind.model_copy(update={"database": transactional.before("reader")})
    fetcher = Fetcher(behind)
    try:
        for _ in range(3):
            async with fetcher._connection(None) as connection:
                assert connection.pooled
                assert await connection.fetchval("show transaction_read_only") == "on"
                assert await connection.fetchval("show statement_timeout") == "700ms"
                assert await connection.fetchval("show jit") == "off"
        with pytest.raises(Problem, match=r"within 0\.7 s"):
            async with fetcher._connection(None) as connection:
                await connection.fetchval("select pg_sleep(20)")
        with pytest.raises(Problem, match="failed during"):
            async with fetcher._connection(None) as connection:
                await connection.execute("create table written ()")
    finally:
        fetcher.close()
    async with asking(behind) as client, owner(database) as locking:
        async with locking.transaction():
            await locking.execute("lock table sensor_data in access exclusive mode")
            assert (await client.get(f"/min?{RANGE}")).json()["code"] == "query_timeout"
        assert (await client.get(f"/min?{RANGE}")).status_code == 200


async def test_a_worker_behind_it_is_known_to_note_what_it_writes_itself(
    settings: Settings, database: TestDatabase, transactional: PgBouncer
) -> None:
    """In plain mode triggers note whatever else is written."""
    behind = settings.model_copy(update={"database": transactional.before("writer")})
    parts = await parts_of(behind)
    try:
        for value in (1.0, 2.0):
            await parts.store.write(work_of(entry_of([("a", AT, value)])))
    finally:
        parts.store.close()
        await parts.stream.client.aclose()
    assert len(await rows_in(database.settings)) == 2
    assert await notes(database) == (0 if database.mode == "plain" else 2)


async def test_whoever_leaves_a_long_answer_ends_nobody_elses(timescaledb: TestDatabase) -> None:
    await fill(timescaledb)
    # Two server connections for all: a statement that is ended by its process id would be another's.
    async with pgbouncer(timescaledb.settings, "transaction", size=2) as running:
        settings = query_settings(timescaledb).model_copy(update={"database": running.before("reader")})
        async with asking(settings) as client:

            async def whole() -> int:
                answer = await client.get(f"/get_range?{RANGE}")
                assert answer.status_code == 200, answer.text
                return len(answer.json()["data"])

            async def left(after: float) -> None:
                leaving = asyncio.create_task(client.get(f"/get_range?{RANGE}"))
                await asyncio.wait({leaving}, timeout=after)
                leaving.cancel()
                await asyncio.wait({leaving})

            leaving = [asyncio.create_task(left(0.02 * number)) for number in range(10)]
            assert set(await asyncio.gather(whole(), whole(), whole())) == {MANY}
            await asyncio.gather(*leaving)
            assert await whole() == MANY


async def fill(database: TestDatabase) -> None:
    """Insert readings of a sensor, a second apart."""
    async with owner(database) as connection:
        await connection.execute(
            "insert into sensor_data (timestamp, sensor_id, value) "
            "select '2025-10-22T21:00:00Z'::timestamptz + number * interval '1 second', 'a', number "
            f"from generate_series(0, {MANY - 1}) as number"
        )


AGAINST_US = (
    "search_path = 'nowhere'",
    "synchronous_commit = off",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_read_only = off",
    "statement_timeout = 0",
    "datestyle = 'German'",
    "intervalstyle = 'iso_8601'",
    "timezone = 'Asia/Kathmandu'",
    "standard_conforming_strings = off",
)
"""What somebody may have set for a role."""


@pytest.mark.parametrize("way", ["direct", "session", "transaction", "lax"])
async def test_what_a_role_was_given_by_alter_role_changes_nothing(
    settings: Settings, database: TestDatabase, way: str
) -> None:
    async with connected(database, "superuser") as altering:
        for role in ("millrace_owner", "millrace_writer", "millrace_reader"):
            for change in AGAINST_US:
                await altering.execute(f"alter role {role} in database {database.name} set {change}")
    mode, ignored = ("transaction", IGNORED) if way == "lax" else (way if way != "direct" else "session", "")
    async with pgbouncer(database.settings, mode, ignored=ignored) as running:
        roles = () if way == "direct" else ("writer", "reader")
        behind = settings.model_copy(update={"database": running.before(*roles)})
        parts = await parts_of(behind)
        try:
            async with parts.store._pool.lent() as connection, connection.writing():
                assert connection.pooled == (way != "direct")
                assert await connection.fetchval("show synchronous_commit") == "on"
                assert await connection.fetchval("show transaction_isolation") == "read committed"
                assert await connection.fetchval("show lock_timeout") == "10s"
                assert await connection.fetchval("show search_path") == "public"
            delivery = Delivery(b"1-0", encode(entry_of([("a'\\", AT, 1.0), ("a", AT, 2.0)])))
            await parts.store.write(Work([(delivery, decode(delivery.fields or {}))]))
            await parts.store.prune(72.0)
        finally:
            parts.store.close()
            await parts.stream.client.aclose()
        async with asking(behind) as client:
            for path in ("get_range", "min", "hourly"):
                found = await client.get(f"/{path}?{RANGE.replace('=a', '=a%27%5C')}")
                assert (found.status_code, "1.0" in found.text) == (200, True), found.text
    assert (await apply(database.settings)).version >= 1


async def test_a_mode_that_holds_no_transaction_together_is_named(timescaledb: TestDatabase) -> None:
    async with pgbouncer(timescaledb.settings, "statement") as running:
        assert "set its pool_mode to transaction or session" in await told(
            Connector(running.before("reader").reader_url, timescaledb.settings)
        )


async def told(connector: Connector, *, session: bool = False) -> str:
    """Return what a service says that it waits for."""
    health = Health("database")
    waiting = asyncio.create_task(wait_for_schema(connector, health, session=session))
    try:
        return await eventually(lambda: health.reasons().get("database", "").removeprefix("starting"), 30)
    finally:
        waiting.cancel()


async def test_the_owner_works_behind_a_pooler_that_keeps_sessions(empty_database: TestDatabase) -> None:
    async with pgbouncer(empty_database.settings, "session") as running:
        applied = await apply(running.before("owner"))
        assert applied.version >= 1
        session = await Connector(
            running.before("owner").owner_url, empty_database.settings, statement_timeout=7000
        ).session()
        try:
            assert session.pooled
            assert await session.fetchval("show statement_timeout") == "7s"
            assert await session.fetchval("show search_path") == "public"
        finally:
            session.terminate()


@pytest.mark.parametrize(("size", "robin"), [(8, 0), (8, 1), (1, 0)])
async def test_an_owner_without_a_session_is_refused_and_the_fix_is_named(
    timescaledb: TestDatabase, size: int, robin: int
) -> None:
    settings = timescaledb.settings.model_copy(update={"connect_timeout": 1.0})
    async with pgbouncer(settings, "transaction", size=size, robin=robin) as running:
        behind = running.before("owner")
        with pytest.raises(SchemaError, match="pool_mode session"):
            await apply(behind)
        assert "pool_mode session" in await told(Connector(behind.owner_url, behind), session=True)


async def test_a_pooler_that_changes_its_mode_under_way_changes_no_answer(timescaledb: TestDatabase) -> None:
    await fill(timescaledb)
    async with pgbouncer(timescaledb.settings, "session") as running:
        settings = query_settings(timescaledb).model_copy(update={"database": running.before("reader")})
        async with asking(settings) as client:

            async def right() -> None:
                answers = await asyncio.gather(*(client.get(f"/{path}?{RANGE}") for path in ("min", "hourly") * 10))
                assert {answer.status_code for answer in answers} == {200}

            await right()
            running.change_mode("transaction")
            await right()
            await right()
