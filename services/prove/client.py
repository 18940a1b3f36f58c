"""`millrace prove-client`: a writer with a spool, killed and started again while ingest and all else come and go."""

import asyncio
import contextlib
import random
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from services.local.plan import make_plan
from services.local.process import adorned
from services.local.stack import Stack
from services.platform.settings import Settings

from .harness import backlog, beside, break_part, once_back, proof_table, settled, show
from .place import apart, emptied
from .verdict import Verdict, judge

__all__ = ["run_prove_client"]

_DRAINED_WITHIN = 120.0
_ENDED_WITHIN = 150.0


def run_prove_client(settings: Settings, minutes: float, seed: int | None) -> bool:
    """Run the proof below the data folder, beside a stack that may run there; tell whether the promise was kept.

    Raises:
        StartError: the stack cannot start.
    """
    with emptied(settings, "prove-client") as folder:
        proof = ClientProof(apart(settings, folder), folder, secrets.randbits(32) if seed is None else seed)
        verdict = asyncio.run(proof.run(minutes * 60))
    Console().print(proof.table(verdict))
    return verdict.clean and proof.ended_well


class ClientProof:
    """One run: its stack, its writer's lives, and its faults.

    Attributes:
        ended_well: whether the last writer sent all, and left nothing in its spool.
    """

    def __init__(self, settings: Settings, folder: Path, seed: int) -> None:
        self.stack = Stack(make_plan(settings, folder))
        self.ended_well = False
        self._spool = folder / "spool"
        self._journal = folder / "journal"
        self._said = folder / "writer.log"
        self._seed = seed
        self._dice = random.Random(seed)  # noqa: S311 -- to be repeated, not to be secret
        self._faults: Counter[tuple[str, str]] = Counter()
        self._waiting = 0
        self._ends_at = 0.0

    async def run(self, seconds: float) -> Verdict:
        """Write and break for `seconds`, then let everything drain and judge."""
        console = Console(stderr=True)
        console.print(f"seed {self._seed}")
        await self.stack.start()
        try:
            self._ends_at = time.monotonic() + seconds
            async with beside(self._break_parts(), show(console, self._line, self._backlog, lambda: self.table(None))):
                while (left := self._ends_at - time.monotonic()) > 0:
                    async with self._writer() as writer:
                        await asyncio.sleep(min(left, self._dice.uniform(0.5, 8.0)))
                        if writer.returncode is None:
                            writer.kill()
                            self._faults["writer", "killed"] += 1
                    await asyncio.sleep(self._dice.uniform(0.0, 1.0))
            self.ended_well = await self._drained()
            # What is not drained by two minutes counts as lost.
            await settled(self._backlog, lambda entries: entries == 0, _DRAINED_WITHIN)
            return await once_back(_DRAINED_WITHIN, judge, self._journal, self.stack.plan.settings.database)
        finally:
            await self.stack.stop()

    @contextlib.asynccontextmanager
    async def _writer(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Yield a life of the writer, which has ended behind the block."""
        url = f"http://127.0.0.1:{self.stack.plan.settings.ingest.port}"
        what = [url, str(self._spool), str(self._journal), str(self._seed)]
        command = adorned([sys.executable, "-m", "services.prove.writing", *what])
        with self._said.open("ab") as said:
            writer = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stderr=said)
        try:
            yield writer
        finally:
            with contextlib.suppress(ProcessLookupError):
                writer.send_signal(signal.SIGINT)
            await writer.wait()

    async def _drained(self) -> bool:
        """Let a last life of the writer send what lies in the spool, and tell whether it did."""
        async with self._writer() as writer, asyncio.timeout(_ENDED_WITHIN):
            # Until it writes itself it does not know SIGINT.
            before = self._journal.stat().st_size
            while self._journal.stat().st_size == before and writer.returncode is None:  # noqa: ASYNC110 -- no event tells
                await asyncio.sleep(0.1)
            if writer.returncode is None:
                writer.send_signal(signal.SIGINT)
            code = await writer.wait()
        return code == 0 and not [*self._spool.glob("0*")]

    async def _break_parts(self) -> None:
        """Kill and pause the stack's parts for ever; every other time it is ingest, which may be away for long."""
        ingest = next(part for part in self.stack.plan.parts if part.name == "ingest")
        while True:
            await asyncio.sleep(self._dice.uniform(1.0, 4.0))
            part = ingest if self._dice.random() < 0.5 else self._dice.choice(self.stack.plan.parts)
            how = self._dice.choice(("killed", "paused", "away") if part is ingest else ("killed", "paused"))
            self._faults[part.name, how] += 1
            if how != "away":
                await break_part(part, how, self._dice)
                continue
            until = time.monotonic() + self._dice.uniform(2.0, 12.0)
            while time.monotonic() < until:
                part.signal(signal.SIGKILL)
                await asyncio.sleep(0.1)

    async def _backlog(self) -> int | None:
        found = await backlog(self.stack.plan.settings.redis)
        self._waiting = self._waiting if found is None else found.rows
        return None if found is None else found.entries

    def _line(self) -> str:
        return f"{sum(self._faults.values())} faults, {self._ends_at - time.monotonic():.0f} s left"

    def table(self, verdict: Verdict | None) -> Table:
        """Return the faults so far, and the verdict where there is one."""
        faults = [("writer", f"killed {self._faults['writer', 'killed']}")]
        for part in self.stack.plan.parts:
            done = {how: self._faults[part.name, how] for how in ("killed", "paused", "away")}
            faults.append((part.name, ", ".join(f"{how} {count}" for how, count in done.items() if count) or "-"))
        if verdict is not None:
            faults.append(("last writer", "sent all" if self.ended_well else "did NOT send all"))
        return proof_table(self._seed, faults, f"{self._waiting:,}", self._ends_at, verdict)
