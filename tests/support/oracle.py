"""The oracle of the fault tests: what the sender's journal promises, held against the database."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.platform.settings import DatabaseSettings

from .readings import sql

__all__ = ["Verdict", "check", "judge"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many rows were promised, stored, lost (promised, not stored) and doubled."""

    promised: int
    stored: int
    lost: int
    doubled: int

    @property
    def clean(self) -> bool:
        """Whether nothing was lost and nothing doubled."""
        return self.lost == 0 == self.doubled


async def check(journal: Path, database: DatabaseSettings) -> Verdict:
    """Hold a journal against `sensor_data`: a made reading's value is the number of its row."""
    values = [int(row[0]) for row in await sql(database, "select value from sensor_data")]
    return await asyncio.to_thread(lambda: judge(journal.read_text(), values))


def judge(journal: str, values: Sequence[int]) -> Verdict:
    """Hold a journal's lines against the values that are stored."""
    promised = _promised(journal)
    times = np.bincount(np.array(values, np.int64), minlength=len(promised))
    lost = int(np.count_nonzero(times[: len(promised)][promised] == 0))
    return Verdict(int(promised.sum()), len(values), lost, int(np.count_nonzero(times > 1)))


def _promised(journal: str) -> NDArray[np.bool_]:
    lines = [json.loads(line) for line in journal.splitlines()]
    last = max(line["first_row"] + line["rows"] for line in lines)
    promised = np.zeros(last, np.bool_)
    for line in lines:
        if line["state"] == "acked":
            promised[line["first_row"] : line["first_row"] + line["rows"]] = True
    return promised
