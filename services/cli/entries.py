"""`millrace entries`: shows the stream, its dead letters or what workers hold, as text, and changes nothing."""

from collections.abc import AsyncIterator, Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from services.platform.settings import RedisSettings

from .process import command, fail, printable

if TYPE_CHECKING:
    from services.platform.stream import Stream

__all__ = ["Which", "entries", "lines", "show"]


class Which(Enum):
    """Which entries are meant."""

    ALL = "the stream"
    DEAD = "the dead letters"
    PENDING = "what workers hold"


def entries(
    *,
    count: Annotated[int, typer.Option(min=1, help="Entries to show, the oldest first.")] = 10,
    rows: Annotated[int, typer.Option(min=0, help="Rows to show of each.")] = 3,
    dead: Annotated[bool, typer.Option("--dead", help="Show dead letters.")] = False,
    pending: Annotated[bool, typer.Option("--pending", help="Show what workers hold, and for how long.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object a line.")] = False,
) -> None:
    """Show what stands in the stream, in clear."""
    import asyncio

    from services.platform.stream import STREAM_ERRORS

    if dead and pending:
        raise typer.BadParameter("--dead and --pending exclude each other")
    which = Which.DEAD if dead else Which.PENDING if pending else Which.ALL
    with command() as settings:
        try:
            asyncio.run(show(settings.redis, which, count=count, rows=rows, as_json=as_json))
        except STREAM_ERRORS as error:
            raise fail(f"the stream's server: {error}") from None


async def show(settings: RedisSettings, which: Which, *, count: int, rows: int, as_json: bool) -> None:
    """Write the oldest `count` entries to standard output, as text or as one JSON object a line.

    Raises:
        redis.exceptions.RedisError: the server is away, or has no such group.
    """
    from services.platform.stream import Stream, names_of, redis_client

    client = redis_client(settings)
    try:
        stream = Stream(client, names_of(settings))
        found = False
        async for entry in _found(stream, which, count, rows):
            found = True
            typer.echo(orjson.dumps(entry) if as_json else "\n".join(lines(entry)))
        if not found:
            typer.echo(f"nothing stands in {which.value} ({settings.stream})", err=True)
    finally:
        await client.aclose()


async def _found(stream: "Stream", which: Which, count: int, rows: int) -> AsyncIterator[dict[str, Any]]:
    from services.contract import GROUP, readable_entry

    client: Any = stream.client  # redis-py says that any reply may be text
    names = stream.names
    if which is not Which.PENDING:
        # One at a time: an entry may have megabytes.
        after = "-"
        name = names.dead if which is Which.DEAD else names.stream
        while count and (read := await client.xrange(name, after, count=1)):
            (entry_id, fields), count = read[0], count - 1
            after = f"({entry_id.decode()}"
            yield readable_entry(entry_id, fields, rows)
        return
    for held in await client.xpending_range(names.stream, GROUP, "-", "+", count):
        entry_id = held["message_id"]
        read = await client.xrange(names.stream, entry_id, entry_id)
        entry = readable_entry(entry_id, read[0][1], rows) if read else {"id": entry_id.decode(), "problem": "deleted"}
        idle = held["time_since_delivered"] / 1000
        yield entry | {
            "consumer": held["consumer"].decode(errors="backslashreplace"),
            "idle_seconds": idle,
            "deliveries": held["times_delivered"],
        }


def lines(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield a clear entry as lines of text: itself first, then its batches and rows, indented."""
    details = {name: value for name, value in entry.items() if name not in {"id", "batches", "first_rows"}}
    yield f"{entry['id']}  {_pairs(details)}"
    for batch in entry.get("batches", []):
        yield f"  batch {_pairs(batch)}"
    for row in entry.get("first_rows", []):
        yield f"    {row['timestamp']}  {row['value']!r}  {printable(row['sensor_id'])}"


def _pairs(values: Mapping[str, Any]) -> str:
    return printable("  ".join(f"{name}={value}" for name, value in values.items() if value not in {None, "", False}))
