"""What one transaction has to do: decoded entries, regrouped into ledger units and parts. Pure."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.contract import Batch, Columns, DeadLetter, Entry, Outcome, Verdict, encode, position_of
from services.platform.stream import Delivery, Settlement

from .copy import within
from .deletions import Deletions

__all__ = ["Part", "Unit", "Work"]


@dataclass(slots=True, eq=False)
class Part:
    """One batch of one delivery: its rows in the work's columns, how many of them a deletion took back, the verdict."""

    delivery: Delivery
    batch: Batch
    ledger_id: uuid.UUID
    rows: slice
    taken_back: int = 0
    verdict: Verdict | None = None

    @property
    def position(self) -> int:
        """Its key in the ledger row's `dead`: the position in its group, 0 where the row is its own."""
        return 0 if self.ledger_id == self.batch.batch_id else position_of(self.batch.batch_id)

    @property
    def dead(self) -> bool:
        """Whether its verdict makes it a dead letter."""
        return self.verdict is not None and self.verdict.outcome is Outcome.DEAD


@dataclass(slots=True, eq=False)
class Unit:
    """What one ledger row decides: a keyed batch, or the anonymous batches of one entry."""

    ledger_id: uuid.UUID
    parts: list[Part] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows of all parts that go into the table."""
        return sum(part.batch.rows - part.taken_back for part in self.parts)

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
        self._kept: NDArray[np.bool_] | None = None

    @property
    def oldest(self) -> int:
        """When its first batch was accepted, in microseconds since 1970."""
        return min(part.batch.accepted_at for part in self.parts)

    def take_back(self, deletions: Deletions) -> None:
        """Leave out what `deletions` cover, in place of what was left out before."""
        self._kept = None
        if deletions.found:
            batches = [part.batch for part in self.parts]
            accepted_at = np.repeat([batch.accepted_at for batch in batches], [batch.rows for batch in batches])
            covered = deletions.covered(self.columns, accepted_at)
            self._kept = ~covered if covered.any() else None
        for part in self.parts:
            part.taken_back = 0 if self._kept is None else int((~self._kept[part.rows]).sum())

    def _add(self, part: Part) -> None:
        self.parts.append(part)
        unit = self.units.setdefault(part.ledger_id, Unit(part.ledger_id))
        if unit.parts and unit.parts[0].delivery is not part.delivery:
            self.repeats.append(part)
        else:
            unit.parts.append(part)

    def pick(self, parts: Iterable[Part]) -> Columns:
        """Return the rows of `parts`, in their order, without those that were taken back."""
        chosen = list(parts)
        if self._kept is None and sum(part.batch.rows for part in chosen) == len(self.columns):
            return self.columns
        mask: NDArray[np.bool_] = np.zeros(len(self.columns), np.bool_)
        for part in chosen:
            mask[part.rows] = True
        return self.columns.take(mask if self._kept is None else mask & self._kept)

    def touches(self, part: Part, spans: Sequence[tuple[int, int]]) -> bool:
        """Tell whether a row of `part` lies in one of the half-open `spans`, in microseconds since 1970."""
        return bool(spans) and bool(within(self.columns.timestamps[part.rows], spans).any())

    def settlement(self) -> Settlement:
        """Return what is acknowledged once every part has its verdict."""
        settlement = Settlement(ledger_ids=list(self.units))
        letters: dict[bytes, list[DeadLetter]] = {}
        for part in self.parts:
            verdict = part.verdict
            if verdict is None:
                raise ValueError(f"batch {part.batch.batch_id} has no verdict")
            if part.dead:
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
