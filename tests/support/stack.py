"""`millrace up` as a real process, with a data folder and ports of its own."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import psutil

from services.local.environment import environment
from services.local.plan import Plan, make_plan
from services.local.process import adorned
from services.platform.settings import LocalSettings, Settings

from .patience import eventually, free_port
from .service import ROOT

__all__ = ["RunningStack", "said_by", "stack_settings"]


def stack_settings(folder: Path, pg_bin: Path | None = None) -> Settings:
    """Return settings for a stack in `folder`, on free ports."""
    settings = Settings(
        pg_bin=pg_bin,
        local=LocalSettings(data_dir=folder, redis_port=free_port(), postgres_port=free_port()),
    )
    ported = {
        name: getattr(settings, name).model_copy(update={"port": free_port()})
        for name in ("ingest", "query", "worker", "repair")
    }
    ported["ingest"] = ported["ingest"].model_copy(update={"admin_port": ported["ingest"].port + 1})
    return settings.model_copy(update=ported)


def said_by(command: str, settings: Settings) -> subprocess.CompletedProcess[str]:
    """Run a command of `millrace` to its end and return its exit code and what it wrote."""
    return subprocess.run(
        adorned([sys.executable, "-m", "services.cli", *command.split()]),
        cwd=ROOT,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class RunningStack:
    """A running `millrace up`; behind the `async with` block it has stopped."""

    def __init__(self, settings: Settings, log: Path, *options: str, root: Path = ROOT) -> None:
        """Describe the process; nothing starts.

        Args:
            settings: handed to it as its environment.
            log: file that takes what it writes, emptied at each start.
            options: of `millrace up`.
            root: folder of the code it runs.
        """
        self.settings = settings
        self.log = log
        self._options = options
        self._root = root
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it says that it runs."""
        command = adorned([sys.executable, "-m", "services.cli", "up", *self._options], death=signal.SIGKILL)
        variables = environment(self.settings)
        if self._root != ROOT:
            # Lines of a copy are not counted.
            variables = {name: value for name, value in variables.items() if not name.startswith("COVERAGE")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 -- it only forks
                command, cwd=self._root, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        await eventually(self._runs, 90.0)

    @property
    def plan(self) -> Plan:
        """What it runs, and the settings that its services have."""
        return make_plan(self.settings, self.settings.local.data_dir)

    def log_text(self) -> str:
        """Return all it wrote since its start."""
        return self.log.read_text(errors="replace")

    def family(self) -> list[psutil.Process]:
        """Return the supervisor and all that descends from it."""
        assert self.process
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def child(self, word: str) -> psutil.Process:
        """Return the child whose last argument, or program, is `word`."""
        return self.children(word)[0]

    def children(self, word: str) -> list[psutil.Process]:
        """Return the children whose last argument, or program, is `word`."""
        lines = [(process, _command_line(process)) for process in self.family()[1:]]
        return [
            process for process, line in lines if line and (line[-1] == word or Path(line[0].split()[0]).name == word)
        ]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to the supervisor, wait for its end and return the exit code."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(60)

    def kill_everything(self) -> list[psutil.Process]:
        """Kill the supervisor and all its descendants at once; return what they were."""
        family = self.family()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        assert self.process
        self.process.wait(10)
        return family

    def _runs(self) -> bool:
        assert self.process
        assert self.process.poll() is None, f"millrace up ended:\n{self.log_text()}"
        return "Millrace runs." in self.log_text()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.stop()


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
