"""The query service inside a test's own event loop, and rows for it to find."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx

from services.platform.settings import QuerySettings, Settings
from services.query.app import create_app

from .databases import TestDatabase
from .patience import eventually, free_port

__all__ = [
    "EPOCH", "LARGE", "LARGE_ROWS", "STREAMING", "asking", "backends", "fill", "insert", "owner", "query_settings",
    "some_sensor",
]  # fmt: skip

EPOCH = datetime(2025, 10, 22, 21, tzinfo=UTC)

LARGE = 'a "big", one'
LARGE_ROWS = 2_000_000
"""More readings than all buffers between the database and a client hold, in the smallest form too."""

STREAMING = "state = 'active' and query like 'COPY%'"
"""Of a backend that sends a large answer."""


def query_settings(database: TestDatabase, **query: Any) -> Settings:
    """Return the settings of a query service on `database`, on a free port."""
    section = QuerySettings(host="127.0.0.1", port=free_port(), **query)
    return Settings(database=database.settings, query=section)


@contextlib.asynccontextmanager
async def asking(settings: Settings, *, ready: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """Run the app in this process and yield a client of it, once it is `ready`."""
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://query") as client,
    ):

        async def is_ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        if ready:
            await eventually(is_ready)
        yield client


@contextlib.asynccontextmanager
async def owner(database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection of the role that owns the tables."""
    connection = await asyncpg.connect(database.settings.owner_url.get_secret_value())
    try:
        yield connection
    finally:
        await connection.close()


def some_sensor() -> str:
    """Return an id that no other test or example uses."""
    return f"sensor-{uuid.uuid4().hex}"


async def insert(
    connection: asyncpg.Connection, sensor_id: str, rows: Iterable[tuple[timedelta, float]], *, late: bool = False
) -> None:
    """Insert rows at offsets from `EPOCH`; `late` rows with notes of their hours, as the worker writes them."""
    readings = [(EPOCH + offset, sensor_id, value) for offset, value in rows]
    hours = {at.replace(minute=0, second=0, microsecond=0) for at, _, _ in readings} if late else set()
    async with connection.transaction():
        if late:
            await connection.execute("set local millrace.notes = 'own'")
        await connection.executemany(
            "insert into sensor_data (timestamp, sensor_id, value) values ($1, $2, $3)", readings
        )
        await connection.executemany(
            "insert into late_ranges (range_start, range_end) values ($1, $2)",
            [(hour, hour + timedelta(hours=1)) for hour in sorted(hours)],
        )


async def fill(database: TestDatabase, sensor_id: str, numbers: range, divisor: float) -> None:
    """Insert a reading for each number: so many seconds behind `EPOCH`, its value the number by the divisor."""
    async with owner(database) as connected:
        await connected.execute(
            "insert into sensor_data (timestamp, sensor_id, value) "
            "select $1::timestamptz + number * interval '1 second', $2, number / $3::double precision "
            "from generate_series($4::int, $5::int - 1) as number",
            *(EPOCH, sensor_id, divisor, numbers.start, numbers.stop),
        )


async def backends(connection: asyncpg.Connection, where: str) -> list[int]:
    """Return the process ids of the reader's backends for which a condition holds."""
    rows = await connection.fetch(
        "select pid from pg_stat_activity "
        f"where datname = current_database() and usename = 'millrace_reader' and {where}"
    )
    return [row["pid"] for row in rows]
