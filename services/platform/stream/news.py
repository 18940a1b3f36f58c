"""News of settled batches: workers tell on a channel, requests that wait for `ack=stored` hear."""

import asyncio
import contextlib
import enum
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from redis.asyncio import Redis

from services.contract import StreamNames

from ..outages import Outage
from .connection import STREAM_ERRORS

__all__ = ["Listener", "News", "Outcome", "pack_news", "unpack_news"]


class Outcome(enum.StrEnum):
    """What became of a batch."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class News:
    """What became of a batch: its id, its digest where it has one, the outcome, and for a dead one the reason.

    Id and digest name it together: two bodies may have come with one key, and only one of them was stored.
    """

    batch_id: uuid.UUID
    digest: bytes | None
    outcome: Outcome
    reason: str = ""


def pack_news(news: Sequence[News]) -> bytes:
    """Pack what is published on the settled channel."""
    return msgspec.msgpack.encode([(n.batch_id.bytes, n.digest, n.outcome, n.reason) for n in news])


def unpack_news(message: bytes) -> list[News]:
    """Read a message of the settled channel."""
    items = msgspec.msgpack.decode(message, type=list[tuple[bytes, bytes | None, Outcome, str]])
    return [News(uuid.UUID(bytes=batch_id), digest, outcome, reason) for batch_id, digest, outcome, reason in items]


class Listener:
    """Hears the settled channel for all requests of a process."""

    def __init__(self, client: Redis, names: StreamNames) -> None:
        """Listen with `client`, whose replies may take any time."""
        self._client = client
        self._channel = names.settled
        self._key = names.stream
        self._waiting: dict[tuple[uuid.UUID, bytes | None], list[asyncio.Future[News]]] = {}

    def expect(self, batch_id: uuid.UUID, digest: bytes | None) -> asyncio.Future[News]:
        """Return what will become of a batch; ask before its entry is written, or the news may be missed."""
        name = (batch_id, digest)
        future: asyncio.Future[News] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(name, [])
        waiting.append(future)

        def forget(_: object) -> None:
            waiting.remove(future)
            if not waiting:
                self._waiting.pop(name, None)

        future.add_done_callback(forget)
        return future

    async def run(self) -> None:
        """Listen for ever, through the server's restarts. What is missed meanwhile the ledger still tells."""
        outage = Outage("settled channel")
        while True:
            try:
                async with self._client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(self._channel)
                    outage.over()
                    while True:
                        message = await channel.get_message(timeout=30.0)
                        if message is not None:
                            self._tell(unpack_news(message["data"]))
                        else:
                            # A node that left its cluster would keep the connection and tell nothing more.
                            await self._client.exists(self._key)
            except STREAM_ERRORS as error:
                outage.lasts(f"{type(error).__name__}: {error}")
                with contextlib.suppress(*STREAM_ERRORS):
                    await self._client.connection_pool.disconnect()
                await asyncio.sleep(0.5)

    def _tell(self, news: list[News]) -> None:
        for settled in news:
            for future in list(self._waiting.get((settled.batch_id, settled.digest), ())):
                if not future.done():
                    future.set_result(settled)
