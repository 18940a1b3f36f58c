"""The aggregates that a question may name, what each is made of, and how percentiles are written."""

import re
from collections.abc import Sequence

__all__ = ["AGGREGATES", "GROUPED", "STEPPED", "is_aggregate", "partials_of", "percentile_of", "percentiles_of"]

AGGREGATES = {
    "avg": ("sum", "min", "max"),
    "min": ("min",),
    "max": ("max",),
    "sum": ("sum",),
    "count": (),
    "first": ("first",),
    "last": ("last",),
    "stddev": ("sum", "squares"),
    "delta": ("first", "last"),
    "increase": ("increase",),
    "rate": ("increase",),
    "integral": ("integral",),
    "twa": ("integral",),
}
"""The aggregates but percentiles, and which partials each is made of beside the count."""

GROUPED = ("sum", "min", "max", "first", "last", "squares")
"""The partials that a statement can group readings to, in the order that statements give them."""

STEPPED = ("increase", "integral")
"""The partials that need each reading and the one before it."""

_PERCENTILE = re.compile(r"p(100(?:\.0{1,6})?|\d{1,2}(?:\.\d{1,6})?)", re.ASCII)


def percentile_of(name: str) -> float | None:
    """Return the share of the readings that lie below a percentile, None where the name is of none."""
    if name == "median":
        return 0.5
    match = _PERCENTILE.fullmatch(name)
    return None if match is None else float(match[1]) / 100


def is_aggregate(name: str) -> bool:
    """Tell whether a name is one of an aggregate."""
    return name in AGGREGATES or percentile_of(name) is not None


def percentiles_of(aggregates: Sequence[str]) -> tuple[str, ...]:
    """Return those of aggregates that are percentiles."""
    return tuple(name for name in aggregates if name not in AGGREGATES)


def partials_of(aggregates: Sequence[str]) -> tuple[str, ...]:
    """Return the partials that aggregates are made of: grouped ones in order, then stepped ones, then percentiles."""
    needed = {partial for name in aggregates for partial in AGGREGATES.get(name, ())}
    return (*(name for name in (*GROUPED, *STEPPED) if name in needed), *percentiles_of(aggregates))
