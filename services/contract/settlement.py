"""What became of a batch: the verdict, the event that wakes who waits for it, and the ledger's words on a refusal.

An event is a wake-up and no more: whoever has access to the stream's server can publish one, so who is woken asks
the ledger.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from .errors import DamagedEntryError, EntryError, NewerVersionError

__all__ = [
    "SETTLEMENT_VERSION",
    "Outcome",
    "SettlementEvent",
    "Verdict",
    "decode_refusals",
    "decode_settlement",
    "encode_refusals",
    "encode_settlement",
]

SETTLEMENT_VERSION = 1
"""The version of settlement events that this release writes, and the newest that it reads."""


class Outcome(StrEnum):
    """What became of a batch."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a batch: the outcome, and for a dead one the reason's code and detail."""

    outcome: Outcome
    code: str = ""
    detail: str = ""

    @property
    def reason(self) -> str:
        """Code and detail in one sentence, for people."""
        return f"{self.code}: {self.detail}"


@dataclass(frozen=True, slots=True)
class SettlementEvent:
    """Batches that have just been settled: stored, found to be stored already, or given up."""

    batch_ids: list[uuid.UUID]


class _Version(msgspec.Struct):
    v: int


class _Event(msgspec.Struct):
    v: int
    batches: list[bytes]


def encode_settlement(event: SettlementEvent) -> bytes:
    """Return what is published on the settled channel."""
    return msgspec.msgpack.encode(_Event(SETTLEMENT_VERSION, [batch_id.bytes for batch_id in event.batch_ids]))


def decode_settlement(message: bytes) -> SettlementEvent:
    """Read a message of the settled channel.

    Raises:
        NewerVersionError: a later release published it.
        DamagedEntryError: it is no settlement event.
    """
    try:
        version = msgspec.msgpack.decode(message, type=_Version).v
        if version > SETTLEMENT_VERSION:
            raise NewerVersionError(version)
        if version < 1:
            raise DamagedEntryError(f"version {version} is none")
        event = msgspec.msgpack.decode(message, type=_Event)
        return SettlementEvent([uuid.UUID(bytes=batch_id) for batch_id in event.batches])
    except EntryError:
        raise
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DamagedEntryError(f"it is no settlement event: {error}") from None


def encode_refusals(refusals: Sequence[tuple[int, Verdict]]) -> str:
    """Return the ledger's `dead` for the refused batches of a row, each with its position in the group, or 0.

    Code and detail stand in one string, as they did before, for a release that reads nothing else may still run.
    """
    return msgspec.json.encode({str(position): verdict.reason for position, verdict in refusals}).decode()


def decode_refusals(dead: str | None) -> dict[int, Verdict]:
    """Read the ledger's `dead`: positions in the group, or 0, to verdicts. What does not belong there is left out.

    A refusal is read as "code: detail", which no code has in it, and as an object of `code` and `detail`.
    """
    try:
        found: Any = msgspec.json.decode(dead or "{}")
    except (msgspec.MsgspecError, RecursionError):
        return {}
    refusals = found.items() if isinstance(found, dict) else ()
    return {
        int(position): _refusal(words)
        for position, words in refusals
        if position.isascii() and position.isdigit() and len(position) < 10
    }


def _refusal(words: Any) -> Verdict:
    if isinstance(words, dict):
        return Verdict(Outcome.DEAD, str(words.get("code", "unknown")), str(words.get("detail", "")))
    if not isinstance(words, str):
        return Verdict(Outcome.DEAD, "unknown", "the ledger says that it was refused, and not why")
    code, _, detail = words.partition(": ")
    return Verdict(Outcome.DEAD, code, detail)
