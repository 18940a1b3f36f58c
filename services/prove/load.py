"""The load of a proof: `millrace send` as a process beside it, with keys, patience and a journal."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.local.process import adorned

__all__ = ["loaded"]


@contextlib.asynccontextmanager
async def loaded(url: str, journal: Path) -> AsyncIterator[int]:
    """Send to ingest at `url` until the block ends, and yield the sender's process; then the journal is complete."""
    # A millisecond a step, so that the load's own clock stays behind ours.
    start = datetime.now(UTC) - timedelta(days=1)
    what = ["--rows", str(10**12), "--batch", "100", "--start", start.isoformat(), "--step", "0.001"]
    how = ["--connections", "4", "--patience", "120", "--url", url, "--journal", str(journal)]
    nothing = asyncio.subprocess.DEVNULL
    command = adorned([sys.executable, "-m", "services.cli", "send", *what, *how])
    sender = await asyncio.create_subprocess_exec(*command, stdin=nothing, stdout=nothing, stderr=nothing)
    try:
        yield sender.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            sender.send_signal(signal.SIGINT)
        await sender.wait()
