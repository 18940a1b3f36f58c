"""Which pending batches share an entry."""

import asyncio
import time
from typing import Any

import pytest

from services.ingest.commit.group_commit import GroupCommit
from services.ingest.commit.pending import PendingBatch
from services.ingest.readings import Decoded, Written
from services.platform.settings import IngestSettings
from services.platform.stream import Durability

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("sizes", "shared"),
    [
        ([(10, 0), (10, 0), (10, 0)], [3]),
        ([(40_000, 0), (10_000, 0), (1, 0)], [2, 1]),
        ([(60_000, 0), (1, 0)], [1, 1]),
        ([(1, 60 * MIB), (1, 30 * MIB), (1, 60 * MIB)], [2, 1]),
        ([(1, 300 * MIB), (1, 1)], [1, 1]),
    ],
)
async def test_an_entry_is_full_by_its_rows_or_by_its_labels(sizes: list[tuple[int, int]], shared: list[int]) -> None:
    commit = _commit()
    for rows, label_bytes in sizes:
        _put(commit, rows, label_bytes)
    assert [len(commit._next_entry()) for _ in shared] == shared
    assert not commit._waiting


@pytest.mark.parametrize(
    ("before", "waiting", "rows", "coming", "shared"),
    [
        (1, 1, 1, [1, 1, 1], 1),
        (3, 1, 1, [1, 1, 1], 1),
        (9, 1, 1, [1, 2, 0, 1], 4),
        (9, 1, 1, [0, 1], 1),
        (99, 10, 1, [10, 10, 10, 10, 10], 50),
        (5, 5, 1, [1, 0, 1], 6),
        (5, 5, 1, [1] * 100, 19),
        (20, 10, 1, [250, 10], 260),
        (20, 1, 4_000, [1], 1),
    ],
    ids=["alone", "few", "a lull", "at once", "not for ever", "all are back", "nor then", "enough", "not large ones"],
)
async def test_a_crowd_of_small_requests_waits_for_more_of_it_and_nobody_else_does(
    before: int, waiting: int, rows: int, coming: list[int], shared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = _commit()
    for _ in range(before):
        _put(commit, 1)
    commit._next_entry()
    steps, clock = iter(coming), [0.0]

    async def step(seconds: float) -> None:
        clock[0] += seconds or 0.0003
        for _ in range(next(steps)):
            _put(commit, 1)

    monkeypatch.setattr(asyncio, "sleep", step)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for _ in range(waiting):
        _put(commit, rows)
    await commit._gather()
    assert len(commit._next_entry()) == shared


def _commit() -> GroupCommit:
    nobody: Any = None
    return GroupCommit(nobody, lambda: Durability.REPLY, nobody, IngestSettings(), 1.0)


def _put(commit: GroupCommit, rows: int, label_bytes: int = 0) -> None:
    written = Written(["a"] * rows, ["2025-10-22T21:00:00Z"] * rows, [1.0] * rows)
    done = asyncio.get_running_loop().create_future()
    commit.put(PendingBatch(Decoded(written), done, len(written), label_bytes=label_bytes))
