"""What an ingest process tells of its callers: how much of their limits they use."""

import math
from dataclasses import dataclass

import msgspec

from .errors import DamagedEntryError, NewerVersionError

__all__ = ["USAGE_VERSION", "CallerUsage", "decode_usage", "encode_usage"]

USAGE_VERSION = 1
"""The version of usage that this release writes, and the newest that it reads."""


@dataclass(frozen=True, slots=True)
class CallerUsage:
    """How much of its limits a caller used of late in one process; where it has no limit, both are None.

    Attributes:
        name: the caller's.
        requests: that passed, a second.
        requests_limit: a second.
        rows: of those requests, a second.
        rows_limit: a second.
    """

    name: str
    requests: float | None = None
    requests_limit: float | None = None
    rows: float | None = None
    rows_limit: float | None = None


class _Version(msgspec.Struct):
    v: int


class _Usage(msgspec.Struct):
    v: int
    callers: list[CallerUsage]


def encode_usage(callers: list[CallerUsage]) -> bytes:
    """Return what a process keeps beside the stream."""
    return msgspec.msgpack.encode(_Usage(USAGE_VERSION, callers))


def decode_usage(message: bytes) -> list[CallerUsage]:
    """Read what a process told.

    Raises:
        NewerVersionError: a later release told it.
        DamagedEntryError: it is no usage.
    """
    try:
        version = msgspec.msgpack.decode(message, type=_Version).v
        if version > USAGE_VERSION:
            raise NewerVersionError(version)
        callers = msgspec.msgpack.decode(message, type=_Usage).callers
    except (msgspec.MsgspecError, RecursionError) as error:
        raise DamagedEntryError(f"it is no usage: {error}") from None
    for caller in callers:
        numbers = (caller.requests, caller.requests_limit, caller.rows, caller.rows_limit)
        if not all(number is None or (math.isfinite(number) and number >= 0) for number in numbers):
            raise DamagedEntryError("it is no usage: a number is below zero or not finite")
    return callers
