"""What a case is."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .figures import Measures
from .stack import Bench

__all__ = ["Case", "Measure", "Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured.

    Attributes:
        seconds: of load in one run.
        repeats: runs of a case.
        rows: of the past that questions are asked about.
        minutes: of the soak.
        profiles: folder for flame graphs of one more run a case, None for no such run.
    """

    seconds: float
    repeats: int
    rows: int
    minutes: float
    profiles: Path | None = None


Measure = Callable[[Bench, Options], Awaitable[Measures]]
"""One run of a case on a running stack."""


@dataclass(frozen=True, slots=True)
class Case:
    """Something to measure.

    Attributes:
        name: as it is chosen.
        title: a line for people.
        measure: one run, with everything in it that it is held against, one directly behind the other.
        plain: whether it wants a database without TimescaleDB.
        columnstore: whether it is about TimescaleDB's alone.
        sections: settings of its stack; cases with equal ones share a stack.
        prepare: what is done once, before the first run.
        once: whether one run is enough, however many are wanted.
        asked: whether it runs only where it is named.
        rests: whether what a stack holds is measured before anything is sent.
    """

    name: str
    title: str
    measure: Measure
    plain: bool = False
    columnstore: bool = False
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prepare: Callable[[Bench, Options], Awaitable[None]] | None = None
    once: bool = False
    asked: bool = False
    rests: bool = False
