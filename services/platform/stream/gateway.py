"""Commands on the stream, its group and the keys beside it."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from services.contract import GROUP, DeadLetter, SettlementEvent, StreamNames, encode_letter, encode_settlement
from services.contract.names import FIELD_PAYLOAD, FIELD_ROWS, FIELD_VERSION

from ..runtime.foreign_content import pass_over
from .dead_letters import LetterGoneError
from .scripts import script

__all__ = ["Backlog", "Delivery", "GroupMissingError", "Losses", "Settlement", "Stream"]

Fields = dict[bytes, bytes]

_PENDING_AT_ONCE = 500
"""Entries that one look at what is pending asks for: the server does nothing else meanwhile."""


class GroupMissingError(Exception):
    """The stream or its group is gone; `Stream.ensure_group` makes it again."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the stream, delivered or not.

    Attributes:
        entries: how many wait.
        rows: readings in them.
        bytes: of their payloads.
        age: of the oldest, in seconds.
        accepted: readings ever written to the stream; falls only where the server lost data.
        settled: readings ever acknowledged, dead letters among them.
    """

    entries: int
    rows: int
    bytes: int
    age: float
    accepted: int
    settled: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """An entry as it was read: its id in the stream and its fields, None where it was deleted meanwhile."""

    entry_id: bytes
    fields: Fields | None

    @property
    def rows(self) -> int:
        """Rows the entry names, 0 where it is damaged; what is too long for the contract would break the counts."""
        text = (self.fields or {}).get(FIELD_ROWS, b"")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return len((self.fields or {}).get(FIELD_PAYLOAD, b""))


@dataclass(frozen=True, slots=True)
class Losses:
    """What vanished since the last look: entries, and rows that the backlog had counted."""

    entries: int
    rows: int


@dataclass(slots=True)
class Settlement:
    """What one acknowledgement does: entries with their dead letters, marks to take away, batches to tell of."""

    entries: list[tuple[Delivery, list[DeadLetter]]] = field(default_factory=list)
    ledger_ids: list[uuid.UUID] = field(default_factory=list)
    told: list[uuid.UUID] = field(default_factory=list)


class Stream:
    """The stream and its group. Errors are redis-py's own, but for a lost group."""

    def __init__(self, client: Redis, names: StreamNames, replicas: int = 0) -> None:
        """Speak by `client`; `wait_for_disk` waits for so many replicas too."""
        self.client = client
        self._replicas = replicas
        self.names = names
        self._keys = [names.stream, names.backlog, names.queued, names.dead, names.totals]
        self._add, self._settle = script(client, "add"), script(client, "settle")
        self._backlog, self._janitor = script(client, "backlog"), script(client, "janitor")
        self._writable = script(client, "writable")
        self._pending, self._losses = script(client, "pending"), script(client, "losses")

    async def add(self, fields: Fields, marks: Mapping[uuid.UUID, bytes], letter: str = "") -> set[uuid.UUID]:
        """Write one entry.

        Args:
            fields: the encoded entry.
            marks: each ledger id in it, to the digest of a keyed batch or the batch count of a group.
            letter: id of the dead letter that the entry replays; it is deleted in the same step.

        Returns:
            The keyed ids that stand in the stream with another digest. Where there is any, nothing is written.

        Raises:
            LetterGoneError: the letter was replayed or deleted before; nothing is written.
        """
        arguments: list[bytes | str] = [fields[FIELD_VERSION], fields[FIELD_ROWS], fields[FIELD_PAYLOAD], letter]
        for ledger_id, mark in marks.items():
            arguments += (ledger_id.bytes, mark)
        clashes = await self._add(self._keys, arguments)
        if clashes == [b"gone"]:
            raise LetterGoneError(letter)
        return {uuid.UUID(bytes=clash) for clash in clashes}

    async def wait_for_disk(self, timeout: float) -> bool:
        """Wait at most `timeout` s until this connection's writes are fsynced (WAITAOF); tell whether they are."""
        waited = ("WAITAOF", 1, self._replicas, int(timeout * 1000))
        reply = await self.client.execute_command(*waited)  # type: ignore[no-untyped-call]
        return bool(reply[0] >= 1 and reply[1] >= self._replicas)

    async def ensure_group(self) -> bool:
        """Make the stream and its group where they are absent, from the first entry on; tell whether it did."""
        try:
            await self.client.xgroup_create(self.names.stream, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" in str(error):
                return False
            raise
        return True

    async def read_new(self, consumer: str, count: int, block: float) -> list[Delivery]:
        """Read up to `count` entries that nobody was given yet, waiting up to `block` seconds."""
        return await self._read(consumer, ">", count, max(1, int(block * 1000)))

    async def read_pending(self, consumer: str, after: bytes, count: int) -> list[Delivery]:
        """Read again up to `count` of the consumer's own pending entries behind `after` (b"0" from the first)."""
        return await self._read(consumer, after, count, None)

    async def _read(self, consumer: str, start: str | bytes, count: int, block: int | None) -> list[Delivery]:
        reply = await self._group(
            self.client.xreadgroup(GROUP, consumer, {self.names.stream: start}, count=count, block=block)
        )
        return _deliveries(reply[0][1]) if reply else []

    async def reclaim(self, consumer: str, idle: float, count: int) -> list[Delivery]:
        """Take over up to `count` entries that have been pending elsewhere for `idle` seconds without a word."""
        reply = await self._group(
            self.client.xautoclaim(self.names.stream, GROUP, consumer, int(idle * 1000), count=count)
        )
        lost = [Delivery(entry_id, None) for entry_id in (reply[2] if len(reply) > 2 else [])]
        return _deliveries(reply[1]) + lost

    async def settle(self, settlement: Settlement) -> int:
        """Acknowledge and delete the settled entries in one step; return how many were still there."""
        arguments: list[bytes | str | int] = [GROUP, self.names.settled]
        event = encode_settlement(SettlementEvent(settlement.told)) if settlement.told else b""
        arguments += [event, len(settlement.ledger_ids)]
        arguments += [ledger_id.bytes for ledger_id in settlement.ledger_ids]
        arguments.append(len(settlement.entries))
        for delivery, letters in settlement.entries:
            arguments += [delivery.entry_id, delivery.rows, delivery.size, len(letters)]
            for letter in letters:
                fields = encode_letter(letter)
                arguments.append(2 * len(fields))
                for pair in fields.items():
                    arguments += pair
        return int(await self._settle(self._keys, arguments))

    async def backlog(self) -> Backlog:
        """Count what waits."""
        entries, age, rows, size, accepted, settled = await self._backlog(self._keys)
        names = self.names
        return Backlog(
            entries,
            _count(names.backlog, rows) if entries else 0,
            _count(names.backlog, size) if entries else 0,
            age / 1000,
            _count(names.totals, accepted),
            _count(names.totals, settled),
        )

    async def workers(self, silent: float) -> int:
        """Count the consumers of the group that have asked for something within the last `silent` seconds."""
        try:
            consumers = await self._group(self.client.xinfo_consumers(self.names.stream, GROUP))
        except GroupMissingError:
            return 0
        return sum(int(consumer["idle"]) < 1000 * silent for consumer in consumers)

    async def memory(self) -> tuple[int, int]:
        """Return the server's memory in use and its limit in bytes; a limit of 0 is none."""
        info = await self.client.info("memory")
        return int(info["used_memory"]), int(info.get("maxmemory", 0))

    async def see_writable(self) -> None:
        """See that the server would take a write, had it memory for it; nothing is written.

        Raises:
            redis.exceptions.ResponseError: it takes none.
        """
        await self._writable([self.names.stream])

    async def still_pending(self, consumer: str, entry_ids: Sequence[bytes]) -> tuple[set[bytes], list[Delivery]]:
        """Return which of the entries are pending for the consumer, and those of them that somebody deleted."""
        pending, gone = set[bytes](), list[Delivery]()
        for first in range(0, len(entry_ids), _PENDING_AT_ONCE):
            arguments = [GROUP, consumer, *entry_ids[first : first + _PENDING_AT_ONCE]]
            there, deleted = await self._group(self._pending([self.names.stream], arguments))
            pending.update(there)
            gone += [Delivery(entry_id, None) for entry_id in deleted]
        return pending, gone

    async def losses(self) -> Losses:
        """Find what vanished from the stream since anybody looked last, and put the backlog's counts right."""
        return Losses(*await self._losses(self._keys))

    async def mark(self, ledger_id: uuid.UUID) -> bytes | None:
        """Return the mark of a ledger id that stands in the stream: a digest or a batch count."""
        found: Any = await self.client.hget(self.names.queued, ledger_id.bytes)
        return None if found is None else bytes(found)

    async def keep_group(self, idle: float) -> tuple[list[str], bool]:
        """Remove consumers with nothing pending that were idle for `idle` seconds, and find entries pending for nobody.

        Returns:
            The removed names; whether the group starts over, because entries had been delivered to a consumer that
            somebody removed.
        """
        removed, again = await self._group(self._janitor([self.names.stream], [GROUP, int(idle * 1000)]))
        return [name.decode(errors="backslashreplace") for name in removed], bool(again)

    async def _group(self, command: Any) -> Any:
        try:
            return await command
        except ResponseError as error:
            if any(sign in str(error) for sign in ("NOGROUP", "UNBLOCKED", "no longer exists", "no such key")):
                raise GroupMissingError(str(error)) from error
            raise


def _deliveries(items: Sequence[tuple[bytes, Fields | None]]) -> list[Delivery]:
    return [Delivery(entry_id, fields or None) for entry_id, fields in items]


def _count(key: str, text: bytes | None) -> int:
    """Read a count; what is none counts as nothing."""
    digits = (text or b"0").removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 18:
        pass_over("count", key, f"{(text or b'')[:20]!r} is no count")
        return 0
    return max(0, int(text or 0))
