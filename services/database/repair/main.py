"""Repair and all other upkeep of the database as a process of its own, for where there is no operator."""

import asyncio

import uvloop

from services.platform.http.serving import health_app, serving, stop_signal
from services.platform.postgres.capability import Capability
from services.platform.postgres.connections import Connector
from services.platform.postgres.schema import wait_for_schema
from services.platform.settings import DatabaseSettings, Settings

from ..partitions.loop import PartitionLoop
from ..tier.loop import TierLoop
from .catalogue import CatalogueLoop
from .deletions import DeletionLoop
from .loop import RepairLoop, repair_health

__all__ = ["run_repair"]


def run_repair(settings: Settings) -> None:
    """Refresh late ranges, carry out deletions, fill the catalogue and the rest until SIGTERM or SIGINT.

    Raises:
        StartError: the health port is taken.
    """
    uvloop.run(_repair(settings))


async def _repair(settings: Settings) -> None:
    stop, own, health = stop_signal(), settings.repair, repair_health(settings)

    async def database() -> tuple[DatabaseSettings, Capability]:
        owner = Connector(settings.database.owner_url, settings.database)
        return settings.database, await wait_for_schema(owner, health, session=True)

    async with serving(health_app("Millrace repair", health), own.host, own.port, "MILLRACE_REPAIR_PORT"):
        kinds = (RepairLoop, DeletionLoop, CatalogueLoop)
        loops = [asyncio.create_task(kind(own, health, database).run()) for kind in kinds]
        loops.append(asyncio.create_task(PartitionLoop(health, database).run()))
        loops.append(asyncio.create_task(TierLoop(settings.tier, health, database).run()))
        await asyncio.wait((*loops, asyncio.create_task(stop.wait())), return_when=asyncio.FIRST_COMPLETED)
        for loop in loops:
            loop.cancel()
        await asyncio.wait(loops)
    for loop in loops:
        if not loop.cancelled():
            loop.result()
