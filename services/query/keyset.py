"""Pages by keyset: the key of a page's last row, as an opaque text, is where the next page begins.

A cursor is bound to the question that it came from by a digest: given with another sensor or range, it would leave
rows out and nobody would see it.
"""

import base64
import binascii
import struct
from dataclasses import dataclass
from hashlib import blake2b

from services.contract.codec import TIMESTAMP_LIMITS

from .table import Table

__all__ = ["CURSOR_PATTERN", "CursorError", "Keyset", "Page", "pack", "unpack"]

CURSOR_PATTERN = "^[A-Za-z0-9_-]{32}$"

_LAYOUT = struct.Struct(">qq8s")


class CursorError(ValueError):
    """The text is no cursor, or another question's."""


@dataclass(frozen=True, slots=True)
class Keyset:
    """What orders readings: the timestamp, in microseconds since 1970-01-01 UTC, and of equal ones the id."""

    timestamp: int
    id: int


class Page:
    """Cuts an answer off at a limit and knows where the next page begins."""

    def __init__(self, limit: int | None, question: str) -> None:
        """Take the most rows that the page may hold, None for no limit, and what its cursor is bound to."""
        self._room = limit
        self._question = question
        self._more = False
        self._last: Keyset | None = None

    def take(self, table: Table) -> Table:
        """Return those of the next rows that fit: none, once the page is full."""
        if self._room is None:
            return table
        part = table.head(self._room)
        self._more = self._more or len(part) < len(table)
        self._room -= len(part)
        if len(part):
            self._last = Keyset(int(part["timestamp"].values[-1]), int(part["id"].values[-1]))
        return part

    def following(self) -> str | None:
        """Return the cursor of the next page; None where no row was left out."""
        return pack(self._last, self._question) if self._more and self._last else None


def pack(keyset: Keyset, question: str) -> str:
    """Return the cursor of what follows `keyset`, bound to `question`."""
    body = _LAYOUT.pack(keyset.timestamp, keyset.id, _digest(keyset, question))
    return base64.urlsafe_b64encode(body).decode()


def unpack(cursor: str, question: str) -> Keyset:
    """Return the key that a cursor stands for.

    Raises:
        CursorError: it is damaged, or belongs to another question.
    """
    try:
        timestamp, row, digest = _LAYOUT.unpack(base64.b64decode(cursor, b"-_", validate=True))
    except (binascii.Error, ValueError, struct.error):
        raise CursorError("is no cursor of this service") from None
    keyset = Keyset(timestamp, row)
    low, high = TIMESTAMP_LIMITS
    if digest != _digest(keyset, question) or not low <= timestamp <= high:
        raise CursorError("is damaged, or belongs to another sensor or range")
    return keyset


def _digest(keyset: Keyset, question: str) -> bytes:
    return blake2b(f"{keyset.timestamp} {keyset.id} {question}".encode(), digest_size=8).digest()
