"""The query of a continuous aggregate, as SQL."""

from collections.abc import Sequence

from ..specs.resources import Column, ContinuousAggregateSpec, Function
from .quoting import identifier, interval, literal, relation

__all__ = ["BUCKET", "aggregate_query", "expression", "wanted_columns"]

BUCKET = "bucket"
"""Name of the column with the time bucket."""


def wanted_columns(spec: ContinuousAggregateSpec) -> tuple[str, ...]:
    """Return the names of all columns in the order in which a new aggregate has them."""
    return (BUCKET, *spec.group_by, *(column.name for column in spec.columns))


def aggregate_query(spec: ContinuousAggregateSpec, columns: Sequence[str]) -> str:
    """Return the SELECT that gives `columns`, some of those that the spec wants, in their order."""
    zone = f", {literal(spec.bucket.time_zone)}" if spec.bucket.time_zone else ""
    bucket = f"time_bucket({interval(spec.bucket.width)}, {identifier(spec.bucket.column)}{zone})"
    terms = {BUCKET: bucket} | {name: identifier(name) for name in spec.group_by}
    groups = ", ".join(str(columns.index(name) + 1) for name in terms)
    terms |= {column.name: expression(column, spec.bucket.column) for column in spec.columns}
    selected = ", ".join(f"{terms[name]} as {identifier(name)}" for name in columns)
    return f"select {selected} from {relation(spec.source.name)} group by {groups}"  # noqa: S608


def expression(column: Column, time_column: str) -> str:
    """Return the SQL of an aggregated column over a source with `time_column`."""
    if column.expression:
        return f"({column.expression})"
    of = "*" if column.of is None else identifier(column.of)
    match column.function:
        case Function.FIRST | Function.LAST:
            return f"{column.function}({of}, {identifier(time_column)})"
        case Function.PERCENTILE:
            return f"percentile_cont({column.argument!r}::float8) within group (order by {of})"
    return f"{column.function}({of})"
