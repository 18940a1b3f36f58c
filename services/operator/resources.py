"""What people write into the `spec` of a custom resource, checked as far as one object alone can be."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainValidator, model_validator
from pydantic.alias_generators import to_camel

from .planning.intervals import Interval

__all__ = [
    "Columnstore",
    "DeletionPolicy",
    "HypertableSpec",
    "Name",
    "OrderBy",
    "PositiveInterval",
    "Resource",
    "Retention",
    "TableColumnstore",
]

LONGEST_NAME = 63
"""Bytes that PostgreSQL keeps of a name; it cuts the rest off silently."""

LONGEST_INTERVAL = Interval(months=12 * 1000)


def _name(text: str) -> str:
    if not 1 <= len(text.encode()) <= LONGEST_NAME:
        raise ValueError(f"a name has 1 to {LONGEST_NAME} bytes")
    if "\0" in text:
        raise ValueError("a name has no zero byte")
    return text


def _positive(value: object) -> Interval:
    interval = value if isinstance(value, Interval) else Interval.parse(str(value))
    if min(interval.months, interval.days, interval.microseconds) < 0 or interval.total == 0:
        raise ValueError(f"{value!r} must be above zero")
    if interval.total > LONGEST_INTERVAL.total:
        raise ValueError(f"{value!r} is longer than a thousand years")
    return interval


Name = Annotated[str, AfterValidator(_name)]
"""A name of PostgreSQL's: any characters, for it is always quoted."""

PositiveInterval = Annotated[Interval, PlainValidator(_positive)]
"""A length of time such as "7 days" or "01:30:00"."""


class Resource(BaseModel):
    """A part of a spec: camelCase outside, nothing unknown, never changed."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class DeletionPolicy(StrEnum):
    """What becomes of the database object when its resource is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class OrderBy(Resource):
    """A column that orders the rows inside the columnstore."""

    column: Name
    descending: bool = False


class Columnstore(Resource):
    """When old chunks are stored by column."""

    after: PositiveInterval


class TableColumnstore(Columnstore):
    """How old chunks of a table are stored by column; ordered by the time column if not said."""

    segment_by: tuple[Name, ...] = ()
    order_by: tuple[OrderBy, ...] = ()

    @model_validator(mode="after")
    def _no_column_twice(self) -> Self:
        used = [*self.segment_by, *(part.column for part in self.order_by)]
        if len(used) > len(set(used)):
            raise ValueError("a column stands once, in segmentBy or in orderBy")
        return self


class Retention(Resource):
    """When whole chunks are dropped."""

    after: PositiveInterval


class HypertableSpec(Resource):
    """A table of the database that is split into chunks by time.

    Without `columnstore` or `retention` there is no such policy; what is stored by column already stays so.
    """

    table: Name
    time_column: Name
    chunk_interval: PositiveInterval
    columnstore: TableColumnstore | None = None
    retention: Retention | None = None
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
