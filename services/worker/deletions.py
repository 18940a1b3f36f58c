"""Deletions as a worker knows them, and which readings on their way into the table they cover."""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.contract import Columns
from services.contract.instants import instant_of, micros_of

__all__ = ["NONE_KNOWN", "Deletion", "Deletions", "deletions_since"]

_DELETIONS = """
select newest, sensor_ids, range_start, range_end, requested_at
from (select coalesce(max(number), 0) as newest from deletions) as all_of_them
left join deletions on requested_at >= $1
"""


@dataclass(frozen=True, slots=True)
class Deletion:
    """Readings of `sensor_ids` with `start <= timestamp < end` that were accepted by `requested_at`.

    Instants are microseconds since 1970.
    """

    sensor_ids: frozenset[str]
    start: int
    end: int
    requested_at: int


@dataclass(frozen=True, slots=True)
class Deletions:
    """What a worker knows.

    Attributes:
        newest: number of the newest deletion, looked at or not.
        since: of those up to `newest` all are here that were requested at this instant or later.
        found: these.
    """

    newest: int
    since: int
    found: tuple[Deletion, ...] = ()

    def covered(self, columns: Columns, accepted_at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which rows are taken back; `accepted_at` has an instant a row, none of them before `since`."""
        rows: NDArray[np.bool_] = np.zeros(len(columns), np.bool_)
        for deletion in self.found:
            meant = np.fromiter(map(deletion.sensor_ids.__contains__, columns.sensor_ids), np.bool_)
            if meant.any():
                inside = (columns.timestamps >= deletion.start) & (columns.timestamps < deletion.end)
                rows |= meant[columns.index] & inside & (accepted_at <= deletion.requested_at)
        return rows


NONE_KNOWN = Deletions(-1, sys.maxsize)
"""Before the first look."""


async def deletions_since(connection: Any, since: int) -> Deletions:
    """Ask for the deletions that were requested at `since` or later, an instant in microseconds since 1970.

    Those of before cover nothing that was accepted since, so a worker need not know them.
    """
    rows = await connection.fetch(_DELETIONS, instant_of(since))
    found = [
        Deletion(frozenset(ids), micros_of(start), micros_of(end), micros_of(requested_at))
        for _, ids, start, end, requested_at in rows
        if ids is not None
    ]
    return Deletions(rows[0]["newest"], since, tuple(found))
