"""Servers of a Citus cluster killed under load, and shards moved: what was acknowledged is there once."""

import os
import signal
from pathlib import Path

import asyncpg

from services.local.citus import Cluster
from services.local.postgres import PostgresServer
from services.platform.settings import Settings
from tests.support import eventually
from tests.support.faults import Failpoints, Make, acknowledged, chance, drained, load, worker
from tests.support.oracle import check
from tests.support.readings import sql

ROWS = 100_000


async def fetch(server: PostgresServer, password: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(server.url("postgres", password))
    try:
        found: list[asyncpg.Record] = await connection.fetch(statement)
        return found
    finally:
        await connection.close()


async def killed_and_started(server: PostgresServer) -> None:
    assert server.process
    server.process.kill()
    await server.ended()
    await server.start()


async def kept(cluster: Cluster, settings: Settings, journal: Path, rows: int) -> None:
    """Hold the journal against the table, once no part of a transaction is in doubt any more."""
    await drained(settings)

    async def settled() -> bool:
        prepared = [await fetch(node, cluster.password, "select from pg_prepared_xacts") for node in cluster.nodes]
        return not any(prepared)

    await eventually(settled, 60)
    verdict = await check(journal, settings.database)
    assert verdict.clean, verdict
    assert (verdict.promised, verdict.stored) == (rows, rows)
    [(ledger,)] = await sql(settings.database, "select sum(rows) from ingest_ledger")
    assert ledger == rows


async def test_row_40_nodes_killed_in_turn_under_load_lose_and_double_nothing(
    cluster: Cluster, settings: Settings, service: Make, tmp_path: Path
) -> None:
    dice = chance()
    journal = tmp_path / "journal"
    kills = 0
    async with service("ingest", settings), service("worker", worker(settings, "w")):
        async with load(settings, journal, 3 * ROWS) as sender:
            while kills < 4 and await acknowledged(journal, sender, dice.randint(50, 150)):
                await killed_and_started(cluster.nodes[kills % 2])
                kills += 1
        await kept(cluster, settings, journal, 3 * ROWS)
    assert kills >= 2
    placed = await fetch(cluster.coordinator, cluster.password, "select distinct nodename, nodeport from citus_shards")
    assert len(placed) == len(cluster.nodes)


async def test_row_40_a_killed_coordinator_loses_and_doubles_nothing(
    cluster: Cluster, settings: Settings, service: Make, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    async with service("ingest", settings), service("worker", worker(settings, "w")):
        async with load(settings, journal, 2 * ROWS) as sender:
            for _ in range(2):
                assert await acknowledged(journal, sender, 100), "the load ended before the fault"
                await killed_and_started(cluster.coordinator)
        await kept(cluster, settings, journal, 2 * ROWS)


async def test_row_41_a_node_killed_between_prepare_and_commit_has_its_part_when_it_is_back(
    cluster: Cluster, settings: Settings, service: Make, tmp_path: Path, failpoints: Failpoints
) -> None:
    first, second = cluster.nodes
    journal, rows = tmp_path / "journal", 2000
    failpoints.arm("worker.before_commit", "stop")
    process = failpoints.given_to(service("worker", worker(settings, "w")))
    async with service("ingest", settings), process:
        async with load(settings, journal, rows):
            await failpoints.fired("worker.before_commit")
            # The second node does not answer PREPARE, so that the first one is prepared and nothing committed yet.
            writing = "select pid from pg_stat_activity where usename = 'millrace_writer' and state like 'idle in%'"
            held = [row["pid"] for row in await fetch(second, cluster.password, writing)]
            assert held
            for pid in held:
                os.kill(pid, signal.SIGSTOP)
            assert process.process
            process.process.send_signal(signal.SIGCONT)
            await eventually(lambda: fetch(first, cluster.password, "select gid from pg_prepared_xacts"), 20)
            await killed_and_started(first)
            assert await fetch(first, cluster.password, "select gid from pg_prepared_xacts")
            for pid in held:
                os.kill(pid, signal.SIGCONT)
        await kept(cluster, settings, journal, rows)


async def test_row_42_a_shard_that_is_moved_under_load_loses_and_doubles_nothing(
    cluster: Cluster, settings: Settings, service: Make, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    async with service("ingest", settings), service("worker", worker(settings, "w")):
        async with load(settings, journal, 6 * ROWS) as sender:
            assert await acknowledged(journal, sender, 50), "the load ended before the fault"
            here, there = (node.port for node in cluster.nodes)
            shards = f"select shardid from citus_shards where nodeport = {here} order by 1 limit 2"
            moved = 0
            for (shard,) in await fetch(cluster.coordinator, cluster.password, shards):
                move = f"select citus_move_shard_placement({shard}, '127.0.0.1', {here}, '127.0.0.1', {there})"
                await fetch(cluster.coordinator, cluster.password, move)
                moved += 1
            assert sender.poll() is None, "the load ended before the shards were moved"
            assert moved == 2
        await kept(cluster, settings, journal, 6 * ROWS)
