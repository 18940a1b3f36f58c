"""What stands in a database now, as far as planning looks at it."""

from dataclasses import dataclass

from .intervals import Interval

__all__ = ["Job", "Reader", "StandingColumnstore", "StandingTable"]


@dataclass(frozen=True, slots=True)
class Job:
    """A columnstore or retention policy.

    Attributes:
        id: of the job.
        after: age at which it acts on a chunk; None where it is told otherwise than by an interval.
        scheduled: whether it runs.
    """

    id: int
    after: Interval | None
    scheduled: bool = True


@dataclass(frozen=True, slots=True)
class StandingColumnstore:
    """The columnstore's settings; `order_by` holds names with whether they descend."""

    enabled: bool = False
    segment_by: tuple[str, ...] = ()
    order_by: tuple[tuple[str, bool], ...] = ()
    policies: tuple[Job, ...] = ()


@dataclass(frozen=True, slots=True)
class Reader:
    """A continuous aggregate's refresh policy on a source: it reads rows younger than `start_offset`, or all."""

    aggregate: str
    start_offset: Interval | None


@dataclass(frozen=True, slots=True)
class StandingTable:
    """A table, or none.

    Attributes:
        columns: name to type; None where there is no such table.
        ours: whether this role may change it.
        has_rows: whether it holds any, asked only of an ordinary table.
        time_column: of the hypertable; None where it is an ordinary table.
        chunk_interval: of the hypertable.
        columnstore: its settings and policies.
        retention: its policies.
        readers: refresh policies over it.
    """

    columns: dict[str, str] | None = None
    ours: bool = True
    has_rows: bool = False
    time_column: str | None = None
    chunk_interval: Interval | None = None
    columnstore: StandingColumnstore = StandingColumnstore()
    retention: tuple[Job, ...] = ()
    readers: tuple[Reader, ...] = ()
