"""More nodes of a Citus cluster, each held to a part of a core: what they write together, and what questions take.

The nodes alone are limited. The coordinator, the workers, the stream, the question service and the disk, which all
share, are not; where the machine has no core left for these, they are the limit, and the figures say so.
"""

import asyncio
import contextlib
import dataclasses
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import asyncpg
import httpx
import psutil

from services.local.citus import with_citus
from services.local.postgres import PostgresServer
from services.platform.postgres.capability import capability
from services.platform.runtime.starting import StartError
from services.platform.settings import DatabaseSettings, Settings
from tests.support.citus import standalone_cluster
from tests.support.patience import eventually, free_port
from tests.support.service import Service

from ..asked import Question, by_http, median_ms
from ..bodies import Shape, columns
from ..case import Case, Options
from ..cgroups import Group, limited
from ..figures import Measures
from ..processes import machine_seconds, snapshot
from ..stack import Bench

__all__ = ["CASES"]

NODES = (1, 2, 4)
CORES = 0.2
"""That each node gets."""

SENSORS = 1_000
ROWS = 1_000_000
"""Of each node, as the sensors."""

SHAPE = Shape(10_000, days_ago=2, span=timedelta(days=1))
WORKERS = 2
SENDERS = 4
PATIENCE = 60.0
"""Seconds until the first commit."""

SECONDS = 15.0
"""In which each question is asked again and again."""


