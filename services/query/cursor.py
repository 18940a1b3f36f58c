"""Pages of readings: where one ended, as an opaque text that fits only the question it came from."""

import base64
import binascii
import struct
from dataclasses import dataclass
from hashlib import blake2b

from services.contract.codec import TIMESTAMP_LIMITS

from .columns import Readings
from .question import Question

__all__ = ["CURSOR_PATTERN", "CursorError", "Page", "Place", "pack", "unpack"]

CURSOR_PATTERN = "^[A-Za-z0-9_-]{32}$"

_LAYOUT = struct.Struct(">qq8s")


class CursorError(ValueError):
    """The text is no cursor, or another question's."""


@dataclass(frozen=True, slots=True)
class Place:
    """A reading's place in the order of answers; the timestamp is microseconds since 1970-01-01 UTC."""

    timestamp: int
    id: int


class Page:
    """Counts readings up to a limit and remembers where it came to."""

    def __init__(self, limit: int | None) -> None:
        """Take the most rows that the page may hold, None for no limit."""
        self._room = limit
        self.asked = None if limit is None else limit + 1
        """Rows to ask for: one more than fit tells whether more follow."""
        self.more = False
        self.last: Place | None = None

    def take(self, readings: Readings) -> Readings:
        """Return those of the next readings that fit."""
        part = readings.head(len(readings) if self._room is None else self._room)
        self.more = self.more or len(part) < len(readings)
        if self._room is not None:
            self._room -= len(part)
        if len(part):
            self.last = Place(int(part.timestamps[-1]), int(part.ids[-1]))
        return part


def pack(place: Place, question: Question) -> str:
    """Return the cursor of `place`, bound to `question`."""
    body = _LAYOUT.pack(place.timestamp, place.id, _digest(place, question))
    return base64.urlsafe_b64encode(body).decode()


def unpack(cursor: str, question: Question) -> Place:
    """Return the place that a cursor stands for.

    Raises:
        CursorError: it is damaged, or belongs to another question.
    """
    try:
        timestamp, row, digest = _LAYOUT.unpack(base64.b64decode(cursor, b"-_", validate=True))
    except (binascii.Error, ValueError, struct.error):
        raise CursorError("is no cursor of this service") from None
    place = Place(timestamp, row)
    low, high = TIMESTAMP_LIMITS
    if digest != _digest(place, question) or not low <= timestamp <= high:
        raise CursorError("is damaged, or belongs to another sensor or range")
    return place


def _digest(place: Place, question: Question) -> bytes:
    bound = (place.timestamp, place.id, question.start.isoformat(), question.end.isoformat(), question.sensor_id)
    return blake2b(" ".join(map(str, bound)).encode(), digest_size=8).digest()
