"""Figures: several measurements of one thing, their median and spread. Pure."""

import statistics
from collections.abc import Sequence

import msgspec

__all__ = ["Figure", "Measures", "beside"]

Measures = dict[str, float]
"""What one run measured: a name, such as "rows/s", to its value."""


def beside(found: Measures, name: str, other: str, called: str = "") -> Measures:
    """Return what the run `name` comes to beside the run `other`, which is `called` so where its name is longer."""
    return {
        f"{name}: {kind} × {called or other}": found[f"{name}: {figure}"] / found[f"{other}: {figure}"]
        for kind, figure in (("cost", "all µs/row"), ("requests/s", "requests/s"), ("rows/s", "rows/s"))
    }


class Figure(msgspec.Struct, frozen=True):
    """The values of one measure, one a run."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, runs: Sequence[Measures], name: str) -> "Figure":
        """Gather a measure from those runs that have it."""
        return cls(tuple(run[name] for run in runs if name in run))

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half of the way from the least value to the greatest, as a share of the median."""
        if self.median == 0:
            return 0.0
        return (max(self.values) - min(self.values)) / 2 / abs(self.median)

    def differs(self, other: "Figure", least: float = 0.03) -> bool:
        """Tell whether two figures differ beyond noise: no value overlaps, and the medians are `least` apart."""
        apart = max(self.values) < min(other.values) or max(other.values) < min(self.values)
        return apart and abs(other.median - self.median) > least * abs(self.median)
