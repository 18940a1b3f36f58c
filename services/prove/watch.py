"""Memory and descriptors of processes while they run, and whether they grow.

A part that is killed begins a new life. So growth is looked for twice: over the run, whatever life a sample is of,
and over the longest life of each part.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Literal, get_args

import psutil

from services.local.plan import Plan

__all__ = ["Figure", "Growth", "Sample", "Watch", "growth", "longest_life"]

Figure = Literal["memory", "descriptors"]

SETTLED_AFTER = 10.0
"""Seconds of a life in which a part still loads, connects and fills its caches."""

FEWEST = 12
"""Settled samples below which nothing is said about growth."""

_SLACK: Mapping[Figure, float] = {"memory": 32, "descriptors": 8}
_EVERY = 1.0
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """A part at one instant: when its process began and for how long it has lived, in seconds.

    `memory` is its own in MiB, with that of its children; what processes share, such as PostgreSQL's buffers, is not
    counted. `descriptors` are its own alone: PostgreSQL's children keep a thousand files open each, as a cache.
    """

    born: float
    age: float
    memory: float
    descriptors: float


@dataclass(frozen=True, slots=True)
class Growth:
    """Medians of the second and of the last quarter of some samples."""

    early: float
    late: float
    slack: float

    @property
    def flat(self) -> bool:
        """Whether the late figure is above the early one by no more than what comes and goes with the backlog."""
        return self.late <= 1.15 * self.early + self.slack

    def __str__(self) -> str:
        return f"{self.early:,.0f} → {self.late:,.0f}"


class Watch:
    """Samples of each part, taken once a second."""

    def __init__(self) -> None:
        self.samples: dict[str, list[Sample]] = {}

    async def follow(self, plan: Plan, sender: int) -> None:
        """Look at the parts of `plan`, at the sender and at this process, for ever."""
        while True:
            pids = {part.name: part.pid for part in plan.parts}
            await asyncio.to_thread(self.look, {**pids, "sender": sender, "this command": os.getpid()})
            await asyncio.sleep(_EVERY)

    def look(self, pids: Mapping[str, int | None]) -> None:
        """Add a sample of each process that is there."""
        for name, pid in pids.items():
            # It may have ended meanwhile.
            with contextlib.suppress(psutil.Error):
                if pid is not None:
                    self.samples.setdefault(name, []).append(_sample(psutil.Process(pid)))

    def growths(self, name: str) -> dict[tuple[Figure, str], Growth | None]:
        """Return the growth of each figure of a part over the "run" and over its longest "life"."""
        samples = self.samples.get(name, [])
        spans = {"run": samples, "life": longest_life(samples)}
        return {(figure, span): growth(spans[span], figure) for figure in get_args(Figure) for span in spans}

    @property
    def flat(self) -> bool:
        """Whether nothing grew, as far as there were samples enough to tell."""
        return all(found is None or found.flat for name in self.samples for found in self.growths(name).values())


def longest_life(samples: Iterable[Sample]) -> list[Sample]:
    """Return the samples of the process that lived longest; `samples` are in the order in which they were taken."""
    lives = (list(life) for _, life in groupby(samples, key=lambda sample: sample.born))
    return max(lives, key=lambda life: life[-1].age, default=[])


def growth(samples: Sequence[Sample], figure: Figure) -> Growth | None:
    """Compare the last quarter of the settled samples with the second; None where there are too few of them."""
    values: list[float] = [getattr(sample, figure) for sample in samples if sample.age >= SETTLED_AFTER]
    count = len(values)
    if count < FEWEST:
        return None
    return Growth(median(values[count // 4 : count // 2]), median(values[3 * count // 4 :]), _SLACK[figure])


def _sample(process: psutil.Process) -> Sample:
    born, memory = process.create_time(), _own(process)
    # This command's children are parts themselves.
    for child in () if process.pid == os.getpid() else process.children(recursive=True):
        # PostgreSQL's come and go.
        with contextlib.suppress(psutil.Error):
            memory += _own(child)
    return Sample(born, time.time() - born, memory, process.num_fds())


def _own(process: psutil.Process) -> float:
    found = process.memory_info()
    return (found.rss - found.shared) / _MIB
