"""`millrace prove`: a stack of its own under load, its parts killed and paused at random, and the verdict."""

import asyncio
import random
import secrets
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from services.local.plan import Plan, make_plan
from services.local.stack import Stack
from services.local.supervisor import Part
from services.platform.settings import Settings

from .harness import backlog, beside, break_part, loaded, once_back, proof_table, settled, show
from .hourly import Changes, HourlyVerdict, hourly_table
from .leaks import Leftovers, Watch, leaks_table, left_over
from .place import apart, emptied, free_ports
from .verdict import Verdict, judge

__all__ = ["run_prove"]

_DRAINED_WITHIN = 120.0


def run_prove(settings: Settings, minutes: float, seed: int | None, door: str | None = None, *, nodes: int = 0) -> bool:
    """Run the proof below the data folder, beside a stack that may run there; tell whether the promise was kept.

    The load has keys, or comes by a `door` of agents, without. With `nodes`, so many are those of a Citus cluster.

    Raises:
        StartError: the stack cannot start.
    """
    with emptied(settings, "prove") as folder:
        seed = secrets.randbits(32) if seed is None else seed
        proof = Proof(make_plan(apart(settings, folder), folder, free_ports(nodes)), folder, seed, door)
        verdict, left, hours = asyncio.run(proof.run(minutes * 60))
    console = Console()
    console.print(proof.table(verdict))
    console.print(leaks_table(proof.stack.plan, proof.watch, left))
    console.print(hourly_table(proof.changes, hours))
    return verdict.clean and left.clean and hours.clean and proof.watch.flat


class Proof:
    """One run: its stack, its faults and what it has seen."""

    def __init__(self, plan: Plan, folder: Path, seed: int, door: str | None) -> None:
        self.stack = Stack(plan)
        self.watch = Watch()
        self._journal = folder / "journal"
        self._seed = seed
        self._door = door
        self._dice = random.Random(seed)  # noqa: S311 -- to be repeated, not to be secret
        self._faults: Counter[tuple[str, str]] = Counter()
        self.changes = Changes(self.stack.plan.settings, random.Random(seed + 1))  # noqa: S311
        self._waiting = 0
        self._ends_at = 0.0

    async def run(self, seconds: float) -> tuple[Verdict, Leftovers, HourlyVerdict]:
        """Load and break for `seconds`, then let everything drain and judge; tell what is left over, too."""
        console = Console(stderr=True)
        console.print(f"seed {self._seed}")
        await self.stack.start()
        try:
            await self.changes.begin()
            self._ends_at = time.monotonic() + seconds
            url = f"http://127.0.0.1:{self.stack.plan.settings.ingest.port}"
            async with (
                loaded(url, self._journal, self._door, self._seed) as sender,
                beside(
                    self.watch.follow(self.stack.plan, sender),
                    self.changes.run(),
                    show(console, self._line, self._backlog, lambda: self.table(None)),
                ),
            ):
                while (left := self._ends_at - time.monotonic()) > 0:
                    await self._break_something(left, self._spared(left / seconds))
            # What is not drained by two minutes counts as lost.
            await settled(self._backlog, lambda entries: entries == 0, _DRAINED_WITHIN)
            verdict = await once_back(_DRAINED_WITHIN, judge, self._journal, self.stack.plan.settings.database)
            over = await once_back(_DRAINED_WITHIN, left_over, self.stack.plan, self.changes.batch_ids)
            hours = await once_back(_DRAINED_WITHIN, self.changes.judge)
            return verdict, over, hours
        finally:
            await self.stack.stop()

    def _spared(self, left: float) -> Part:
        """Return the part that is only paused now. Each is in its turn, so that one of its lives is long to watch."""
        parts = self.stack.plan.parts
        return parts[min(int((1 - left) * len(parts)), len(parts) - 1)]

    async def _break_something(self, left: float, spared: Part) -> None:
        await asyncio.sleep(min(left, self._dice.uniform(0.5, 3.0)))
        part, how = self._dice.choice(self.stack.plan.parts), self._dice.choice(("killed", "paused"))
        how = "paused" if part is spared else how
        self._faults[part.name, how] += 1
        await break_part(part, how, self._dice)

    async def _backlog(self) -> int | None:
        found = await backlog(self.stack.plan.settings.redis)
        self._waiting = self._waiting if found is None else found.rows
        return None if found is None else found.entries

    def _line(self) -> str:
        return f"{sum(self._faults.values())} faults, {self._ends_at - time.monotonic():.0f} s left"

    def table(self, verdict: Verdict | None) -> Table:
        """Return the faults so far, and the verdict where there is one."""
        faults = []
        for part in self.stack.plan.parts:
            killed, paused = (self._faults[part.name, how] for how in ("killed", "paused"))
            faults.append((part.name, f"killed {killed}, paused {paused}"))
        return proof_table(self._seed, faults, f"{self._waiting:,}", self._ends_at, verdict)
