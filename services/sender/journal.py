"""The journal of a run: what was sent and what was answered, for whoever checks the database afterwards."""

from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from .outcome import Outcome
from .readings import Batch

__all__ = ["Journal"]


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
