"""Data points that are not one number to readings, named as Prometheus names those of its own histograms and summaries.

name_bucket{le="0.5"}    how many lay at or below a bound, of a histogram
name{quantile="0.99"}    of a summary
name_sum, name_count     of both, and of exponential histograms
name_min, name_max       of histograms of both sorts, where they are told
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from services.contract import SeriesError

from .attributes import Label

__all__ = ["NUMBER", "Shape", "Told", "readings"]

Told = Callable[[Any, str], float | None]
"""Returns what a field of a point says that may be absent."""

_NO_RECORDED_VALUE = 1
"""Bit of a point's flags: there was nothing to measure, and no value counts."""


class Shape(NamedTuple):
    """Which readings a point comes to, in their order.

    Attributes:
        label: "le" or "quantile", the label that tells those for `bounds` apart.
        bounds: of buckets, or quantiles.
        suffixes: of the names of the others.
    """

    label: str
    bounds: tuple[float, ...]
    suffixes: tuple[str, ...]

    def parts(self) -> Iterator[tuple[str, list[Label]]]:
        """Yield what a reading's name ends with, and its own labels."""
        suffix = "_bucket" if self.label == "le" else ""
        for bound in self.bounds:
            yield suffix, [(self.label, _text(bound))]
        for suffix in self.suffixes:
            yield suffix, []


NUMBER = Shape("", (), ("",))
"""Of a point of a gauge or a sum."""


def readings(kind: str, point: Any, told: Told) -> tuple[Shape, Sequence[float]] | None:
    """Return which readings a point comes to, and their values; None where there was nothing to measure.

    Args:
        kind: the field of its metric that it stands in.
        point: a message, or what JSON holds of the same names.
        told: reads it.

    Raises:
        SeriesError: its buckets or quantiles are none.
    """
    if (point.flags or 0) & _NO_RECORDED_VALUE:
        return None
    if kind == "histogram":
        return _histogram(point, told)
    if kind == "exponential_histogram":
        return _totals(point, told)
    if kind == "summary":
        return _summary(point)
    value = told(point, "as_double")
    value = told(point, "as_int") if value is None else value
    return None if value is None else (NUMBER, [float(value)])


def _histogram(point: Any, told: Told) -> tuple[Shape, list[float]]:
    """Read a histogram's point; a bucket counts what those below it count, too, as Prometheus' buckets do."""
    counts, bounds = list(point.bucket_counts or ()), [bound + 0.0 for bound in point.explicit_bounds or ()]
    if len(counts) != len(bounds) + 1 and (counts or bounds):
        raise SeriesError(
            "bucket_counts", "malformed", f"{len(counts)} bucket_counts and {len(bounds)} explicit_bounds do not fit"
        )
    if not all(map(math.isfinite, bounds)) or any(low >= high for low, high in pairwise(bounds)):
        raise SeriesError("explicit_bounds", "malformed", "explicit_bounds must be finite numbers in ascending order")
    shape, values = _totals(point, told)
    buckets = [*map(float, accumulate(counts[:-1])), float(point.count or 0)]
    return shape._replace(label="le", bounds=(*bounds, math.inf)), buckets + values


def _totals(point: Any, told: Told) -> tuple[Shape, list[float]]:
    """Read what a histogram's point says beside its buckets, which is all that is kept of an exponential one."""
    count = float(point.count or 0)
    found = {"sum": told(point, "sum"), "count": count, "min": told(point, "min"), "max": told(point, "max")}
    there = {f"_{name}": value for name, value in found.items() if value is not None}
    return Shape("", (), tuple(there)), list(there.values())


def _summary(point: Any) -> tuple[Shape, list[float]]:
    quantiles = [(one.quantile or 0.0) + 0.0 for one in point.quantile_values or ()]
    if not all(0 <= quantile <= 1 for quantile in quantiles):
        raise SeriesError("quantile_values", "malformed", "a quantile must lie between 0 and 1")
    values = [one.value or 0.0 for one in point.quantile_values or ()]
    shape = Shape("quantile", tuple(quantiles), ("_sum", "_count"))
    return shape, [*values, point.sum or 0.0, float(point.count or 0)]


def _text(bound: float) -> str:
    """Return a number as Prometheus writes a bound: the shortest digits, and never an exponent."""
    return "+Inf" if bound == math.inf else np.format_float_positional(bound, trim="-")
