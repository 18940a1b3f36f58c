"""What is observed in a database, as far as planning looks at it."""

from dataclasses import dataclass, field

from ..specs.intervals import Interval

__all__ = [
    "Definition",
    "Job",
    "ObservedAggregate",
    "ObservedColumnstore",
    "ObservedTable",
    "PartitionPolicy",
    "Reader",
    "RefreshJob",
]


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
class ObservedColumnstore:
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
class PartitionPolicy:
    """What is done with the time partitions of the readings, on a Citus cluster.

    Attributes:
        width: of partitions that are made from now on.
        drop_after: the age from which they are dropped; None where none are.
    """

    width: Interval
    drop_after: Interval | None


@dataclass(frozen=True, slots=True)
class ObservedTable:
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
        tier: age at which chunks go to the tier; None where none do.
        partitions: of the readings on a Citus cluster; None elsewhere.
    """

    columns: dict[str, str] | None = None
    ours: bool = True
    has_rows: bool = False
    time_column: str | None = None
    chunk_interval: Interval | None = None
    columnstore: ObservedColumnstore = ObservedColumnstore()
    retention: tuple[Job, ...] = ()
    readers: tuple[Reader, ...] = ()
    tier: Interval | None = None
    partitions: PartitionPolicy | None = None


@dataclass(frozen=True, slots=True)
class RefreshJob:
    """A refresh policy; an offset of None is open."""

    id: int
    start_offset: Interval | None
    end_offset: Interval | None
    schedule: Interval
    scheduled: bool = True


@dataclass(frozen=True, slots=True)
class Definition:
    """What the database makes of the query that a spec asks for.

    Attributes:
        source_known: whether its source is there and is a hypertable or a continuous aggregate.
        source_retention: retention policies of the source.
        source_tier: age at which its chunks go to the tier; None where none do.
        problem: why the database does not take the query.
        types: of the columns that the query gives, by name.
    """

    source_known: bool = True
    source_retention: tuple[Job, ...] = ()
    source_tier: Interval | None = None
    problem: str | None = None
    types: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObservedAggregate:
    """A continuous aggregate, or none.

    Attributes:
        columns: their names; None where nothing has this name.
        is_aggregate: whether it is a continuous aggregate and no table or ordinary view.
        ours: whether this role may change it.
        same_query: whether its query is the desired one, as far as its columns go.
        real_time: whether reads add what is not materialised yet.
        unfilled: whether its history still waits for a refresh.
        columnstore: its policies and whether it is on.
        retention: its policies.
        refresh: its policies.
        readers: refresh policies of aggregates over it.
    """

    columns: tuple[str, ...] | None = None
    is_aggregate: bool = True
    ours: bool = True
    same_query: bool = True
    real_time: bool = False
    unfilled: bool = False
    columnstore: ObservedColumnstore = ObservedColumnstore()
    retention: tuple[Job, ...] = ()
    refresh: tuple[RefreshJob, ...] = ()
    readers: tuple[Reader, ...] = ()
