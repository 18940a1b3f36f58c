"""Readings that the service does not take, handed to whoever wants them: a callback, a file, or at least the log."""

import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from .batches import Reject

__all__ = ["Rejects"]

_log = logging.getLogger("millrace_client")


class Rejects:
    """Where rejects go; the writer's thread calls it before it forgets them, so after a crash some may come again."""

    def __init__(self, callback: Callable[[Reject], object] | None, path: Path | None) -> None:
        self._callback = callback
        self._path = path

    def hand_over(self, rejects: Sequence[Reject]) -> None:
        """Append rejects to the file, one JSON object a line, and call the callback for each.

        Raises:
            OSError: the file cannot be written; the rejects are not handed over.
        """
        if not rejects:
            return
        first = rejects[0]
        told = (
            "1 reading was not taken" if len(rejects) == 1 else f"{len(rejects)} readings were not taken; the first one"
        )
        _log.warning("millrace: %s for %s: %s", told, first.code, first.message)
        if self._path is not None:
            lines = b"".join(json.dumps(asdict(reject)).encode() + b"\n" for reject in rejects)
            with self._path.open("ab") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        if self._callback is not None:
            for reject in rejects:
                try:
                    self._callback(reject)
                except Exception:  # noqa: BLE001 -- whatever a callback does, the others are told
                    _log.exception("millrace: on_reject failed for a reading of code %s", reject.code)
