"""What is left over when a proof has drained: connections, consumers, ledger rows; memory and descriptors that grew."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
from pydantic import SecretStr
from rich.table import Table

from services.contract import GROUP
from services.local.plan import Plan
from services.platform.postgres.connections import Connector
from services.platform.stream import redis_client

from .watch import Watch, longest_life

__all__ = ["Left", "left_over", "table"]

_GONE_WITHIN = 30.0

_LEDGER = """
select count(*) as rows,
  abs(coalesce(sum(rows), 0) - (select count(*) from sensor_data where sensor_id like 'sensor-%'))::bigint as unmatched
from ingest_ledger where batch_id <> all($1)
"""
_CLIENTS = "select client_port from pg_stat_activity where client_port > 0 and pid <> pg_backend_pid()"


@dataclass(frozen=True, slots=True)
class Left:
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


async def left_over(plan: Plan, others: Sequence[uuid.UUID]) -> Left:
    """Count what is left over of a stack that runs and has drained; what goes within half a minute is none.

    `others` are batches that are not the load's.
    """
    deadline = time.monotonic() + _GONE_WITHIN
    while not (left := await _look(plan, others)).clean and time.monotonic() < deadline:  # noqa: ASYNC110 -- no event tells
        await asyncio.sleep(0.5)
    return left


def table(plan: Plan, watch: Watch, left: Left) -> Table:
    """Return each part's early and late figures, and what is left over."""
    found = Table("part", "memory in MiB", "open descriptors", "longest life: MiB, descriptors", title="early → late")
    for name, samples in watch.samples.items():
        growths = watch.growths(name)
        cells = ["-" if each is None else f"{each}{'' if each.flat else ' GROWS'}" for each in growths.values()]
        memory, memory_life, descriptors, descriptors_life = cells
        age = longest_life(samples)[-1].age
        found.add_row(name, memory, descriptors, f"{age:,.0f} s: {memory_life}, {descriptors_life}")
    workers = sum(service.command == "worker" for service in plan.services)
    found.caption = "\n".join(
        (
            f"database connections without a client: {left.connections}",
            f"consumers beyond the {workers} workers': {', '.join(left.consumers) or 'none'}",
            f"ledger rows: {left.ledger:,}, {left.unmatched:,} readings more or less than the table",
        )
    )
    return found


async def _look(plan: Plan, others: Sequence[uuid.UUID]) -> Left:
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
    workers = {service.name for service in plan.services if service.command == "worker"}
    gone = sum(port not in living for port in clients)
    return Left(gone, tuple(sorted(consumers - workers)), ledger["rows"], ledger["unmatched"])


def _ports(pids: list[int | None]) -> set[int]:
    """Return the local ports of processes' connections."""
    found = set[int]()
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            if pid is not None:
                found |= {each.laddr.port for each in psutil.Process(pid).net_connections("tcp")}
    return found
