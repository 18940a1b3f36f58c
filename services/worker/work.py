"""What one transaction has to do, and what became of it. Pure, and nothing in it changes once it is made.

A `Work` is decoded entries, regrouped into what the ledger decides (units) and what gets a verdict (parts). Batches
that nobody asks about one by one are a part together, as long as one verdict is true of all. Which of its rows go into
the table depends on the deletions that a transaction knows, and so stands beside it, in a `Selection`. A transaction
that commits returns what it did as `Written`, and from that the acknowledgement is made.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from services.contract import Batch, Columns, DeadLetter, Entry, Outcome, Verdict, encode, position_of
from services.contract.ids import MAX_GROUP
from services.platform.stream import Delivery, Settlement

from .copy import within
from .deletions import Deletions

__all__ = ["ApartError", "Part", "Rows", "Selection", "Unit", "Verdicts", "Work", "Written"]


@dataclass(slots=True, eq=False)
class Part:
    """A batch of a delivery, or several as one, and where the rows are in the work's columns.

    Attributes:
        delivery: what brought it.
        batch: the batch. Several are one of all their rows, with the group's id and the first one's acceptance.
        ledger_id: of the ledger row that decides whether it is new.
        rows: the rows.
        batches: how many they are.
    """

    delivery: Delivery
    batch: Batch
    ledger_id: uuid.UUID
    rows: slice
    batches: int = 1

    @property
    def position(self) -> int:
        """Its key in the ledger row's `dead`: the position in its group, 0 where the row is its own."""
        return 0 if self.ledger_id == self.batch.batch_id else position_of(self.batch.batch_id)

    def slices(self) -> Iterator[tuple[uuid.UUID, slice]]:
        """Yield the key of each of its slices, and where the slice's rows are in the work's columns."""
        start = self.rows.start
        for one in self.batch.slices:
            yield uuid.UUID(bytes=one.key), slice(start, start + one.rows)
            start += one.rows


class ApartError(Exception):
    """What became of a batch did not become of all that are one part with it: the work is to be done `apart`."""


Verdicts = Mapping[Part, Verdict]

Rows = slice | NDArray[np.intp]
"""Rows of a work's columns, one behind the other or by their positions."""


@dataclass(slots=True, eq=False)
class Unit:
    """What one ledger row decides: a keyed batch, or the anonymous batches of one entry."""

    ledger_id: uuid.UUID
    parts: list[Part] = field(default_factory=list)

    @property
    def accepted_at(self) -> int:
        """When its first batch was accepted, in microseconds since 1970."""
        return self.parts[0].batch.accepted_at

    @property
    def batches(self) -> int:
        """How many batches it has."""
        return sum(part.batches for part in self.parts)


class Work:
    """Entries to write together. A ledger id that comes twice is one unit once; its later parts are repeats."""

    def __init__(self, read: Iterable[tuple[Delivery, Entry]], *, together: bool = False) -> None:
        """Take at least one decoded entry; batches that nobody asks about one by one may be a part `together`."""
        self.parts: list[Part] = []
        self.units: dict[uuid.UUID, Unit] = {}
        self.repeats: list[Part] = []
        self._read = list(read)
        start = 0
        for delivery, entry in self._read:
            for batch, batches in _together(entry) if together else ((batch, 1) for batch in entry.batches):
                rows = slice(start, start + batch.rows)
                self._add(Part(delivery, batch, entry.ledger_id(batch), rows, batches))
                start = rows.stop
        self.columns = Columns.concat([entry.columns for _, entry in self._read])
        self.deliveries = [delivery for delivery, _ in self._read]

    @property
    def oldest(self) -> int:
        """When its first batch was accepted, in microseconds since 1970."""
        return min(batch.accepted_at for batch in self._batches())

    def apart(self) -> "Work":
        """Return the same work with a part for each batch; this one, where it is so."""
        return Work(self._read) if any(part.batches > 1 for part in self.parts) else self

    def _batches(self) -> Iterator[Batch]:
        """Yield all batches in the order of their rows."""
        return (batch for _, entry in self._read for batch in entry.batches)

    def without(self, deletions: Deletions) -> "Selection":
        """Return the rows that `deletions` do not cover."""
        covered = None
        if deletions.found:
            batches = list(self._batches())
            accepted_at = np.repeat([batch.accepted_at for batch in batches], [batch.rows for batch in batches])
            covered = deletions.covered(self.columns, accepted_at)
        return Selection(self.columns, covered if covered is not None and covered.any() else None)

    def _add(self, part: Part) -> None:
        self.parts.append(part)
        unit = self.units.setdefault(part.ledger_id, Unit(part.ledger_id))
        if unit.parts and unit.parts[0].delivery is not part.delivery:
            self.repeats.append(part)
        else:
            unit.parts.append(part)

    def touches(self, part: Part, spans: Sequence[tuple[int, int]]) -> bool:
        """Tell whether a row of `part` lies in one of the half-open `spans`, in microseconds since 1970."""
        return bool(spans) and bool(within(self.columns.timestamps[part.rows], spans).any())

    def settlement(self, verdicts: Verdicts) -> Settlement:
        """Return what is acknowledged once every part has its verdict.

        Raises:
            KeyError: one has none.
        """
        settlement = Settlement(ledger_ids=list(self.units))
        letters: dict[bytes, list[DeadLetter]] = {}
        for part in self.parts:
            verdict = verdicts[part]
            if verdict.outcome is Outcome.DEAD:
                letters.setdefault(part.delivery.entry_id, []).append(self._letter(part, verdict))
            if part.batch.notify:
                settlement.told.append(part.batch.batch_id)
        settlement.entries = [(d, letters.get(d.entry_id, [])) for d in self.deliveries]
        return settlement

    def _letter(self, part: Part, verdict: Verdict) -> DeadLetter:
        """Keep the batch as an entry of its own, which can be replayed as it stands."""
        entry = Entry(None, [part.batch], self.columns.take(part.rows).compact())
        origin = part.delivery.entry_id.decode()
        return DeadLetter(verdict.code, verdict.detail, origin, encode(entry), part.batch.batch_id)


