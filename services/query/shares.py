"""Fair shares of a pool's connections: who asks much at once leaves some to others.

A caller is an API key's, or where there are no keys the address that a request comes from. What is beyond a caller's
share waits here and not in the pool's queue, so that nobody stands behind more of it than the share.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass

from fastapi import Request

from services.platform.http.auth import EVERYBODY, caller
from services.platform.http.errors import Problem

__all__ = ["Shares", "asker"]


def asker(request: Request) -> str:
    """Return whose share a request counts to."""
    known = caller(request)
    if known is not EVERYBODY:
        return known.name
    return request.client.host if request.client else ""


@dataclass(slots=True)
class _Share:
    """One caller's: room for questions, and how many there are, waiting ones included."""

    room: asyncio.Semaphore
    asked: int = 0


class Shares:
    """Each caller's share of each pool; both together are a holder."""

    def __init__(self, most: int) -> None:
        """Take how many connections a caller may hold at once."""
        self.most = most
        self._shares: dict[Hashable, _Share] = {}

    @contextlib.asynccontextmanager
    async def turn(self, holder: Hashable, patience: float) -> AsyncIterator[None]:
        """Wait `patience` seconds until a holder has less than its share, and count one question to it meanwhile.

        Raises:
            Problem: rate_limited, the holder had its whole share for so long.
        """
        share = self._shares.setdefault(holder, _Share(asyncio.Semaphore(self.most)))
        share.asked += 1
        try:
            try:
                async with asyncio.timeout(patience):
                    await share.room.acquire()
            except TimeoutError:
                raise Problem(
                    "rate_limited",
                    f"{self.most} questions of this caller are under way, the share of the connections that "
                    "MILLRACE_QUERY_CALLER_SHARE gives; wait until one is answered",
                    {"Retry-After": "1"},
                ) from None
            try:
                yield
            finally:
                share.room.release()
        finally:
            share.asked -= 1
            if not share.asked:
                del self._shares[holder]
