"""A database goes to another major version of PostgreSQL by the very commands of docs/upgrade-and-backup.md."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from services.database.schema.apply import apply
from services.local.credentials import credentials
from services.local.postgres import PostgresServer
from services.platform.settings import RedisSettings, Settings
from services.prove.verdict import judge
from tests.conftest import whole
from tests.support import TestDatabase, eventually, free_port
from tests.support.faults import Failpoints, Make, acknowledged, drained, ended, load, worker
from tests.support.late import filled
from tests.support.person import commands
from tests.support.proxy import moved
from tests.support.readings import sql
from tests.support.repeats import ROUND, SENDERS
from tests.support.servers import OPTIONS, standalone, two_majors

STILL = {"timescaledb.max_background_workers": "0"}
"""Options of servers on which no policy runs between the looks at what is there."""
PAGE = "upgrade-and-backup.md"
ROWS = 60_000
HISTORY = """
insert into sensor_data (timestamp, sensor_id, value)
select timestamptz '2026-01-05 00:00Z' + minute * interval '1 minute', 'boiler-' || boiler, minute / 7.0
from generate_series(0, 60 * 24 * 30) as minute, generate_series(1, 3) as boiler
"""
COMPRESS = """
select compress_chunk(chunk) from show_chunks('sensor_data', older_than => timestamptz '2026-02-01 00:00Z') as chunk
"""


def hashed(source: str) -> str:
    """Return a query for how many rows a source has, and a hash of all of them."""
    return f"select count(*), sum(hashtextextended(source::text, 0)) from ({source}) as source"


SAME: Mapping[str, str] = {
    **{name: hashed(f"select * from {name}") for name in (
        "sensor_data", "ingest_ledger", "ingest_recent", "sensors", "late_ranges", "deletions", "dropped_ranges",
        "schema_migrations", "measurement_hourly", "sensor_rollup_15m",
    )},
    "chunks": hashed(
        "select hypertable_name, chunk_name, range_start, range_end, is_compressed from timescaledb_information.chunks"
    ),
    "settings of the columnstore": hashed("select * from timescaledb_information.hypertable_columnstore_settings"),
    "aggregates": hashed(
        "select view_name, materialized_only, compression_enabled, materialization_hypertable_name, view_definition "
        "from timescaledb_information.continuous_aggregates"
    ),
    "policies": hashed(
        "select job_id, proc_name, schedule_interval, config, hypertable_name, owner, scheduled "
        "from timescaledb_information.jobs"
    ),
    "identity columns and their sequences": hashed(
        "select table_name, column_name, identity_generation, "
        "(select last_value from pg_sequences "
        " where pg_get_serial_sequence(table_name, column_name) = concat(schemaname, '.', sequencename)) "
        "from information_schema.columns where table_schema = 'public' and is_identity = 'YES'"
    ),
    "functions": hashed(
        "select oid::regprocedure, prosrc, prosecdef, proconfig, "
        "(select array_agg(one order by one::text) from unnest(proacl) as one) from pg_proc "
        "where pronamespace = 'public'::regnamespace "
        "and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e')"
    ),
    "rights": hashed(
        "select grantee, table_name, privilege_type from information_schema.role_table_grants "
        "where grantee like 'millrace%' and table_schema = 'public' and privilege_type <> 'MAINTAIN'"
    ),
    "indexes": hashed("select indexname, indexdef from pg_indexes where schemaname = 'public'"),
    "constraints": hashed(
        "select conrelid::regclass, conname, pg_get_constraintdef(oid) from pg_constraint "
        "where connamespace = 'public'::regnamespace and contype <> 'n'"
    ),
}  # fmt: skip
"""What must be the same in both. From 17 on there are rights to maintain, from 18 on constraints that say not null."""

MAY_BE_EMPTY = {"deletions", "dropped_ranges", "late_ranges"}


async def what_is_in(url: str) -> dict[str, Any]:
    """Return of each thing how much there is, and a hash of it."""
    connection = await asyncpg.connect(url, server_settings={"timezone": "UTC"})
    try:
        return {name: tuple(await connection.fetchrow(query)) for name, query in SAME.items()}
    finally:
        await connection.close()


async def asked(settings: Settings, service: Make) -> list[Any]:
    """Return what a query service answers about the history and about all that was measured."""
    questions = (
        "/hourly?sensor_id=boiler-1",
        "/series?match=boiler-*&agg=avg,max,count&bucket=1d&start=2026-01-01T00:00:00Z&end=2026-03-01T00:00:00Z",
        "/get_range?sensor_id=boiler-2&start=2026-01-06T00:00:00Z&end=2026-01-06T06:00:00Z",
        "/sensors",
    )
    async with service("query", settings) as query, httpx.AsyncClient(base_url=query.url, timeout=60) as client:
        answers = [await client.get(question) for question in questions]
    assert [answer.status_code for answer in answers] == [200] * len(questions)
    return [answer.json()["data"] if "series" in question else answer.json() for question, answer in zip(
        questions, answers, strict=True
    )]  # fmt: skip


@pytest.fixture
async def old(open_folder: Path) -> AsyncIterator[TestDatabase]:
    """A database on the older version."""
    async with standalone(open_folder, "timescaledb", two_majors()[0], **STILL) as made:
        yield made


@pytest.fixture
async def new(old: TestDatabase, open_folder: Path) -> AsyncIterator[PostgresServer]:  # noqa: ARG001 -- its passwords
    """An empty server of the newer version."""
    password = credentials(open_folder / "credentials.json").superuser
    server = PostgresServer(open_folder / "new" / "data", free_port(), two_majors()[1], password, {**OPTIONS, **STILL})
    await server.start()
    yield server
    await server.stop()


def led_to(server: PostgresServer, settings: Settings) -> Settings:
    """Return the settings with their database on another server."""
    for role in ("owner", "writer", "reader"):
        settings = moved(settings, server.port, role)
    return settings


def types(script: str, folder: Path, old: PostgresServer, new: PostgresServer) -> None:
    """Run the commands in a folder, with the programs of the newer version; each must go well."""
    variables = {
        "PATH": f"{new.installation.bin}{os.pathsep}{os.environ['PATH']}",
        "OLD": old.superuser_url.removesuffix("/postgres"),
        "NEW": new.superuser_url.removesuffix("/postgres"),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


async def test_a_database_moves_to_a_newer_postgresql_under_load_and_is_the_same_there(
    old: TestDatabase, new: PostgresServer, redis_settings: RedisSettings, service: Make, tmp_path: Path
) -> None:
    failpoints = Failpoints(tmp_path / "failpoints")
    settings, journal = whole(old, redis_settings), tmp_path / "journal"
    there = led_to(new, settings)
    agent = SENDERS["ingest, each reading"]
    keyed = agent._replace(path="/ingest", headers={**agent.headers, "idempotency-key": "order-1"})
    await sql(settings.database, HISTORY)
    await sql(settings.database, COMPRESS)
    for name in ("measurement_hourly", "sensor_rollup_15m"):
        await filled(old, name)
    last = failpoints.given_to(service("worker", worker(settings, "w")))
    async with service("ingest", settings) as ingest, last:
        await agent.post(ingest.url, 0)
        await keyed.post(ingest.url, 1)
        await drained(settings)
        async with load(settings, journal, ROWS) as sender:
            assert await acknowledged(journal, sender, 100), "the load ended before the move"
            # What the last worker had stored and not acknowledged moves with the ledger, and comes again.
            failpoints.arm("worker.after_commit", "kill")
            await eventually(lambda: ended(last), 60.0)
            before, answers = await what_is_in(old.superuser_url), await asked(settings, service)
            [script] = commands(PAGE, "From server to server,")
            await asyncio.to_thread(types, script, tmp_path, old.server, new)
            after = await what_is_in(new.superuser_url.removesuffix("postgres") + "sensors")
            assert {name: (before[name], after[name]) for name in before if before[name] != after[name]} == {}
            assert {name for name, (count, _) in before.items() if not count} <= MAY_BE_EMPTY
            assert await asked(there, service) == answers
            await old.server.stop()
            # What was stored before the move comes again while no ledger can be asked.
            await agent.post(ingest.url, 0, 2)
            await keyed.post(ingest.url, 1)
            async with service("worker", worker(there, "w")):
                await asyncio.to_thread(sender.wait)
                await drained(there)
        verdict = await judge(journal, there.database)
    assert verdict.clean, verdict
    assert (verdict.promised, verdict.stored) == (ROWS, ROWS)
    mine = "select value from sensor_data where sensor_id not like 'boiler-%' and sensor_id not like 'sensor-%'"
    assert sorted(round(row["value"]) for row in await sql(there.database, mine)) == list(range(3 * ROUND))
    assert (await apply(there.database)).did == ()
    [ids] = await sql(there.database, "select count(*) = count(distinct id) as distinct from sensor_data")
    assert ids["distinct"]
