"""What the fault tests share: quick workers, load with a journal, failpoints, and the wait for the drain."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from services.contract import StreamNames
from services.platform.runtime.failpoints import VARIABLE, Place
from services.platform.settings import Settings
from services.platform.stream import STREAM_ERRORS, Stream, redis_client

from .patience import eventually, free_port
from .service import Service

__all__ = ["Failpoints", "Make", "acknowledged", "chance", "drained", "ended", "load", "worker"]

Make = Callable[[str, Settings], Service]


def chance() -> random.Random:
    """Return a random source whose seed is printed."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    return random.Random(seed)


class Failpoints:
    """A folder of failpoints, for the processes that are told of it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder

    def given_to(self, process: Service) -> Service:
        """Tell a process, which must not run yet, of the folder, and return it."""
        process.variables[VARIABLE] = str(self._folder)
        return process

    def arm(self, place: Place, action: str) -> None:
        """Let the next process that reaches `place` do `action`: kill, stop or fail."""
        hidden = self._folder / f".arming.{place}"
        hidden.write_text(action)
        hidden.rename(self._folder / place)

    async def fired(self, place: Place) -> None:
        """Wait until somebody has reached the place."""
        await eventually(lambda: not (self._folder / place).exists(), 60.0)


def worker(settings: Settings, name: str, **own: float) -> Settings:
    """Return the settings of one more worker, quick to take over unless its `own` say otherwise."""
    changed = {"name": name, "port": free_port(), "reclaim_idle": 2.0, "reclaim_interval": 0.5, "batch_rows": 5000}
    return settings.model_copy(update={"worker": settings.worker.model_copy(update=changed | own)})


LEAVES_ALONE = 3600.0
"""`reclaim_idle` of a worker that leaves to others what they have read, however long they have it."""


@asynccontextmanager
async def load(settings: Settings, journal: Path, rows: int) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Send readings in the background; behind the block all of them have been answered."""
    command = [sys.executable, "-m", "services.cli", "send", "--rows", str(rows), "--batch", "200", "--patience", "120"]
    command += [
        "--journal",
        str(journal),
        "--url",
        f"http://{settings.ingest.host}:{settings.ingest.port}",
        "--connections",
        "4",
    ]
    sender = subprocess.Popen(  # noqa: ASYNC220 -- it only forks
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        yield sender
        _, errors = await asyncio.to_thread(sender.communicate, None, 150 + rows / 2_000)
        assert sender.returncode == 0, errors.decode()
    finally:
        sender.kill()


async def acknowledged(journal: Path, sender: subprocess.Popen[bytes], batches: int) -> bool:
    """Wait until so many more batches of a load were acknowledged, and tell whether there are more to come."""

    def count() -> int:
        return journal.read_bytes().count(b'"acked"') if journal.exists() else 0

    enough = count() + batches
    await eventually(lambda: count() >= enough or sender.poll() is not None, 60.0)
    return sender.poll() is None


async def drained(settings: Settings, patience: float = 60.0) -> None:
    """Wait until the stream is empty."""
    async with redis_client(settings.redis) as client:
        stream = Stream(client, StreamNames(settings.redis.stream))

        async def empty() -> bool:
            try:
                return (await stream.backlog()).entries == 0
            except STREAM_ERRORS:
                return False

        await eventually(empty, patience)


def ended(process: Service) -> bool:
    """Tell whether a process has been killed."""
    assert process.process
    return process.process.poll() == -signal.SIGKILL
