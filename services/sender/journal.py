"""The journal of a run: what was sent and what was answered, for whoever checks the database afterwards."""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson
from millrace_client.outcomes import Outcome, State

from .readings import Batch

__all__ = ["Journal", "Range", "in_doubt", "promised"]

Range = tuple[int, int]
"""Rows from the first up to but without the second."""


class Journal:
    """One NDJSON line when a batch is first sent and one when its end is known; without a path, nothing.

    A line is with the operating system before the request leaves, so that it outlives a killed sender.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("ab", buffering=0) if path else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()

    def note(self, batch: Batch, key: str | None, outcome: Outcome) -> None:
        """Append what became of `batch`."""
        if self._file:
            line = {
                "batch": batch.number,
                "key": key,
                "batch_id": outcome.batch_id,
                "first_row": batch.first_row,
                "rows": batch.rows,
                "state": outcome.state,
                "status": outcome.status,
            }
            self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def promised(lines: Iterable[bytes]) -> tuple[int, list[Range]]:
    """Return how many rows a journal says were sent, and the ranges that were acknowledged, in order."""
    sent, kept = 0, list[Range]()
    for line in map(orjson.loads, lines):
        if line["state"] == State.SENT:
            sent += line["rows"]
        elif line["state"] == State.ACKED:
            kept.append((line["first_row"], line["first_row"] + line["rows"]))
    return sent, sorted(kept)


def in_doubt(lines: Iterable[bytes]) -> int:
    """Return how many rows a journal says were sent and may be stored or not, counted each time."""
    return sum(line["rows"] for line in map(orjson.loads, lines) if line["state"] == State.UNKNOWN)
