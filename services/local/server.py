"""What both embedded servers have in common: one process, its log file, its start and its end."""

import abc
import asyncio
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import structlog

from services.platform.runtime.starting import StartError

from .process import Account, adorned

__all__ = ["Server"]

log = structlog.get_logger(__name__)


class Server(abc.ABC):
    """A server of our own, which does not outlive us.

    Attributes:
        name: for people.
        log: the file with what it writes since its last start.
        process: None before the first start.
        grace: seconds that it has to end. Where it has hung itself up, as PostgreSQL may when it is told to end while
            its recovery finds the disk full, it is killed then: it recovers at its next start.
    """

    def __init__(self, name: str, log: Path, polite: signal.Signals) -> None:
        """Describe the server; `polite` is the signal that makes it end with everything on disk."""
        self.name = name
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.grace = 60.0
        self._polite = polite

    @property
    def pid(self) -> int | None:
        """The process, None where none runs."""
        return self.process.pid if self.process and self.process.poll() is None else None

    async def ended(self) -> int:
        """Wait for the end and return the exit code."""
        while self.process is None or (code := self.process.poll()) is None:  # noqa: ASYNC110 -- no event tells
            await asyncio.sleep(0.1)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal, if it runs."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)

    async def stop(self) -> None:
        """Stop the server, with all it holds on disk."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(self._polite)
            try:
                await asyncio.wait_for(self.ended(), self.grace)
            except TimeoutError:
                log.warning("a server does not end, and is killed", action="stop", server=self.name)
                self.signal(signal.SIGKILL)
                await self.ended()

    @abc.abstractmethod
    async def is_ready(self) -> bool:
        """Tell whether it answers."""

    async def _launch(self, command: Sequence[str | Path], account: Account | None = None) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220, S603 -- it only forks; waiting is done elsewhere
                adorned(command, account, self._polite),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        while not await self.is_ready():
            if self.process.poll() is not None:
                words = self.log.read_text(errors="replace").strip().splitlines()[-3:]
                raise StartError(f"{self.name} does not start: {' / '.join(words)}; all it said: {self.log}")
            await asyncio.sleep(0.05)
