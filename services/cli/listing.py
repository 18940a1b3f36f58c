"""`millrace entries`: reads the stream, its dead letters or what workers hold, and changes nothing."""

from collections.abc import AsyncIterator
from enum import Enum
from typing import Any

import orjson
import typer

from services.contract import GROUP, clear
from services.platform.settings import RedisSettings
from services.platform.stream import Stream, names_of, redis_client

from .entries import lines

__all__ = ["Which", "show"]


class Which(Enum):
    """Which entries are meant."""

    ALL = "the stream"
    DEAD = "the dead letters"
    PENDING = "what workers hold"


async def show(settings: RedisSettings, which: Which, *, count: int, rows: int, as_json: bool) -> None:
    """Write the oldest `count` entries to standard output, as text or as one JSON object a line.

    Raises:
        redis.exceptions.RedisError: the server is away, or has no such group.
    """
    client = redis_client(settings)
    try:
        stream = Stream(client, names_of(settings))
        found = False
        async for entry in _entries(stream, which, count, rows):
            found = True
            typer.echo(orjson.dumps(entry) if as_json else "\n".join(lines(entry)))
        if not found:
            typer.echo(f"nothing stands in {which.value} ({settings.stream})", err=True)
    finally:
        await client.aclose()


async def _entries(stream: Stream, which: Which, count: int, rows: int) -> AsyncIterator[dict[str, Any]]:
    client: Any = stream.client  # redis-py says that any reply may be text
    names = stream.names
    if which is not Which.PENDING:
        # One at a time: an entry may have megabytes.
        after = "-"
        name = names.dead if which is Which.DEAD else names.stream
        while count and (read := await client.xrange(name, after, count=1)):
            (entry_id, fields), count = read[0], count - 1
            after = f"({entry_id.decode()}"
            yield clear(entry_id, fields, rows)
        return
    for held in await client.xpending_range(names.stream, GROUP, "-", "+", count):
        entry_id = held["message_id"]
        read = await client.xrange(names.stream, entry_id, entry_id)
        entry = clear(entry_id, read[0][1], rows) if read else {"id": entry_id.decode(), "problem": "deleted"}
        idle = held["time_since_delivered"] / 1000
        yield entry | {
            "consumer": held["consumer"].decode(errors="backslashreplace"),
            "idle_seconds": idle,
            "deliveries": held["times_delivered"],
        }
