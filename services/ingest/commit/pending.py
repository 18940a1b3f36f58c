"""Pending batches: what waits for the stream, checked together, and the entry that several of them share."""

import asyncio
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Protocol

import msgspec

from services.contract import Batch, Columns, Entry, Slice, member_id, new_group
from services.platform.http.errors import Problem

from ..idempotency import digest
from ..limits.window import Limits
from ..readings import Decoded, Fault, check

__all__ = ["Accepted", "CheckedBatch", "Done", "PendingBatch", "check_together", "shared_entry"]


class Accepted(msgspec.Struct, frozen=True):
    """A batch in the stream.

    Attributes:
        batch_id: its id.
        digest: of its readings, where its id is its key's and an earlier batch may have had it; else None.
        accepted_at: microseconds since 1970.
        rows: readings that were taken.
        faults: of the readings that were left out.
        settled: for who asked, what is set when it is said to be settled.
        skipped: how many values of which kind came beside the readings that are not kept.
    """

    batch_id: uuid.UUID
    digest: bytes | None
    accepted_at: int
    rows: int
    faults: list[Fault]
    settled: asyncio.Event | None
    skipped: Mapping[str, int]


class Done(Protocol):
    """What hears what became of a batch: a future, or what answers at once, in the call."""

    def done(self) -> bool:
        """Tell whether it has heard, or wants to no more."""

    def cancelled(self) -> bool:
        """Tell whether it wants to hear no more."""

    def set_result(self, accepted: Accepted, /) -> None:
        """Hear that the batch is in the stream."""

    def set_exception(self, error: Exception, /) -> None:
        """Hear why it is not."""


class PendingBatch(msgspec.Struct):
    """A batch that waits for its place in an entry.

    Attributes:
        decoded: its readings, not yet checked.
        done: hears what becomes of it.
        rows: how many they are.
        partial: whether its good readings are taken without the others.
        label_bytes: of the names and labels of its series, about.
        batch_id: of a keyed batch; an anonymous one gets its id with its place in an entry.
        traceparent: of a sampled request.
        durable: whether to wait for the disk.
        notify: whether to hear what becomes of it.
        natural: whether only the first reading of a sensor and instant is stored; its readings then have no slices.
        accepted_at: microseconds since 1970.
    """

    decoded: Decoded
    done: Done
    rows: int
    partial: bool = False
    label_bytes: int = 0
    batch_id: uuid.UUID | None = None
    traceparent: str | None = None
    durable: bool = True
    notify: bool = False
    natural: bool = False
    accepted_at: int = msgspec.field(default_factory=lambda: time.time_ns() // 1000)

    def succeed(self, accepted: Accepted) -> None:
        """Answer, where nobody has."""
        if not self.done.done():
            self.done.set_result(accepted)

    def fail(self, error: Exception) -> None:
        """Answer with an error, where nobody has."""
        if not self.done.done():
            self.done.set_exception(error)


class CheckedBatch(msgspec.Struct, frozen=True):
    """A pending batch whose readings are right, or some of them.

    Attributes:
        pending: the batch.
        columns: its good readings, or those of all that were checked together.
        rows: which of `columns` are its own.
        faults: of its other readings.
        digest: of a keyed batch's good readings.
        slices: as far as these are in them.
    """

    pending: PendingBatch
    columns: Columns
    rows: slice
    faults: list[Fault]
    digest: bytes | None
    slices: tuple[Slice, ...] = ()

    @property
    def size(self) -> int:
        """How many its good readings are."""
        size: int = self.rows.stop - self.rows.start
        return size


def check_together(pending: Sequence[PendingBatch], limits: Limits) -> list[CheckedBatch]:
    """Return the batches that are right, in any order, and fail the others.

    A vectorised check costs nearly the same for one reading as for a thousand, so small batches share it. A keyed one
    is checked alone, for its digest may not depend on its neighbours' ids; and so is each where one of them is wrong,
    so that only who sent a fault hears of it.
    """
    whole, alone = list[PendingBatch](), list[PendingBatch]()
    for batch in pending:
        shares = batch.batch_id is None and not batch.decoded.faults
        (whole if shares else alone).append(batch)
    checked = list[CheckedBatch]()
    if whole:
        try:
            columns = check(Decoded.joined([batch.decoded for batch in whole]), limits, partial=False).columns
        except Problem as problem:
            if len(whole) == 1 and not whole[0].partial:
                whole[0].fail(problem)
            else:
                alone += whole
        else:
            start = 0
            for batch in whole:
                end = start + batch.rows
                checked.append(CheckedBatch(batch, columns, slice(start, end), [], None, batch.decoded.slices))
                start = end
    for batch in alone:
        try:
            columns, faults, slices = check(batch.decoded, limits, partial=batch.partial)
        except Problem as problem:
            batch.fail(problem)
        else:
            key = None if batch.batch_id is None else digest(columns)
            checked.append(CheckedBatch(batch, columns, slice(0, len(columns)), faults, key, slices))
    return checked


def shared_entry(checked: Sequence[CheckedBatch]) -> tuple[Entry, dict[uuid.UUID, bytes]]:
    """Return the entry of checked batches, and the marks under which its ledger ids are found in the stream.

    A keyed batch has a ledger row of its own, and its mark is its digest. The anonymous ones share the group's, and
    get ids that lead to it; its mark is their count.
    """
    group = new_group()
    anonymous = 0
    batches = []
    marks: dict[uuid.UUID, bytes] = {}
    for one in checked:
        pending = one.pending
        if pending.batch_id is None:
            anonymous += 1
            batch_id = member_id(group, anonymous)
        else:
            batch_id = pending.batch_id
            marks[batch_id] = one.digest or b""
        batches.append(
            Batch(
                batch_id,
                one.size,
                pending.accepted_at,
                pending.traceparent,
                one.digest,
                pending.notify,
                one.slices,
                pending.natural,
            )
        )
    if anonymous:
        marks[group] = b"%d" % anonymous
    return Entry(group, batches, Columns.concat(list(_parts(checked)))), marks


def _parts(checked: Sequence[CheckedBatch]) -> Iterator[Columns]:
    """Yield the readings of batches in their order; of those that were checked together in one piece, if all are there.

    Taking columns apart and joining them again would cost more than the check.
    """
    for _, found in groupby(checked, lambda one: id(one.columns)):
        run = list(found)
        columns = run[0].columns
        if sum(one.size for one in run) == len(columns):
            yield columns
        else:
            yield from (columns.take(one.rows) for one in run)
