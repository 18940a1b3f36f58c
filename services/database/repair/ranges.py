"""Late ranges, purely: many notes become few disjoint ranges of whole hours, and each knows its notes."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.contract.instants import EPOCH

__all__ = ["HOUR", "LateRange", "Note", "merged"]

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Note:
    """A row of `late_ranges`: readings came into `start <= timestamp < end` behind an aggregate."""

    id: int
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class LateRange:
    """A half-open range of whole hours, and the ids of the notes inside it."""

    start: datetime
    end: datetime
    notes: tuple[int, ...]


def merged(notes: Iterable[Note]) -> list[LateRange]:
    """Return the hours that `notes` touch as ranges in order of time; no two overlap or meet."""
    spans: list[tuple[datetime, datetime, list[int]]] = []
    for note in sorted(notes, key=lambda note: note.start):
        start, end = _floor(note.start), _ceiling(note.end)
        if spans and start <= spans[-1][1]:
            first, last, ids = spans.pop()
            start, end = first, max(last, end)
        else:
            ids = []
        ids.append(note.id)
        spans.append((start, end, ids))
    return [LateRange(start, end, tuple(ids)) for start, end, ids in spans]


def _floor(time: datetime) -> datetime:
    return time - (time - EPOCH) % HOUR


def _ceiling(time: datetime) -> datetime:
    return time + (EPOCH - time) % HOUR
