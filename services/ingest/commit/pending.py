"""Batches that want into the stream, and the entry that several of them share."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.contract import Batch, Columns, Entry, member_id, new_group
from services.platform.http.errors import Problem

from ..readings import Limits, Rows, checked

__all__ = ["Accepted", "Wish", "check_together", "shared_entry"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A batch in the stream.

    Attributes:
        batch_id: its id.
        keyed: whether its id is its key's, and an earlier batch may have had it.
        accepted_at: microseconds since 1970.
        settled: for who asked, what is set when it is said to be settled.
    """

    batch_id: uuid.UUID
    keyed: bool
    accepted_at: int
    settled: asyncio.Event | None


@dataclass(slots=True)
class Wish:
    """A batch that wants into the stream.

    Attributes:
        readings: as columns, or as decoded and still to be checked together with its neighbours'.
        batch_id: of a keyed batch; an anonymous one gets its id with its place in an entry.
        digest: of a keyed batch.
        traceparent: of a sampled request.
        durable: whether to wait for the disk.
        notify: whether to hear what becomes of it.
    """

    readings: Columns | Rows
    batch_id: uuid.UUID | None = None
    digest: bytes | None = None
    traceparent: str | None = None
    durable: bool = True
    notify: bool = False
    accepted_at: int = field(default_factory=lambda: time.time_ns() // 1000)
    done: asyncio.Future[Accepted] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, error: Exception) -> None:
        """Answer with an error, where no answer was given."""
        if not self.done.done():
            self.done.set_exception(error)


def check_together(wishes: Sequence[Wish], limits: Limits) -> list[Wish]:
    """Turn the readings of `wishes` into columns; return those that are right, and answer the others.

    A vectorised check costs nearly the same for one reading as for a thousand, so small requests share it.
    """
    loose = [(wish, wish.readings) for wish in wishes if isinstance(wish.readings, Rows)]
    if not loose:
        return list(wishes)
    try:
        columns, _ = checked(Rows.joined([rows for _, rows in loose]), limits, partial=False)
    except Problem:
        for wish, rows in loose:
            try:
                wish.readings, _ = checked(rows, limits, partial=False)
            except Problem as problem:
                wish.fail(problem)
        return [wish for wish in wishes if not wish.done.done()]
    start = 0
    for wish, rows in loose:
        wish.readings = columns.take(slice(start, start + len(rows)))
        start += len(rows)
    return list(wishes)


def shared_entry(wishes: Sequence[Wish]) -> tuple[Entry, dict[uuid.UUID, bytes]]:
    """Return the entry of checked wishes, and the marks under which its ledger ids are found in the stream."""
    group = new_group()
    anonymous = 0
    batches, parts = [], []
    marks: dict[uuid.UUID, bytes] = {}
    for wish in wishes:
        if not isinstance(wish.readings, Columns):
            raise TypeError("its readings were not checked")
        if wish.batch_id is None:
            anonymous += 1
            batch_id = member_id(group, anonymous)
        else:
            batch_id = wish.batch_id
            marks[batch_id] = wish.digest or b""
        parts.append(wish.readings)
        batches.append(
            Batch(batch_id, len(wish.readings), wish.accepted_at, wish.traceparent, wish.digest, wish.notify)
        )
    if anonymous:
        marks[group] = b"%d" % anonymous
    return Entry(group, batches, Columns.concat(parts)), marks
