"""Batch ids: random and grouped for anonymous batches, derived for batches with an Idempotency-Key.

An anonymous batch's id is a UUIDv7 (RFC 9562, section 5.7) whose last 12 bits are its position in its *group*,
counted from 1. The group is every anonymous batch of one stream entry, its id has position 0, and the group
shares one row of the ledger: ten thousand requests a second would otherwise be billions of ledger rows.
"""

import os
import time
import uuid

__all__ = ["ANONYMOUS", "MAX_GROUP", "group_of", "keyed_id", "member_id", "new_group", "position_of"]

ANONYMOUS = ""
"""The caller's name where no caller is known."""

POSITION_BITS = 12
MAX_GROUP = (1 << POSITION_BITS) - 1
"""How many anonymous batches an entry may hold."""

_NAMESPACE = uuid.UUID("6d0cf4d6-8a3c-5f0e-9d0e-5a5f2f6f7a11")
_UNKNOWN = uuid.SafeUUID.unknown
_VERSION_AND_VARIANT = (7 << 76) | (2 << 62)
_RANDOM_50 = (1 << 50) - 1


def new_group() -> uuid.UUID:
    """Return a fresh group id: milliseconds since the epoch, 62 random bits, position 0."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(8), "big")
    high = (random >> 50) & 0xFFF
    low = (random & _RANDOM_50) << POSITION_BITS
    return uuid.UUID(int=(milliseconds << 80) | (high << 64) | _VERSION_AND_VARIANT | low)


def member_id(group: uuid.UUID, position: int) -> uuid.UUID:
    """Return the id of the batch at `position` (1 to `MAX_GROUP`) in `group`.

    Raises:
        ValueError: the position does not fit.
    """
    if not 1 <= position <= MAX_GROUP:
        raise ValueError(f"position {position} is not within 1 to {MAX_GROUP}")
    # Of what the constructor does this is all that such an id needs, in a third of the time: each request has one.
    made = object.__new__(uuid.UUID)
    object.__setattr__(made, "int", group.int | position)
    object.__setattr__(made, "is_safe", _UNKNOWN)
    return made


def position_of(batch_id: uuid.UUID) -> int:
    """Return the position that an anonymous batch's id carries; 0 for a keyed batch."""
    return batch_id.int & MAX_GROUP if batch_id.version == 7 else 0


def group_of(batch_id: uuid.UUID) -> uuid.UUID:
    """Return the group that an anonymous batch's id belongs to; a keyed batch is its own."""
    return uuid.UUID(int=batch_id.int & ~MAX_GROUP) if batch_id.version == 7 else batch_id


def keyed_id(caller: str, key: str) -> uuid.UUID:
    """Return the batch id of a caller's Idempotency-Key (UUIDv5): keys of different callers never meet."""
    return uuid.uuid5(uuid.uuid5(_NAMESPACE, caller), key)
