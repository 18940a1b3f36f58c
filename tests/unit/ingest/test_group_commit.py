"""Which pending batches share an entry."""

import asyncio
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
    nobody: Any = None
    commit = GroupCommit(nobody, lambda: Durability.REPLY, nobody, IngestSettings(), 1.0)
    for rows, label_bytes in sizes:
        written = Written(["a"] * rows, ["2025-10-22T21:00:00Z"] * rows, [1.0] * rows)
        done = asyncio.get_running_loop().create_future()
        commit.put(PendingBatch(Decoded(written), label_bytes=label_bytes, done=done))
    assert [len(commit._next_entry()) for _ in shared] == shared
    assert not commit._waiting
