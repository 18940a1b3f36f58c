"""Settlement events: workers publish them on a channel, and who waits for `ack=stored` is woken."""

import asyncio
import contextlib
import uuid
import weakref

import structlog
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from services.contract import EntryError, StreamNames, decode_settlement

from ..runtime.foreign_content import pass_over
from .connection import STREAM_ERRORS

__all__ = ["Listener"]

log = structlog.get_logger(__name__)


class Listener:
    """Hears the settled channel for all requests of a process."""

    def __init__(self, client: Redis, names: StreamNames) -> None:
        """Listen with `client`, whose replies may take any time."""
        self._client = client
        self._channel = names.settled
        self._key = names.stream
        self._waiting: weakref.WeakValueDictionary[uuid.UUID, asyncio.Event] = weakref.WeakValueDictionary()

    def expect(self, batch_id: uuid.UUID) -> asyncio.Event:
        """Return what is set when a batch is said to be settled, for as long as somebody keeps it.

        Ask before the entry is written, or the event may be missed. It proves nothing: the ledger does.
        """
        return self._waiting.setdefault(batch_id, asyncio.Event())

    async def run(self) -> None:
        """Listen for ever, through the server's restarts. What is missed meanwhile the ledger still tells."""
        heard = lost = False
        while True:
            try:
                async with self._client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(self._channel)
                    if lost:
                        log.info("hears the settled channel", action="listen")
                    heard, lost = True, False
                    while True:
                        message = await channel.get_message(timeout=30.0)
                        if message is not None:
                            self._hear(message["data"])
                        else:
                            # A node that left its cluster would keep the connection and tell nothing more.
                            await self._client.exists(self._key)
            except STREAM_ERRORS as error:
                if not lost:
                    # Where everything is just starting the server comes last, and nothing is lost.
                    starting = not heard and isinstance(error, RedisConnectionError)
                    tell = log.info if starting else log.warning
                    tell("does not hear the settled channel", action="listen", error=str(error))
                    lost = True
                with contextlib.suppress(*STREAM_ERRORS):
                    await self._client.connection_pool.disconnect()
                await asyncio.sleep(0.5)

    def _hear(self, message: bytes) -> None:
        try:
            event = decode_settlement(message)
        except EntryError as error:
            pass_over("settlement_event", self._channel, str(error))
            return
        for batch_id in event.batch_ids:
            woken = self._waiting.get(batch_id)
            if woken is not None:
                woken.set()
