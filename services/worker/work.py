"""What one transaction has to do, and what became of it. Pure, and nothing in it changes once it is made.

A `Work` is decoded entries, regrouped into what the ledger decides (units) and what gets a verdict (parts). Which of
its rows go into the table depends on the deletions that a transaction knows, and so stands beside it, in a
`Selection`. A transaction that commits returns what it did as `Written`, and from that the acknowledgement is made.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.contract import Batch, Columns, DeadLetter, Entry, Outcome, Verdict, encode, position_of
from services.platform.stream import Delivery, Settlement

from .copy import within
from .deletions import Deletions

__all__ = ["Part", "Rows", "Selection", "Unit", "Verdicts", "Work", "Written"]


@dataclass(slots=True, eq=False)
class Part:
    """One batch of one delivery, and where its rows are in the work's columns."""

    delivery: Delivery
    batch: Batch
    ledger_id: uuid.UUID
    rows: slice

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


class Work:
    """Entries to write together. A ledger id that comes twice is one unit once; its later parts are repeats."""

    def __init__(self, read: Iterable[tuple[Delivery, Entry]]) -> None:
        """Take at least one decoded entry."""
        self.parts: list[Part] = []
        self.units: dict[uuid.UUID, Unit] = {}
        self.repeats: list[Part] = []
        pairs = list(read)
        start = 0
        for delivery, entry in pairs:
            for batch, span in entry.spans():
                rows = slice(start + span.start, start + span.stop)
                self._add(Part(delivery, batch, entry.ledger_id(batch), rows))
            start += len(entry.columns)
        self.columns = Columns.concat([entry.columns for _, entry in pairs])
        self.deliveries = [delivery for delivery, _ in pairs]

    @property
    def oldest(self) -> int:
        """When its first batch was accepted, in microseconds since 1970."""
        return min(part.batch.accepted_at for part in self.parts)

    def without(self, deletions: Deletions) -> "Selection":
        """Return the rows that `deletions` do not cover."""
        covered = None
        if deletions.found:
            batches = [part.batch for part in self.parts]
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
    """What a transaction did that committed: a verdict for each part of its work, and which rows went in."""

    verdicts: Verdicts
    selection: Selection
