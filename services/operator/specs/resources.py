"""What people write into the `spec` of a custom resource, checked as far as one object alone can be."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, model_validator
from pydantic.alias_generators import to_camel

from .intervals import Interval

__all__ = [
    "Bucket",
    "Column",
    "Columnstore",
    "ContinuousAggregateSpec",
    "DeletionPolicy",
    "Function",
    "HypertableSpec",
    "Name",
    "OrderBy",
    "PositiveInterval",
    "Refresh",
    "Resource",
    "Retention",
    "SchemaSpec",
    "SecretKey",
    "Source",
    "TableColumnstore",
    "Tier",
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


class Tier(Resource):
    """When whole chunks go to files of the cold tier."""

    after: PositiveInterval

    @model_validator(mode="after")
    def _not_young(self) -> Self:
        if self.after.total < Interval(days=1).total:
            raise ValueError("chunks go to the tier after a day or more")
        return self


class SecretKey(Resource):
    """Where a connection stands."""

    name: Annotated[str, Field(min_length=1)]
    key: Annotated[str, Field(min_length=1)]


class SchemaSpec(Resource):
    """A database, by the connections of its roles."""

    owner_url_from: SecretKey
    writer_url_from: SecretKey | None = None
    reader_url_from: SecretKey | None = None
    admin_url_from: SecretKey | None = None
    timescaledb_version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] | None = None

    @model_validator(mode="after")
    def _updated_by_admin(self) -> Self:
        if self.timescaledb_version and not self.admin_url_from:
            raise ValueError("timescaledbVersion needs adminUrlFrom: only a superuser may update an extension")
        return self


class HypertableSpec(Resource):
    """A table of the database that is split into chunks by time.

    Without `columnstore`, `retention` or `tier` there is no such policy; what is stored by column, or in the tier,
    already stays so.
    """

    table: Name
    time_column: Name
    chunk_interval: PositiveInterval
    columnstore: TableColumnstore | None = None
    retention: Retention | None = None
    tier: Tier | None = None
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN

    @model_validator(mode="after")
    def _tier_of_readings(self) -> Self:
        if self.tier and self.table != "sensor_data":
            raise ValueError("tier: the readings alone, sensor_data, go to the tier")
        if self.tier and self.retention and self.retention.after.total <= self.tier.after.total:
            raise ValueError(
                "retention takes chunks before they go to the tier; raise retention.after above tier.after"
            )
        return self


class Source(Resource):
    """What is aggregated: a hypertable or another continuous aggregate."""

    table: Name | None = None
    aggregate: Name | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.table is None) == (self.aggregate is None):
            raise ValueError("name either a table or an aggregate as the source")
        return self

    @property
    def name(self) -> str:
        """Name of the table or the view."""
        return self.table or self.aggregate or ""


class Bucket(Resource):
    """The time bucket, which is the column `bucket`."""

    width: PositiveInterval
    column: Name
    time_zone: Name | None = None


class Function(StrEnum):
    """How the values of a bucket become one."""

    AVG = "avg"
    MIN = "min"
    MAX = "max"
    COUNT = "count"
    SUM = "sum"
    STDDEV = "stddev"
    FIRST = "first"
    LAST = "last"
    PERCENTILE = "percentile"


class Column(Resource):
    """An aggregated column."""

    name: Name
    function: Function | None = None
    of: Name | None = None
    argument: Annotated[float, Field(ge=0, le=1)] | None = None
    expression: Annotated[str, Field(min_length=1, max_length=1000)] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.function is None) == (self.expression is None):
            raise ValueError("a column has either a function or an expression")
        if self.function not in {None, Function.COUNT} and self.of is None:
            raise ValueError("the function needs a column to work on; name it in `of`")
        if (self.function is Function.PERCENTILE) != (self.argument is not None):
            raise ValueError("percentile, and only percentile, needs an argument from 0 to 1")
        return self


class Refresh(Resource):
    """The refresh policy: each run looks at the time between both offsets behind now."""

    start_offset: PositiveInterval
    end_offset: PositiveInterval
    schedule: PositiveInterval


class ContinuousAggregateSpec(Resource):
    """A continuous aggregate and the policies that look after it; without one of these there is no such policy."""

    name: Name
    source: Source
    bucket: Bucket
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    group_by: tuple[Name, ...] = ()
    real_time: bool = True
    refresh: Refresh | None = None
    columnstore: Columnstore | None = None
    retention: Retention | None = None
    allow_expressions: bool = False
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = ["bucket", *self.group_by, *(column.name for column in self.columns)]
        if len(names) > len(set(names)):
            raise ValueError("a column is called like the bucket or like another column; give it another name")
        if not self.allow_expressions and any(column.expression for column in self.columns):
            raise ValueError("a column has an expression; set allowExpressions to true to take SQL as it stands")
        return self

    @model_validator(mode="after")
    def _windows(self) -> Self:
        if self.refresh:
            start = self.refresh.start_offset.total
            if start - self.refresh.end_offset.total < 2 * self.bucket.width.total:
                raise ValueError(
                    "the refresh window (startOffset less endOffset) must hold at least two buckets; "
                    "raise refresh.startOffset"
                )
            for name, part in (("retention", self.retention), ("columnstore", self.columnstore)):
                if part and part.after.total <= start:
                    raise ValueError(f"{name}.after lies inside the refresh window; raise it above refresh.startOffset")
        return self