def _together(entry: Entry) -> Iterator[tuple[Batch, int]]:
    """Yield the batches of an entry and that each is one; a run of those that nobody asks about one by one as one."""
    group = entry.group if entry.group is not None and entry.group.version == 7 else None
    for alone, found in groupby(entry.batches, partial(_asked_about, group=group)):
        run = list(found)
        if alone or group is None or len(run) == 1:
            yield from ((batch, 1) for batch in run)
        else:
            yield Batch(group, sum(batch.rows for batch in run), run[0].accepted_at), len(run)


def _asked_about(batch: Batch, group: uuid.UUID | None) -> bool:
    """Tell whether a batch has anything that is its own: a ledger row, a trace, somebody who waits, other rules."""
    if group is None or batch.batch_id.int ^ group.int > MAX_GROUP:
        return True
    return bool(batch.traceparent or batch.digest or batch.notify or batch.slices or batch.natural)


class Selection:
    """The rows of a work that go into the table if its parts do.

    Left out are those that a deletion takes back, and those that came before: of slices, or of natural batches.
    """

    def __init__(
        self, columns: Columns, taken_back: NDArray[np.bool_] | None, repeated: NDArray[np.bool_] | None = None
    ) -> None:
        """Take all rows of a work and, a row each, whether it is taken back or came before; None where none is."""
        self.columns = columns
        self._taken_back = taken_back
        self._repeated = repeated

    def without(self, found: Iterable[Rows]) -> "Selection":
        """Return the selection without rows that came before."""
        repeated: NDArray[np.bool_] = np.zeros(len(self.columns), np.bool_)
        for rows in found:
            repeated[rows] = True
        return Selection(self.columns, self._taken_back, repeated) if repeated.any() else self

    def taken_back(self, part: Part) -> int:
        """Return how many rows of `part` are left out, for a deletion takes them back."""
        return _count(self._taken_back, part)

    def repeated(self, part: Part) -> int:
        """Return how many rows of `part` are left out, for they came before."""
        return _count(self._repeated, part)

    def rows(self, unit: Unit) -> int:
        """Return how many rows of a unit's parts are left."""
        if self._taken_back is None and self._repeated is None:
            return sum(part.batch.rows for part in unit.parts)
        return int(np.count_nonzero(self._left(unit.parts)))

    def pick(self, parts: Iterable[Part]) -> Columns:
        """Return the rows of `parts` that are left, in their order; where these are all rows, nothing is copied."""
        chosen = list(parts)
        whole = self._taken_back is None and self._repeated is None
        if whole and sum(part.batch.rows for part in chosen) == len(self.columns):
            return self.columns
        return self.columns.take(self._left(chosen))

    def positions(self, parts: Iterable[Part]) -> NDArray[np.intp]:
        """Return where in the work's columns the rows of `parts` are that are left, in their order."""
        return np.flatnonzero(self._left(parts))

    def _left(self, parts: Iterable[Part]) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = np.zeros(len(self.columns), np.bool_)
        for part in parts:
            mask[part.rows] = True
        for left_out in (self._taken_back, self._repeated):
            if left_out is not None:
                mask &= ~left_out
        return mask


def _count(rows: NDArray[np.bool_] | None, part: Part) -> int:
    return 0 if rows is None else int(np.count_nonzero(rows[part.rows]))


@dataclass(frozen=True, slots=True)
class Written:
    """What a transaction did that committed: its work, a verdict for each part of it, and which rows went in."""

    work: Work
    verdicts: Verdicts
    selection: Selection
