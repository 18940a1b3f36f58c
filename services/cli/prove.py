"""`millrace prove`: a stack of its own under load, its parts killed and paused at random, and the verdict."""

import asyncio
import contextlib
import random
import secrets
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from services.contract import StreamNames
from services.local.guards import sole_user
from services.local.plan import make_plan
from services.local.stack import Stack
from services.platform.settings import Settings
from services.platform.stream import STREAM_ERRORS, Stream, redis_client
from services.platform.tasks import end

from .verdict import Verdict, judge

__all__ = ["run_prove"]

_DRAINED_WITHIN = 120.0
_LINE_EVERY = 10.0


def run_prove(settings: Settings, minutes: float, seed: int | None) -> bool:
    """Run the proof below the data folder, beside a stack that may run there; tell whether the promise was kept.

    Raises:
        StartError: the stack cannot start.
    """
    folder = (settings.local.data_dir / "prove").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with sole_user(folder):
        for old in folder.iterdir():
            if old.name != "lock":
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        proof = Proof(_apart(settings, folder), folder, secrets.randbits(32) if seed is None else seed)
        verdict = asyncio.run(proof.run(minutes * 60))
    Console().print(proof.table(verdict))
    return verdict.clean


class Proof:
    """One run: its stack, its faults and what it has seen."""

    def __init__(self, settings: Settings, folder: Path, seed: int) -> None:
        self._stack = Stack(make_plan(settings, folder))
        self._journal = folder / "journal"
        self._seed = seed
        self._dice = random.Random(seed)  # noqa: S311 -- to be repeated, not to be secret
        self._faults: Counter[tuple[str, str]] = Counter()
        self._waiting = 0
        self._ends_at = 0.0

    async def run(self, seconds: float) -> Verdict:
        """Load and break for `seconds`, then let everything drain and judge."""
        console = Console(stderr=True)
        console.print(f"seed {self._seed}")
        await self._stack.start()
        try:
            self._ends_at = time.monotonic() + seconds
            async with self._load(), self._shown(console):
                while (left := self._ends_at - time.monotonic()) > 0:
                    await self._break_something(left)
            await self._drained()
            return await judge(self._journal, self._stack.plan.settings.database)
        finally:
            await self._stack.stop()

    async def _break_something(self, left: float) -> None:
        await asyncio.sleep(min(left, self._dice.uniform(0.5, 3.0)))
        part, how = self._dice.choice(self._stack.plan.parts), self._dice.choice(("killed", "paused"))
        self._faults[part.name, how] += 1
        if how == "killed":
            part.signal(signal.SIGKILL)
            return
        part.signal(signal.SIGSTOP)
        await asyncio.sleep(self._dice.uniform(0.5, 4.0))
        part.signal(signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def _load(self) -> AsyncIterator[None]:
        """Send until the block ends; who is interrupted has its journal complete."""
        url = f"http://127.0.0.1:{self._stack.plan.settings.ingest.port}"
        command = ["-m", "services.cli", "send", "--rows", str(10**12), "--batch", "100", "--connections", "4"]
        # A millisecond a step, so that the load's own clock stays behind ours.
        start = datetime.now(UTC) - timedelta(days=1)
        command += [
            "--start",
            start.isoformat(),
            "--step",
            "0.001",
            "--url",
            url,
            "--patience",
            "120",
            "--journal",
            str(self._journal),
        ]
        nothing = asyncio.subprocess.DEVNULL
        sender = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=nothing, stdout=nothing, stderr=nothing
        )
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                sender.send_signal(signal.SIGINT)
            await sender.wait()

    async def _drained(self) -> None:
        """Wait until the stream is empty; what is not by two minutes counts as lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAINED_WITHIN):
                while await self._backlog() != 0:  # noqa: ASYNC110 -- no event tells
                    await asyncio.sleep(0.2)

    async def _backlog(self) -> int | None:
        redis = self._stack.plan.settings.redis
        async with redis_client(redis) as client:
            try:
                self._waiting = (await Stream(client, StreamNames(redis.stream)).backlog()).rows
                return await client.xlen(redis.stream)
            except STREAM_ERRORS:
                return None

    @contextlib.asynccontextmanager
    async def _shown(self, console: Console) -> AsyncIterator[None]:
        task = asyncio.create_task(self._show(console))
        try:
            yield
        finally:
            await end((task,))

    async def _show(self, console: Console) -> None:
        if not console.is_terminal:
            while True:
                await asyncio.sleep(_LINE_EVERY)
                console.print(f"{sum(self._faults.values())} faults, {self._ends_at - time.monotonic():.0f} s left")
        with Live(console=console, transient=True, auto_refresh=False) as live:
            while True:
                await self._backlog()
                live.update(self.table(None), refresh=True)
                await asyncio.sleep(0.5)

    def table(self, verdict: Verdict | None) -> Table:
        """Return the faults so far, and the verdict where there is one."""
        table = Table("what", "how often", title=f"seed {self._seed}")
        for part in self._stack.plan.parts:
            killed, paused = (self._faults[part.name, how] for how in ("killed", "paused"))
            table.add_row(part.name, f"killed {killed}, paused {paused}")
        if verdict is None:
            table.add_row("rows that wait", f"{self._waiting:,}")
            table.add_row("left", f"{max(0.0, self._ends_at - time.monotonic()):.0f} s")
            return table
        table.add_section()
        for name in ("sent", "promised", "stored", "refused", "lost", "doubled"):
            label = "acknowledged" if name == "promised" else "duplicates refused" if name == "refused" else name
            table.add_row(label, f"{getattr(verdict, name):,}")
        table.add_row("verdict", "kept" if verdict.clean else "BROKEN")
        return table


def _apart(settings: Settings, folder: Path) -> Settings:
    """Return settings of a stack beside any other: its own folder and free ports, and two workers."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(7)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        redis, postgres, ingest, admin, query, worker, repair = (probe.getsockname()[1] for probe in probes)
    local = {"data_dir": folder, "redis_port": redis, "postgres_port": postgres, "workers": 2}
    ports = {"ingest": {"port": ingest, "admin_port": admin}, "query": {"port": query}, "repair": {"port": repair}}
    changed = {"local": local, **ports, "worker": {"port": worker}, "log": {"level": "error"}}
    update = {name: getattr(settings, name).model_copy(update=found) for name, found in changed.items()}
    return settings.model_copy(update=update)
