"""Failpoints: named places in which a test lets a real process die, hang or fail.

They are there only where the environment variable ``FAILPOINTS`` names a folder when the process starts; elsewhere
`reach` does nothing. A file in the folder that has a place's name arms it once: who reaches the place takes the file
away and does what it says, `kill`, `stop` (until SIGCONT) or `fail` (as a lost connection does).
"""

import os
import signal
from pathlib import Path
from typing import Literal

__all__ = ["VARIABLE", "Place", "reach"]

VARIABLE = "FAILPOINTS"

Place = Literal[
    "ingest.before_add",
    "ingest.after_add",
    "worker.after_read",
    "worker.after_ledger",
    "worker.before_copy",
    "worker.before_commit",
    "worker.after_commit",
    "worker.after_settle",
    "deletion.before_commit",
    "catalogue.before_commit",
    "rollups.before_commit",
    "rollups.before_telling",
    "tier.after_intent",
    "tier.after_write",
    "tier.after_verify",
    "tier.after_drop",
    "tier.after_commit",
    "tier.after_removal",
    "import.before_post",
    "import.after_post",
]
"""Before and after the entry is written; after entries were read; between ledger and the claim of slices, this or the
look for natural rows and COPY, COPY and COMMIT, COMMIT and acknowledgement; after that; between deleting a slice of
rows, a step of the catalogue or one of the rollups, and COMMIT; between the buckets of a step and what tells of them,
where these are two transactions; on a chunk's way to the tier, between the note of its files, these, their
verification, the drop, COMMIT, and the removal of files that nobody asks for; before and after a piece of a file is
posted, between the notes of both."""


def _absent(_: Place) -> None:
    return


def _armed(place: Place) -> None:
    """Do what the place's file says, where there is one.

    Raises:
        ConnectionResetError: it says `fail`.
    """
    file = Path(os.environ[VARIABLE], place)
    taken = file.with_name(f".{place}.{os.getpid()}")
    try:
        file.rename(taken)
    except FileNotFoundError:
        return
    action = taken.read_text().strip()
    taken.unlink()
    if action == "fail":
        raise ConnectionResetError(f"failpoint {place}")
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[action])


reach = _armed if VARIABLE in os.environ else _absent
"""Tell that a place is reached."""
