"""Replaying dead letters: each leaves for the stream in one step, so that it is there once however often one asks."""

import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from services.contract import (
    Batch,
    Columns,
    Entry,
    EntryError,
    NewerVersionError,
    decode,
    decode_letter,
    encode,
    member_id,
    new_group,
)
from services.platform.http.errors import Problem
from services.platform.runtime import metrics
from services.platform.runtime.foreign_content import pass_over
from services.platform.stream import DeadLetters, LetterGoneError, Search, Stream

__all__ = ["Left", "Replay", "Replayed", "unknown_letter"]

_MICROSECONDS = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Left:
    """A letter that was not replayed, and why."""

    letter_id: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of many letters: how many went, which stay, and where to go on; None where all were looked at."""

    replayed: int
    left: list[Left]
    next: str | None


class Replay:
    """Puts dead letters back into the stream. One a process."""

    def __init__(
        self, stream: Stream, letters: DeadLetters, admit: Callable[[], Awaitable[None]], horizon: float
    ) -> None:
        """Take where from and where to.

        Args:
            stream: takes letters back.
            letters: what may be replayed.
            admit: asked before each letter; raises a problem where the stream may take none.
            horizon: of the ledger, in hours.
        """
        self._stream = stream
        self._letters = letters
        self._admit = admit
        self._horizon = int(horizon * _MICROSECONDS)

    async def one(self, letter_id: str, mended: Columns | None = None, *, even_expired: bool = False) -> uuid.UUID:
        """Replay one letter, with the readings `mended` in place of its own; return the batch id.

        A mended batch keeps its id and digest: it stands for the one that was sent. A letter older than the
        ledger's horizon is taken only where `even_expired` is said, and then counts as accepted now.

        Raises:
            Problem: `unknown_letter`, `letter_damaged`, `letter_expired`, `key_reused`, `backlog_full`,
                `stream_full` or `stream_unavailable`.
            redis.exceptions.RedisError: the server is away.
        """
        await self._admit()
        fields = await self._letters.read(letter_id)
        if fields is None:
            raise unknown_letter(letter_id)
        entry = self._of_this_day(_entry(fields, mended), even_expired=even_expired)
        marks = {
            entry.ledger_id(batch): batch.digest or (b"" if batch.batch_id.version != 7 else b"1")
            for batch in entry.batches
        }
        try:
            clashes = await self._stream.add(encode(entry), marks, letter_id)
        except LetterGoneError:
            raise unknown_letter(letter_id) from None
        if clashes:
            detail = "its key stands in the stream with other readings; replay it when they are stored"
            raise Problem("key_reused", detail)
        metrics.dead_letters_removed.add(1, {"how": "replayed"})
        return entry.batches[0].batch_id

    async def many(self, search: Search, most: int, *, even_expired: bool) -> Replayed:
        """Replay at most `most` of the letters meant; a full backlog ends it early, with `next` to go on from.

        Raises:
            Problem: the first of them met `backlog_full`, `stream_full` or `stream_unavailable`.
            redis.exceptions.RedisError: the server is away.
        """
        page = await self._letters.page(search, most)
        replayed, left, after = 0, list[Left](), search.after
        for letter in page.letters:
            try:
                await self.one(letter.letter_id, even_expired=even_expired)
                replayed += 1
            except Problem as problem:
                if problem.kind.status in {429, 503}:
                    if after == search.after:
                        raise
                    return Replayed(replayed, left, after)
                left.append(Left(letter.letter_id, problem.code, problem.detail))
            after = letter.letter_id
        return Replayed(replayed, left, page.next)

    def _of_this_day(self, entry: Entry, *, even_expired: bool) -> Entry:
        """Return the entry as the ledger can judge it; a replay of what it has forgotten is a new acceptance."""
        now = time.time_ns() // 1000
        if min(batch.accepted_at for batch in entry.batches) > now - self._horizon:
            return entry
        if not even_expired:
            raise Problem(
                "letter_expired",
                "it was accepted longer ago than the ledger remembers, so a replay may store it a second time; "
                "if you know that it was not stored, say even_expired=true",
            )
        return Entry(entry.group, [msgspec.structs.replace(b, accepted_at=now) for b in entry.batches], entry.columns)


def unknown_letter(letter_id: str) -> Problem:
    """Return the problem of a letter that is not there."""
    return Problem("unknown_letter", f"there is no dead letter {letter_id}; it may have been replayed or deleted")


def _entry(fields: dict[bytes, bytes], mended: Columns | None) -> Entry:
    """Return the entry that a letter's fields hold, with the readings `mended` in place of its own.

    What cannot be read is replaced whole, as a new batch; what a later release wrote is not: it is right, there.

    Raises:
        Problem: `letter_damaged`.
    """
    try:
        entry = decode(decode_letter(fields).fields)
    except EntryError as error:
        pass_over("dead_letter", "the stream of dead letters", str(error))
        if mended is None or isinstance(error, NewerVersionError):
            raise Problem("letter_damaged", f"it cannot be read ({error}); mend it, or delete it") from None
        now = time.time_ns() // 1000
        return Entry(None, [Batch(member_id(new_group(), 1), len(mended), now)], mended)
    if mended is None:
        return entry
    if len(entry.batches) != 1:
        raise Problem("letter_damaged", "it holds several batches, so it can be replayed only as it stands")
    return Entry(None, [msgspec.structs.replace(entry.batches[0], rows=len(mended), slices=())], mended)
