"""Pages of `/series`: where a page ended, as an opaque text that begins the next one.

A cursor holds the key of a page's last row and the instant at which the first page was asked, by which expressions
such as `-6h` keep their meaning. It is bound to all that was asked by a digest: given with another question, it would
leave rows out and nobody would see it.
"""

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from operator import eq, gt

import numpy as np

from services.contract.codec import TIMESTAMP_LIMITS

from ..keyset import CursorError
from ..table import Table

__all__ = ["CURSOR_PATTERN", "Position", "SeriesPage", "identity", "pack", "unpack"]

CURSOR_PATTERN = "^[A-Za-z0-9_-]{43,60000}$"
"""The longest one has ten labels of a thousand characters; usual ones are short."""

_LAYOUT = struct.Struct(">qqq8s")


@dataclass(frozen=True, slots=True)
class Position:
    """Behind which row a page begins.

    Attributes:
        now: when the first page was asked, in microseconds since 1970-01-01 UTC, as the next one.
        timestamp: the row's.
        id: the reading's; 0 of a bucket.
        sensor: the row's, or the labels of its group with NUL between them; empty where a row is of all sensors.
    """

    now: int
    timestamp: int
    id: int
    sensor: str


class SeriesPage:
    """Cuts an answer off at a limit and knows where the next page begins."""

    def __init__(
        self, limit: int | None, after: Position | None, *, now: int, descending: bool, keys: Sequence[str]
    ) -> None:
        """Begin a page.

        Args:
            limit: its most rows, None for no limit.
            after: where the page before ended.
            now: when the first page was asked.
            descending: whether the newest comes first.
            keys: the columns of texts that rows are in the order of, before that of time.
        """
        self._room = limit
        self._after = after
        self._now = now if after is None else after.now
        self._descending = descending
        self._keys = keys
        self._more = False
        self._last: Position | None = None

    def take(self, table: Table) -> Table:
        """Return those of the next rows that the page holds: none of the page before, none once it is full."""
        table = self._begun(table)
        if self._room is None:
            return table
        part = table.head(self._room)
        self._more = self._more or len(part) < len(table)
        self._room -= len(part)
        if len(part):
            sensor = self._texts(part.taken(slice(len(part) - 1, None)))[0]
            row = int(part["id"].values[-1]) if "id" in part.columns else 0
            self._last = Position(self._now, int(part["timestamp"].values[-1]), row, sensor)
        return part

    def _begun(self, table: Table) -> Table:
        """Return the rows behind the page before; readings come without those that are before it."""
        after = self._after
        if after is None or "id" in table.columns:
            return table
        at = table["timestamp"].values
        behind = at < after.timestamp if self._descending else at > after.timestamp
        if self._keys:
            # Which groups there are may have changed since the page before.
            changes = np.any([np.diff(table[name].values, prepend=-1) != 0 for name in self._keys], axis=0)
            texts = self._texts(table.taken(changes))
            group = np.cumsum(changes) - 1
            beyond, same = (
                np.array([test(text, after.sensor) for text in texts], np.bool_)[group] for test in (gt, eq)
            )
            behind = beyond | (same & behind)
        return table.taken(np.flatnonzero(behind))

    def _texts(self, table: Table) -> list[str]:
        """Return the key of each row: no text has NUL, so that keys have the order of their texts."""
        columns = [table[name] for name in self._keys]
        places = zip(*(column.values.tolist() for column in columns), strict=True) if columns else [()] * len(table)
        return ["\0".join(column.texts[place] for column, place in zip(columns, row, strict=True)) for row in places]

    def following(self, question: str) -> str | None:
        """Return the cursor of the next page of a question, None where no row was left out."""
        return pack(self._last, question) if self._more and self._last else None


def identity(parameters: Mapping[str, object]) -> str:
    """Return a text that no other question's parameters have; those of the page alone do not count."""
    return repr(sorted((name, value) for name, value in parameters.items() if name not in {"limit", "cursor"}))


def pack(position: Position, question: str) -> str:
    """Return the cursor of what follows `position`, bound to `question`."""
    head = _LAYOUT.pack(position.now, position.timestamp, position.id, _digest(position, question))
    return base64.urlsafe_b64encode(head + position.sensor.encode()).decode().rstrip("=")


def unpack(cursor: str, question: str) -> Position:
    """Return the position that a cursor stands for.

    Raises:
        CursorError: it is damaged, or belongs to another question.
    """
    try:
        body = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        now, timestamp, row, digest = _LAYOUT.unpack_from(body)
        position = Position(now, timestamp, row, body[_LAYOUT.size :].decode())
    except (binascii.Error, ValueError, struct.error):
        raise CursorError("is no cursor of this service") from None
    low, high = TIMESTAMP_LIMITS
    if digest != _digest(position, question) or not (low <= timestamp <= high and low <= now <= high):
        raise CursorError(
            "is damaged, or belongs to another question; give it with what the page before was asked with"
        )
    return position


def _digest(position: Position, question: str) -> bytes:
    key = f"{position.now} {position.timestamp} {position.id} {position.sensor} {question}"
    return blake2b(key.encode(), digest_size=8).digest()
