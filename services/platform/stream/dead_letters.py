"""Dead letters: what could not be stored, in a stream of their own, to be seen, replayed and deleted."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from services.contract import StreamNames

from .scripts import script

__all__ = ["FIRST", "DeadLetters", "Letter", "LetterGoneError", "Page", "Search"]

FIRST = "0-0"
"""An id before that of every letter."""

_LOOKED_AT = 1000
"""Letters that one page reads at most: the server does nothing else meanwhile."""


class LetterGoneError(Exception):
    """The dead letter was replayed or deleted meanwhile."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter without its payload.

    Attributes:
        letter_id: its id in the stream of dead letters.
        reason: a code, such as "refused".
        detail: what was wrong.
        origin: the id that its entry had in the stream.
        batch_id: None for a damaged entry.
        rows: as its entry names them, 0 where it is damaged.
        bytes: of the payload.
    """

    letter_id: str
    reason: str
    detail: str
    origin: str
    batch_id: uuid.UUID | None
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Search:
    """Which letters are meant: all behind `after`, up to and with `through`, that have the reason and the batch id."""

    after: str = FIRST
    through: str = "+"
    reason: str = ""
    batch_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Letters found, the oldest first, and the id to go on from; None where all have been looked at."""

    letters: list[Letter]
    next: str | None


class DeadLetters:
    """Reads and removes dead letters. Workers write them as they settle; `Stream.add` replays one."""

    def __init__(self, client: Redis, names: StreamNames) -> None:
        self._client = client
        self._name = names.dead
        self._page = script(client, "dead_letters")

    async def count(self) -> int:
        """Return how many there are."""
        return int(await self._client.xlen(self._name))

    async def last(self) -> str:
        """Return the id of the newest, `FIRST` where there is none."""
        newest: Any = await self._client.xrevrange(self._name, count=1)
        return newest[0][0].decode() if newest else FIRST

    async def page(self, search: Search, most: int) -> Page:
        """Find at most `most` letters, looking at no more than a thousand: a page may be empty and not the last."""
        batch_id = str(search.batch_id or "")
        arguments: list[str | int] = [search.after, search.through, most, _LOOKED_AT, search.reason, batch_id]
        after, found = await self._page([self._name], arguments)
        return Page([_letter(*item) for item in found], after.decode() or None)

    async def read(self, letter_id: str) -> dict[bytes, bytes] | None:
        """Return all fields of a letter, None where it is gone."""
        found: Any = await self._client.xrange(self._name, letter_id, letter_id)
        return found[0][1] if found else None

    async def delete(self, letter_ids: Sequence[str]) -> int:
        """Delete letters; return how many were still there."""
        return int(await self._client.xdel(self._name, *letter_ids)) if letter_ids else 0

    async def expire(self, age: float) -> int:
        """Delete letters that were written `age` seconds ago or earlier, by the server's clock; return how many."""
        seconds, microseconds = await self._client.time()
        oldest = max(0, int((seconds - age) * 1000) + microseconds // 1000)
        return int(await self._client.xtrim(self._name, minid=oldest, approximate=False))


def _letter(letter_id: bytes, size: int, shown: Sequence[bytes]) -> Letter:
    reason, detail, origin, batch, rows = (value.decode(errors="replace") for value in shown)
    return Letter(
        letter_id.decode(),
        reason,
        detail,
        origin,
        _uuid(batch),
        int(rows) if rows.isascii() and rows.isdigit() else 0,
        size,
    )


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
