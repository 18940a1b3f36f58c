"""Readings as they are sent, and batches of them, which keep their Idempotency-Key whatever becomes of them."""

import json
import math
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, SupportsFloat, TypeAlias

__all__ = ["Batch", "Reading", "Reject", "encoded"]

Reading: TypeAlias = Mapping[str, Any] | tuple[str, datetime | str, float]
"""An object as `POST /ingest` takes it, whose timestamp may be an aware datetime; or sensor id, timestamp and value."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A reading that the service does not take, and why.

    Attributes:
        reading: as it was sent.
        code: what is wrong, which stays: a fault of a reading, `batch_dead`, `key_reused`, or `expired`.
        field: of the reading; None where it is not one field's fault.
        message: the same in words.
        certain: whether it is certainly not stored; False where an attempt before the refusal was not answered.
    """

    reading: dict[str, Any]
    code: str
    field: str | None
    message: str
    certain: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings that are sent together, or where the service takes no such batch, part by part.

    Attributes:
        key: its Idempotency-Key.
        readings: JSON objects, one each.
        rejects: readings that the service has named as wrong, and that are sent no more.
        tried: milliseconds since 1970 of the first attempt that may have been stored; None where there was none.
        part: how many parts were sent before, or given up as too large.
        take: how many readings, from the first on, are the part that is sent next; None: all.
    """

    key: str
    readings: tuple[bytes, ...]
    rejects: tuple[Reject, ...] = ()
    tried: int | None = None
    part: int = 0
    take: int | None = None

    @classmethod
    def new(cls, readings: Iterable[bytes]) -> "Batch":
        """Return a batch with a key of its own."""
        return cls(str(uuid.uuid4()), tuple(readings))

    @property
    def request(self) -> tuple[str, bytes]:
        """The key and the body of what is sent next."""
        key = f"{self.key}/{self.part}" if self.part else self.key
        return key, b"[" + b",".join(self.readings[: self.take]) + b"]"

    def behind(self) -> "Batch":
        """Return what is left behind the part that is seen to; the next part may be twice as large."""
        part = self.readings[: self.take]
        return replace(self, readings=self.readings[len(part) :], part=self.part + 1, take=2 * len(part) or None)

    def halved(self) -> "Batch":
        """Return the batch with half of the part as the next part, of at least one reading; it has a key of its own."""
        return replace(self, part=self.part + 1, take=max(len(self.readings[: self.take]) // 2, 1))

    def without(self, faults: Iterable[Mapping[str, Any]], *, certain: bool) -> "Batch":
        """Return the batch without the readings that `faults` name by `index`, which are its rejects from now on.

        The part keeps its key: if it is stored after all, what is sent with that key in its place is not.
        """
        named = {int(fault["index"]): fault for fault in reversed(list(faults))}
        part = self.readings[: self.take]
        good = tuple(reading for place, reading in enumerate(part) if place not in named)
        bad = tuple(
            Reject(json.loads(part[place]), str(fault["code"]), fault.get("field"), str(fault["message"]), certain)
            for place, fault in sorted(named.items())
        )
        left = self.readings[len(part) :]
        found = replace(self, readings=(*good, *left), rejects=(*self.rejects, *bad), take=len(good))
        return found if good else replace(found.behind(), take=2)

    def refused(self, code: str, message: str, *, certain: bool) -> "Batch":
        """Return the batch without the readings of the part; they are its rejects, for one reason."""
        count = len(self.readings[: self.take])
        return self.without(
            [{"index": place, "code": code, "message": message} for place in range(count)], certain=certain
        )


def encoded(reading: Reading) -> bytes:
    """Return a reading as JSON; what only the service can judge is left to it.

    Raises:
        TypeError: a value is of a wrong type.
        ValueError: the timestamp has no time zone, or a number is not finite.
    """
    found = dict(reading) if isinstance(reading, Mapping) else dict(zip(_FIELDS, reading, strict=True))
    timestamp: Any = found.get("timestamp")
    value: Any = found.get("value")
    if isinstance(timestamp, datetime):
        if timestamp.utcoffset() is None:
            raise ValueError(f"timestamp: {timestamp!r} has no time zone, so it is no instant; say tzinfo")
        found["timestamp"] = timestamp.isoformat()
    elif not isinstance(timestamp, str):
        raise TypeError(f"timestamp: an aware datetime or RFC 3339 is needed, not {type(timestamp).__name__}")
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        raise TypeError(f"value: a number is needed, not {type(value).__name__}")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"value: {value!r} is no finite number")
    found["value"] = number
    for name in ("sensor_id", "name"):
        if not isinstance(found.get(name, ""), str):
            raise TypeError(f"{name}: a text is needed, not {type(found[name]).__name__}")
    return json.dumps(found, separators=(",", ":"), allow_nan=False).encode()


_FIELDS = ("sensor_id", "timestamp", "value")
