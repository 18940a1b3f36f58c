"""The worker's parts, put together as the process does it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.contract import StreamNames
from services.platform.postgres.connections import Connector
from services.platform.postgres.schema import wait_for_schema
from services.platform.runtime.health import Health
from services.platform.settings import Settings, WorkerSettings
from services.platform.stream import DeadLetters, Stream, redis_client
from services.worker.transaction import Store

__all__ = ["Parts", "Start", "parts_of"]

Start = Callable[..., Awaitable[Health]]
"""Starts a worker's loop with changed settings, and returns its health."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A worker's stream with its own connection, its dead letters and its store."""

    stream: Stream
    letters: DeadLetters
    store: Store


async def parts_of(settings: Settings, worker: WorkerSettings | None = None, health: Health | None = None) -> Parts:
    """Return the parts once the database is ready; nothing works yet."""
    worker, health = worker or settings.worker, health or Health()
    capability = await wait_for_schema(Connector(settings.database.writer_url, settings.database), health)
    stream = Stream(redis_client(settings.redis, patience=1.0), StreamNames(settings.redis.stream))
    letters = DeadLetters(stream.client, stream.names)
    return Parts(stream, letters, Store(settings.database, worker, capability))