HOURS = "select date_bin('1 hour', timestamp, '2000-01-03Z'), avg(value) from sensor_data group by 1 order by 1"
QUESTIONS = {
    "all sensors' hours as one": {"agg": "avg", "bucket": "1h", "by": "all"},
    "each sensor's day": {"agg": "avg,min,max,count", "bucket": "1d"},
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that is measured.

    Attributes:
        bench: its services' settings and its coordinator, and the stream's server.
        servers: the coordinator, then the nodes.
        groups: of the nodes.
    """

    bench: Bench
    servers: Sequence[PostgresServer]
    groups: Sequence[Group]

    def unlimited(self, workers: Sequence[Service]) -> list[psutil.Process]:
        """Return the processes of the coordinator and of workers."""
        return [*_family(self.servers[0]), *(_process(worker.process) for worker in workers)]

    def limited(self) -> list[psutil.Process]:
        """Return the processes of all nodes."""
        return [process for node in self.servers[1:] for process in _family(node)]


async def measure(bench: Bench, _: Options) -> Measures:
    """Write and ask with one, two and four nodes, with as many readings and sensors for each.

    Raises:
        StartError: there is no Citus here, no control group can be made, or readings are not there.
    """
    found: Measures = {}
    for nodes in NODES:
        async with _cluster(bench, nodes) as cluster:
            await _heap_up(cluster, nodes)
            measured = await _drained(cluster, nodes)
            asked = await _asked(cluster)
        found |= {f"nodes={nodes}: {name}": value for name, value in (measured | asked).items()}
        found[f"nodes={nodes}: × linear"] = measured["rows/s"] / (nodes * found["nodes=1: rows/s"])
        for name, milliseconds in asked.items():
            question = name.removesuffix(": ms")
            found[f"nodes={nodes}: {question}: × one node"] = milliseconds / found[f"nodes=1: {name}"]
    return found


@contextlib.asynccontextmanager
async def _cluster(bench: Bench, nodes: int) -> AsyncIterator[Cluster]:
    """Run a cluster in a folder that is removed behind the block, as durable as it is shipped."""
    folder = bench.folder / "citus"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    async with contextlib.AsyncExitStack() as held:
        # Removed last, when nothing runs in them any more.
        groups = [held.enter_context(limited(f"millrace-node-{number}", CORES)) for number in range(1, nodes + 1)]
        made = standalone_cluster(folder, with_citus(bench.settings.pg_bin), {}, nodes)
        servers, database = await held.enter_async_context(made)
        for group, server in zip(groups, servers.nodes, strict=True):
            group.take(_process(server.process))
        connection = await asyncpg.connect(database.superuser_url)
        held.push_async_callback(connection.close)
        own = dataclasses.replace(
            bench,
            settings=_settings(bench.settings, database.settings, nodes),
            database=connection,
            capability=await capability(connection),
        )
        yield Cluster(own, servers.servers, groups)
    shutil.rmtree(folder)


def _settings(settings: Settings, database: DatabaseSettings, nodes: int) -> Settings:
    """Return the services' settings: a stream and ports of their own, and questions about all sensors allowed."""
    ports = {name: {"port": free_port()} for name in ("ingest", "query")}
    more = {"ingest": {"admin_port": free_port()}, "query": {"max_sensors": nodes * SENSORS}}
    changed = {name: getattr(settings, name).model_copy(update=port | more[name]) for name, port in ports.items()}
    redis = settings.redis.model_copy(update={"stream": f"scale_out_{nodes}_{time.time_ns()}"})
    return settings.model_copy(update={"database": database, "redis": redis, **changed})


async def _heap_up(cluster: Cluster, nodes: int) -> None:
    """Send all readings, while no worker runs."""
    bench = cluster.bench
    shape = dataclasses.replace(SHAPE, sensors=nodes * SENSORS)
    bodies = shape.door.bodies(columns(shape, nodes * ROWS), shape.rows)

    async def send(client: httpx.AsyncClient, rest: Iterator[bytes]) -> None:
        for body in rest:
            (await client.post(shape.door.path, content=body, headers=dict(shape.door.headers))).raise_for_status()

    async with (
        Service("ingest", bench.settings, bench.folder / "scale-out.log"),
        httpx.AsyncClient(base_url=bench.ingest, timeout=60.0) as client,
    ):
        await asyncio.gather(*(send(client, bodies) for _ in range(SENDERS)))
    os.sync()
    await bench.database.execute("checkpoint")


async def _drained(cluster: Cluster, nodes: int) -> Measures:
    """Let workers write everything, and measure from the first commit that is seen to the last."""
    bench = cluster.bench
    all_rows = await bench.waiting()
    ports = [free_port() for _ in range(WORKERS)]
    async with contextlib.AsyncExitStack() as held:
        workers = []
        for number, port in enumerate(ports):
            own = bench.settings.worker.model_copy(update={"name": f"worker-{number}", "port": port})
            settings = bench.settings.model_copy(update={"worker": own})
            service = Service("worker", settings, bench.folder / "scale-out.log")
            workers.append(await held.enter_async_context(service))

        async def begun() -> bool:
            return await bench.waiting() < all_rows

        await eventually(begun, PATIENCE, 0.01)
        rows = await bench.waiting()
        began, machine, periods = time.time(), machine_seconds(), [group.throttled() for group in cluster.groups]
        before, nodes_before = snapshot(cluster.unlimited(workers)), snapshot(cluster.limited())
        took = await bench.drained() - began
        cost = before.until(snapshot(cluster.unlimited(workers)))
        nodes_cost = nodes_before.until(snapshot(cluster.limited()))
        worked = machine_seconds()[0] - machine[0]
        waits = [
            (waited - waited_before) / max(wanted - wanted_before, 1)
            for (wanted_before, waited_before), (wanted, waited) in zip(
                periods, [group.throttled() for group in cluster.groups], strict=True
            )
        ]
    stored = await bench.database.fetchval("select count(*) from sensor_data")
    size = await bench.database.fetchval("select sum(shard_size) from citus_shards")
    if stored != nodes * ROWS:
        raise StartError(f"{nodes * ROWS:,} rows were sent, and {stored:,} are stored")
    return {
        "rows/s": rows / took,
        "nodes µs/row": 1e6 * nodes_cost.total / rows,
        "coordinator µs/row": 1e6 * cost.postgres / rows,
        "bytes/row": float(size) / stored,
        "cores of the nodes": nodes_cost.total / took,
        "cores of the coordinator": cost.postgres / took,
        "cores of workers": cost.seconds["worker"] / took,
        "cores of the machine": worked / took,
        "periods in which nodes waited for CPU": sum(waits) / len(waits),
    }


async def _asked(cluster: Cluster) -> Measures:
    """Ask over all sensors, by SQL and by HTTP; return medians in milliseconds."""
    bench = cluster.bench
    await bench.database.execute("vacuum analyze sensor_data")
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    span = {"start": (end - timedelta(days=3)).isoformat(), "end": end.isoformat()}

    async def hours() -> None:
        await bench.database.fetch(HOURS)

    await hours()
    found = {"hourly average of everything, SQL: ms": await median_ms(hours, SECONDS)}
    async with Service("query", bench.settings, bench.folder / "scale-out.log"):
        for name, parameters in QUESTIONS.items():
            path = f"/series?{urlencode({'match': '*', **span, **parameters})}"
            found[f"{name}: ms"] = await by_http(bench, [Question(path, "", ())], SECONDS)
    return found


def _process(process: subprocess.Popen[bytes] | None) -> psutil.Process:
    assert process is not None
    return psutil.Process(process.pid)


def _family(server: PostgresServer) -> list[psutil.Process]:
    postmaster = _process(server.process)
    return [postmaster, *postmaster.children(recursive=True)]


CASES = (
    Case(
        "scale-out",
        "a Citus cluster of one, two and four nodes with a fifth of a core each",
        measure,
        plain=True,
        once=True,
        asked=True,
    ),
)
