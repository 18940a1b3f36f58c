"""A service as a child process, its log lines passed on with its name before them."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from .process import adorned

__all__ = ["ServiceProcess"]

LONGEST_LINE = 1024 * 1024
WIDTH = len("worker-10")
WARM = Path(__file__).with_name("warm.py")


class ServiceProcess:
    """`millrace run <workload>` with an environment of its own; `url` is where its health is asked."""

    def __init__(self, name: str, workload: str, environment: Mapping[str, str], url: str, grace: float) -> None:
        """Describe the process; nothing starts.

        Args:
            name: shown before its lines.
            workload: what it runs, such as "worker".
            environment: the whole of it.
            url: of its HTTP port.
            grace: seconds it may take to end what it has in hand.
        """
        self.name = name
        self.workload = workload
        self.url = url
        self._environment = environment
        self._grace = grace
        self._process: asyncio.subprocess.Process | None = None
        self._warm: asyncio.subprocess.Process | None = None
        self._lines: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process; it is killed when this one dies, for what it had in hand is redone."""
        if self._warm is not None and self._warm.returncode is None and self._warm.stdin:
            self._warm.stdin.write(b"\n")
            self._warm.stdin.close()
            self._process, self._warm = self._warm, None
        else:
            self._process = await self._spawn("-m", "services.cli", "run", self.workload)
        self._lines = asyncio.create_task(self._pass_on(self._process))

    async def warm_up(self) -> None:
        """Prepare the next start: an interpreter that has imported all but our own code."""
        if self._warm is None:
            self._warm = await self._spawn("-P", str(WARM), "run", self.workload, stdin=asyncio.subprocess.PIPE)

    async def _spawn(self, *arguments: str, stdin: int = asyncio.subprocess.DEVNULL) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *adorned([sys.executable, *arguments], death=signal.SIGKILL),
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
            limit=LONGEST_LINE,
            start_new_session=True,
        )

    @property
    def running(self) -> bool:
        """Tell whether the process was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """The process, None where none runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def ended(self) -> int:
        """Wait for the end and return the exit code."""
        assert self._process  # noqa: S101 -- it was started
        assert self._lines  # noqa: S101
        await asyncio.wait([self._lines])
        return await self._process.wait()

    async def stop(self, grace: float | None = None) -> None:
        """Ask the process to end, and kill it when it has not within `grace` seconds."""
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
            try:
                await asyncio.wait_for(self.ended(), self._grace if grace is None else grace)
            except TimeoutError:
                self.kill()
                await self.ended()

    def kill(self) -> None:
        """Kill the process, if it runs."""
        _kill(self._process)

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal, if it runs."""
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def cool_down(self) -> None:
        """End what `warm_up` prepared."""
        _kill(self._warm)
        if self._warm:
            await self._warm.wait()

    async def _pass_on(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout  # noqa: S101 -- it is a pipe
        # JSON lines name their service themselves, and must stay JSON.
        prefix = f"\x1b[2m{self.name:>{WIDTH}} |\x1b[0m ".encode() if sys.stderr.isatty() else b""
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                line = b"(a line too long to show)\n"
            if not line:
                return
            sys.stderr.buffer.write(prefix + line)
            sys.stderr.buffer.flush()


def _kill(process: asyncio.subprocess.Process | None) -> None:
    if process and process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
