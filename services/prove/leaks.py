"""Leaks: memory and descriptors that grow while a proof runs, and what is left over when it has drained.

A part that is killed begins a new life. So growth is looked for twice: over the run, whatever life a sample is of,
and over the longest life of each part. Left over may be connections, consumers and ledger rows.
"""

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Literal, get_args

import psutil
from pydantic import SecretStr
from rich.table import Table

from services.contract import GROUP
from services.local.plan import Plan
from services.platform.postgres.connections import Connector
from services.platform.stream import redis_client

from .harness import settled

__all__ = [
    "Figure",
    "Growth",
    "Leftovers",
    "Sample",
    "Watch",
    "growth",
    "leaks_table",
    "left_over",
    "longest_life",
]

Figure = Literal["memory", "descriptors"]

SETTLED_AFTER = 10.0
"""Seconds of a life in which a part still loads, connects and fills its caches."""

FEWEST = 12
"""Settled samples below which nothing is said about growth."""

_SLACK: Mapping[Figure, float] = {"memory": 32, "descriptors": 8}
_EVERY = 1.0
_MIB = 1024 * 1024

_GONE_WITHIN = 30.0

_LEDGER = """
select count(*) as rows,
  abs(coalesce(sum(rows), 0) - (select count(*) from sensor_data where sensor_id like 'sensor-%'))::bigint as unmatched
from ingest_ledger where batch_id <> all($1)
"""
# Nodes of Citus hold connections to each other.
_CLIENTS = """
select client_port from pg_stat_activity
where client_port > 0 and pid <> pg_backend_pid() and application_name not like 'citus%'
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """A part at one instant: when its process began and for how long it has lived, in seconds.

    `memory` is its own in MiB, with that of its children; what processes share, such as PostgreSQL's buffers, is not
    counted. `descriptors` are its own alone: PostgreSQL's children keep a thousand files open each, as a cache.
    """

    born: float
    age: float
    memory: float
    descriptors: float


@dataclass(frozen=True, slots=True)
class Growth:
    """Medians of the second and of the last quarter of some samples."""

    early: float
    late: float
    slack: float

    @property
    def flat(self) -> bool:
        """Whether the late figure is above the early one by no more than what comes and goes with the backlog."""
        return self.late <= 1.15 * self.early + self.slack

    def __str__(self) -> str:
        return f"{self.early:,.0f} → {self.late:,.0f}"


class Watch:
    """Samples of each part, taken once a second."""

    def __init__(self) -> None:
        self.samples: dict[str, list[Sample]] = {}

    async def follow(self, plan: Plan, sender: int) -> None:
        """Look at the parts of `plan`, at the sender and at this process, for ever."""
        while True:
            pids = {part.name: part.pid for part in plan.parts}
            await asyncio.to_thread(self.look, {**pids, "sender": sender, "this command": os.getpid()})
            await asyncio.sleep(_EVERY)

    def look(self, pids: Mapping[str, int | None]) -> None:
        """Add a sample of each process that is there."""
        for name, pid in pids.items():
            # It may have ended meanwhile.
            with contextlib.suppress(psutil.Error):
                if pid is not None:
                    self.samples.setdefault(name, []).append(_sample(psutil.Process(pid)))

    def growths(self, name: str) -> dict[tuple[Figure, str], Growth | None]:
        """Return the growth of each figure of a part over the "run" and over its longest "life"."""
        samples = self.samples.get(name, [])
        spans = {"run": samples, "life": longest_life(samples)}
        return {(figure, span): growth(spans[span], figure) for figure in get_args(Figure) for span in spans}

    @property
    def flat(self) -> bool:
        """Whether nothing grew, as far as there were samples enough to tell."""
        return all(found is None or found.flat for name in self.samples for found in self.growths(name).values())


def longest_life(samples: Iterable[Sample]) -> list[Sample]:
    """Return the samples of the process that lived longest; `samples` are in the order in which they were taken."""
    lives = (list(life) for _, life in groupby(samples, key=lambda sample: sample.born))
    return max(lives, key=lambda life: life[-1].age, default=[])


def growth(samples: Sequence[Sample], figure: Figure) -> Growth | None:
    """Compare the last quarter of the settled samples with the second; None where there are too few of them."""
    values: list[float] = [getattr(sample, figure) for sample in samples if sample.age >= SETTLED_AFTER]
    count = len(values)
    if count < FEWEST:
        return None
    return Growth(median(values[count // 4 : count // 2]), median(values[3 * count // 4 :]), _SLACK[figure])


def _sample(process: psutil.Process) -> Sample:
    born, memory = process.create_time(), _own(process)
    # This command's children are parts themselves.
    for child in () if process.pid == os.getpid() else process.children(recursive=True):
        # PostgreSQL's come and go.
        with contextlib.suppress(psutil.Error):
            memory += _own(child)
    return Sample(born, time.time() - born, memory, process.num_fds())


def _own(process: psutil.Process) -> float:
    found = process.memory_info()
    return (found.rss - found.shared) / _MIB


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What stands when all has drained.

    Attributes:
        connections: of the database, whose client is gone.
        consumers: names in the group that no worker has.
        ledger: rows of the ledger.
        unmatched: by how many readings the ledger and the table differ.
    """

    connections: int
    consumers: tuple[str, ...]
    ledger: int
    unmatched: int

    @property
    def clean(self) -> bool:
        """Whether nothing is left over."""
        return not (self.connections or self.consumers or self.unmatched)


