"""Other stores under the same load: started for one run, asked how much they hold, and what they cost."""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from services.platform.runtime.starting import StartError
from tests.support import free_port

from .bodies import Shape, write_requests
from .doors import LINE
from .figures import Measures
from .processes import held
from .stack import make_empty
from .way import prepared_requests
from .wrk import load

__all__ = ["INFLUXDB", "QUESTDB", "VICTORIAMETRICS", "Peer", "peer_run"]

_READY_WITHIN = 60.0
_VISIBLE_WITHIN = 120.0
_INFLUXDB = """\
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
query-log-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
max-body-size = 0
[monitor]
store-enabled = false
"""


_QUESTDB_JAR = "QUESTDB_JAR"
_QUESTDB = """\
http.bind.to=127.0.0.1:{port}
http.min.enabled=false
pg.enabled=false
line.tcp.enabled=false
telemetry.enabled=false
metrics.enabled=false
"""


@dataclass(frozen=True, slots=True)
class Peer(ABC):
    """A store that takes line protocol.

    Attributes:
        name: as figures call it.
        program: of its Debian package.
        ready: path that answers once it is up.
    """

    name: str
    program: str
    ready: str

    @property
    def installed(self) -> bool:
        """Whether the program is on the path."""
        return shutil.which(self.program) is not None

    @abstractmethod
    def command(self, folder: Path, port: int) -> Sequence[str]:
        """Return how it is started with its data in `folder`."""

    async def prepare(self, client: httpx.AsyncClient) -> None:  # noqa: B027 -- most want nothing
        """Make what it wants before the first line."""

    @abstractmethod
    async def stored(self, client: httpx.AsyncClient) -> int:
        """Return how many rows can be seen."""


class _InfluxDB(Peer):
    def command(self, folder: Path, port: int) -> Sequence[str]:
        configuration = folder / "influxdb.conf"
        configuration.write_text(_INFLUXDB.format(folder=folder, port=port, rpc=free_port()))
        return [self.program, "-config", str(configuration)]

    async def prepare(self, client: httpx.AsyncClient) -> None:
        (await client.post("/query", data={"q": "create database bench"})).raise_for_status()

    async def stored(self, client: httpx.AsyncClient) -> int:
        asked = {"db": "bench", "q": "select count(value) from sensor_data"}
        series = (await client.get("/query", params=asked)).json()["results"][0].get("series")
        return int(series[0]["values"][0][1]) if series else 0


class _VictoriaMetrics(Peer):
    def command(self, folder: Path, port: int) -> Sequence[str]:
        own = [f"-storageDataPath={folder}/data", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=10y"]
        return [self.program, *own]

    async def stored(self, client: httpx.AsyncClient) -> int:
        await client.get("/internal/force_flush")
        lines = (await client.get("/metrics")).text.splitlines()
        counters = (line for line in lines if line.startswith('vm_rows_inserted_total{type="influx"'))
        return sum(round(float(line.rsplit(" ", 1)[1])) for line in counters)


class _QuestDB(Peer):
    """Its jar is named by an environment variable, as no distribution has it."""

    @property
    def installed(self) -> bool:
        return Path(os.environ.get(_QUESTDB_JAR, "")).is_file() and shutil.which(self.program) is not None

    def command(self, folder: Path, port: int) -> Sequence[str]:
        (folder / "conf").mkdir()
        (folder / "conf" / "server.conf").write_text(_QUESTDB.format(port=port))
        started = ["-XX:+UseParallelGC", "-p", os.environ[_QUESTDB_JAR], "-m", "io.questdb/io.questdb.ServerMain"]
        return [self.program, *started, "-d", str(folder)]

    async def prepare(self, client: httpx.AsyncClient) -> None:
        table = "sensor_data (sensor_id symbol capacity 4096 index, value double, timestamp timestamp)"
        await self._asked(client, f"create table {table} timestamp(timestamp) partition by day wal")

    async def stored(self, client: httpx.AsyncClient) -> int:
        return int((await self._asked(client, "select count() from sensor_data"))[0][0])

    @staticmethod
    async def _asked(client: httpx.AsyncClient, statement: str) -> list[list[int]]:
        answer = (await client.get("/exec", params={"query": statement})).raise_for_status()
        rows: list[list[int]] = answer.json().get("dataset", [])
        return rows


INFLUXDB = _InfluxDB("InfluxDB", "influxd", "/ping")
VICTORIAMETRICS = _VictoriaMetrics("VictoriaMetrics", "victoria-metrics", "/health")
QUESTDB = _QuestDB("QuestDB", "java", "/ping")
LINES = LINE._replace(path="/write?db=bench&precision=u")
"""As all of them take them."""


async def peer_run(peer: Peer, rows: int, seconds: float, connections: int, folder: Path) -> Measures:
    """Load a store by so many lines a request and measure until the last of its rows can be seen.

    Raises:
        StartError: it does not start, it refuses some, or rows that it acknowledged cannot be seen.
    """
    requests = folder / "requests"
    async with _running(peer, folder / peer.program) as (process, client):
        url = str(client.base_url).rstrip("/")
        shape = Shape(rows, door=LINES)
        prepared = prepared_requests(rows)
        write_requests(shape, prepared, requests, url.removeprefix("http://"))
        before, began = _spent(process), time.perf_counter()
        sent = await load(url, seconds, connections, requests)
        if sent.refused:
            raise StartError(f"{peer.name} refused {sent.refused} of {sent.requests} requests")
        taken = sent.requests * rows
        # What is sent again in another round is the same readings, which most stores keep once.
        visible = min(sent.requests, prepared) * rows
        until = time.perf_counter() + _VISIBLE_WITHIN
        while (stored := await peer.stored(client)) < visible:
            if time.perf_counter() > until:
                raise StartError(f"{peer.name} acknowledged {visible:,} rows, and {stored:,} can be seen")
            await asyncio.sleep(0.1)
        took, spent, mebibytes = time.perf_counter() - began, _spent(process) - before, held([process])
    return {
        "rows/s": taken / took,
        "requests/s": sent.per_second,
        "all µs/row": 1e6 * spent / taken,
        "all µs/request": 1e6 * spent / sent.requests,
        "MiB": mebibytes,
        "latency p99 ms": sent.p99 / 1000,
        "rounds": sent.rounds,
    }


@contextlib.asynccontextmanager
async def _running(peer: Peer, folder: Path) -> AsyncIterator[tuple[psutil.Process, httpx.AsyncClient]]:
    """Yield a store's process and a client of it; its data are gone behind the block."""
    make_empty(folder)
    port = free_port()
    with (folder / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*peer.command(folder, port), stdout=log, stderr=log)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            deadline = time.monotonic() + _READY_WITHIN
            while not await _answers(client, peer.ready):
                if process.returncode is not None or time.monotonic() > deadline:
                    raise StartError(f"{peer.name} does not start; see {folder / 'log'}")
                await asyncio.sleep(0.1)
            await peer.prepare(client)
            yield psutil.Process(process.pid), client
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()
    shutil.rmtree(folder, ignore_errors=True)


async def _answers(client: httpx.AsyncClient, path: str) -> bool:
    try:
        return (await client.get(path)).is_success
    except httpx.TransportError:
        return False


def _spent(process: psutil.Process) -> float:
    """Return the CPU seconds that a process has had."""
    times = process.cpu_times()
    return times.user + times.system
