"""A service as a real process: `python -m services.cli run <workload>`, started, asked, stopped and killed."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from services.local.environment import environment
from services.local.process import adorned
from services.platform.settings import Settings

from .patience import eventually

__all__ = ["ROOT", "Service"]

ROOT = Path(__file__).parents[2]


class Service:
    """One process, and its log. As `async with`, it is ready inside the block and gone behind it."""

    def __init__(self, workload: str, settings: Settings, log: Path) -> None:
        """Describe the process; nothing starts.

        Args:
            workload: what it runs, such as "worker".
            settings: handed to it as its environment.
            log: file that takes what it writes; several processes may share it.
        """
        self.workload = workload
        self.settings = settings
        self.log = log
        self.module = "services.cli"
        self.variables: dict[str, str] = {}
        self.prefix: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where its HTTP port is."""
        section = getattr(self.settings, self.workload)
        return f"http://{section.host}:{section.port}"

    def start(self) -> None:
        """Start the process; it dies with the tests."""
        command = adorned([*self.prefix, sys.executable, "-m", self.module, "run", self.workload])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(self.settings) | {"PYTHONFAULTHANDLER": "1"} | self.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def ready(self, timeout: float = 60.0) -> None:
        """Wait until `/readyz` answers 200."""
        await eventually(self.is_ready, timeout, 0.2)

    async def is_ready(self) -> bool:
        """Tell whether `/readyz` answers 200 now.

        Raises:
            AssertionError: the process has ended; its log is shown.
        """
        assert self.process is not None
        assert self.process.poll() is None, f"{self.workload} ended:\n{self.log_text()}"
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"{self.url}/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    def terminate(self, timeout: float = 30.0) -> int:
        """Send SIGTERM, wait for the end and return the exit code."""
        return self._end(signal.SIGTERM, timeout)

    def kill(self) -> int:
        """Send SIGKILL, wait for the end and return the exit code."""
        return self._end(signal.SIGKILL, 10.0)

    def log_text(self) -> str:
        """Return all it wrote."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _end(self, number: signal.Signals, timeout: float) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            # Where each of its threads stands goes into its log.
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(10.0)
            raise AssertionError(
                f"{self.workload} did not end within {timeout:g} s:\n{self.log_text()[-20_000:]}"
            ) from None

    async def __aenter__(self) -> Self:
        self.start()
        await self.ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What it waits for at its end may be a proxy of this loop.
        await asyncio.to_thread(self.terminate)
