"""Which partitions there shall be, from those that there are. Pure.

Partitions lie side by side without a gap. The first one, `sensor_data_before`, has all that is older than the second,
and the last one, `sensor_data_after`, all that is newer than the one before it: so no reading is refused, and nothing
has to look whether a new partition takes rows that another one holds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ["AFTER", "BEFORE", "Partition", "Pieces", "earlier", "expired", "later", "named"]

BEFORE, AFTER = "sensor_data_before", "sensor_data_after"

ORIGIN = datetime(2000, 1, 3, tzinfo=UTC)
"""A Monday: edges lie whole widths from it, as those of TimescaleDB's buckets."""

AHEAD = timedelta(days=2)
"""How far ahead of now partitions reach at least; ingest takes readings of ten minutes ahead, unless told otherwise."""

MOST_EARLIER = 52
"""Partitions that are made for the past of a retention, each of which is a table for each shard."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of finite bounds.

    Attributes:
        name: of its table.
        low: first instant.
        high: first instant behind it.
    """

    name: str
    low: datetime
    high: datetime


@dataclass(frozen=True, slots=True)
class Pieces:
    """Partitions that are to be made.

    Attributes:
        taken: what `sensor_data_after` becomes, as it holds readings; None where it is empty.
        made: the others, in order.
    """

    taken: Partition | None
    made: tuple[Partition, ...]

    @property
    def all(self) -> tuple[Partition, ...]:
        """All of them, in order."""
        return (self.taken, *self.made) if self.taken else self.made


def later(end: datetime, width: timedelta, now: datetime, newest: datetime | None) -> Pieces:
    """Return what is to be made behind `end`.

    Args:
        end: where `sensor_data_after` begins.
        width: of partitions.
        now: this instant.
        newest: of the readings in `sensor_data_after`; None where it is empty.
    """
    stop = _up(now + max(AHEAD, 2 * width), width)
    if end >= stop:
        return Pieces(None, ())
    taken = None
    if newest is not None:
        taken = Partition(named(end), end, max(_up(newest + timedelta(microseconds=1), width), _next(end, width)))
        end = taken.high
    return Pieces(taken, tuple(_pieces(end, stop, width)))


def earlier(start: datetime, width: timedelta, since: datetime) -> tuple[Partition, ...]:
    """Return what is to be made before `start`, in order, so that readings from `since` on can be dropped by the width.

    Args:
        start: where the first partition begins; what is before it is empty.
        width: of partitions.
        since: the oldest instant that retention leaves.
    """
    first = max(_down(since, width), _down(start, width) - MOST_EARLIER * width)
    return tuple(_pieces(first, start, width))


def expired(partitions: Sequence[Partition], until: datetime) -> tuple[Partition, ...]:
    """Return those of the partitions, which are in order, whose readings are all older than `until`."""
    return tuple(partition for partition in partitions if partition.high <= until)


def named(low: datetime) -> str:
    """Return the name of the partition that begins with an instant."""
    return f"sensor_data_p{low.astimezone(UTC):%Y%m%d_%H%M%S}"


def _pieces(start: datetime, stop: datetime, width: timedelta) -> Iterator[Partition]:
    while start < stop:
        edge = min(_next(start, width), stop)
        yield Partition(named(start), start, edge)
        start = edge


def _down(instant: datetime, width: timedelta) -> datetime:
    return instant - (instant - ORIGIN) % width


def _up(instant: datetime, width: timedelta) -> datetime:
    return instant + (ORIGIN - instant) % width


def _next(instant: datetime, width: timedelta) -> datetime:
    """Return the first edge behind an instant."""
    return _down(instant, width) + width
