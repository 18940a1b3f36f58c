"""Readings that go to the cold tier, and what moves them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from services.database.tier.loop import Pass, owner_of, pass_once
from services.platform.postgres.capability import capability
from services.platform.postgres.connections import Connection, Connector
from services.platform.settings import Settings
from services.platform.tier.storage import open_storage

from .databases import TestDatabase
from .late import filled

__all__ = ["computed", "files_in", "moved", "owning", "tiered"]


def tiered(settings: Settings, folder: Path) -> Settings:
    """Return settings with a tier below a folder."""
    tier = settings.tier.model_copy(update={"location": folder.as_uri(), "grace": 3600.0, "interval": 0.2})
    return settings.model_copy(update={"tier": tier})


@asynccontextmanager
async def owning(settings: Settings) -> AsyncIterator[Connection]:
    """Yield the session that takes passes."""
    connection = await owner_of(Connector(settings.database.owner_url, settings.database)).session()
    try:
        yield connection
    finally:
        await connection.close()


async def computed(database: TestDatabase) -> None:
    """Have all aggregates computed."""
    for name in ("measurement_hourly", "sensor_rollup_15m"):
        await filled(database, name)


async def moved(settings: Settings, after: str = "30 days", settled: timedelta = timedelta(0)) -> Pass:
    """Take one pass."""
    storage = open_storage(settings.tier.location)
    async with owning(settings) as connection:
        await connection.execute("update tier_policy set after = $1::text::interval", after)
        done = await pass_once(connection, await capability(connection), storage, settings.tier.grace, settled)
    assert done is not None
    return done


def files_in(folder: Path) -> set[str]:
    """Return the paths of the files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*.parquet")}
