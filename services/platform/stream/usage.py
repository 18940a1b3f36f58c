"""Usage of callers' limits, which ingest processes keep beside the stream for whoever shows it."""

import uuid

from redis.asyncio import Redis

from services.contract import CallerUsage, EntryError, StreamNames, decode_usage, encode_usage

from ..runtime.foreign_content import pass_over
from .scripts import script

__all__ = ["Usages"]

_KEPT = 15.0
"""Seconds after which what a process told counts no more: it has ended, or cannot reach the server."""


class Usages:
    """Tells what this process knows of its callers, and reads what all told."""

    def __init__(self, client: Redis, names: StreamNames) -> None:
        self._key = names.callers
        self._process = uuid.uuid4().hex
        self._tell, self._read = script(client, "tell_usage"), script(client, "usage")

    async def tell(self, callers: list[CallerUsage]) -> None:
        """Keep what is known for a while, in place of what this process told before."""
        await self._tell([self._key], [self._process, int(_KEPT * 1000), encode_usage(callers)])

    async def read(self) -> list[list[CallerUsage]]:
        """Return what each process told of late; what cannot be read is passed over."""
        found = []
        for told in await self._read([self._key], [int(_KEPT * 1000)]):
            try:
                found.append(decode_usage(told))
            except EntryError as error:
                pass_over("usage", self._key, str(error))
        return found