async def left_over(plan: Plan, others: Sequence[uuid.UUID]) -> Leftovers:
    """Count what is left over of a stack that runs and has drained; what goes within half a minute is none.

    `others` are batches that are not the load's.
    """
    return await settled(lambda: _look(plan, others), lambda left: left.clean, _GONE_WITHIN)


def leaks_table(plan: Plan, watch: Watch, left: Leftovers) -> Table:
    """Return each part's early and late figures, and what is left over."""
    found = Table("part", "memory in MiB", "open descriptors", "longest life: MiB, descriptors", title="early → late")
    for name, samples in watch.samples.items():
        growths = watch.growths(name)
        cells = ["-" if each is None else f"{each}{'' if each.flat else ' GROWS'}" for each in growths.values()]
        memory, memory_life, descriptors, descriptors_life = cells
        age = longest_life(samples)[-1].age
        found.add_row(name, memory, descriptors, f"{age:,.0f} s: {memory_life}, {descriptors_life}")
    workers = sum(service.workload == "worker" for service in plan.services)
    found.caption = "\n".join(
        (
            f"database connections without a client: {left.connections}",
            f"consumers beyond the {workers} workers': {', '.join(left.consumers) or 'none'}",
            f"ledger rows: {left.ledger:,}, {left.unmatched:,} readings more or less than the table",
        )
    )
    return found


async def _look(plan: Plan, others: Sequence[uuid.UUID]) -> Leftovers:
    database, redis = plan.settings.database, plan.settings.redis
    living = await asyncio.to_thread(_ports, [service.pid for service in plan.services])
    # Only a superuser is shown the ports of all.
    superuser = plan.postgres.url("postgres", plan.credentials.superuser)
    asking = await Connector(SecretStr(superuser), database).connect()
    try:
        clients = [row["client_port"] for row in await asking.fetch(_CLIENTS)]
        ledger = await asking.fetchrow(_LEDGER, others)
    finally:
        await asking.close()
    async with redis_client(redis) as client:
        consumers = {each["name"].decode() for each in await client.xinfo_consumers(redis.stream, GROUP)}
    workers = {service.name for service in plan.services if service.workload == "worker"}
    gone = sum(port not in living for port in clients)
    return Leftovers(gone, tuple(sorted(consumers - workers)), ledger["rows"], ledger["unmatched"])


def _ports(pids: list[int | None]) -> set[int]:
    """Return the local ports of processes' connections."""
    found = set[int]()
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            if pid is not None:
                found |= {each.laddr.port for each in psutil.Process(pid).net_connections("tcp")}
    return found
