"""All continuous aggregates of a database and how they fare, for people without Kubernetes."""

import asyncpg

from services.platform.postgres.capability import Capability, capability
from services.platform.settings import DatabaseSettings

from ..schema.apply import connected
from .status import AggregateStatus, aggregate_status

__all__ = ["aggregates"]

NAMES = """
select view_name::text
from timescaledb_information.continuous_aggregates
where view_schema = 'public'
order by 1
"""


async def aggregates(settings: DatabaseSettings) -> tuple[Capability, dict[str, AggregateStatus]]:
    """Return what the database of `settings.owner_url` can do, and its continuous aggregates by name.

    Raises:
        SchemaError: the database is away or refuses.
    """
    async with connected(settings.owner_url, settings) as connection:
        able = await capability(connection)
        return able, await _statuses(connection) if able.edition == "full" else {}


async def _statuses(connection: asyncpg.Connection) -> dict[str, AggregateStatus]:
    found = {row[0]: await aggregate_status(connection, row[0]) for row in await connection.fetch(NAMES)}
    return {name: status for name, status in found.items() if status}
