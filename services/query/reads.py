"""Which readings a plan's statement may need, told so that those of the cold tier can be put beside the table's.

What is told may be more than the statement takes, for it has its own conditions, and must not be less.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ask", "Grouped", "Reads"]


@dataclass(frozen=True, slots=True)
class Ask:
    """What the database is asked before: a statement of one column, with `$1`, `$2`, … for the arguments."""

    statement: str
    arguments: tuple[object, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """Readings of which partials are enough, in the plan's own columns.

    Attributes:
        edges: of the buckets, in microseconds.
        names: of the partials beside the count: of sum, min, max, squares.
    """

    edges: NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reads:
    """Readings of sensors in a half-open range.

    Attributes:
        sensors: ids, each once; an `Ask` gives them where the catalogue chooses them.
        start, end: of the range.
        limit: so many of each sensor are enough; None for all.
        descending: whether the newest are meant by the limit.
        behind: the first sensor's begin behind this instant and id, in the order of the limit.
        within: gives multiranges, outside of which nothing is needed.
        grouped: what is made of them; None where the statement needs each.
    """

    sensors: Sequence[str] | Ask
    start: datetime
    end: datetime
    limit: int | None = None
    descending: bool = False
    behind: tuple[datetime, int] | None = None
    within: Ask | None = None
    grouped: Grouped | None = None
