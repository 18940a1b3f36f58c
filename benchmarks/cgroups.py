"""Control groups that bound how much of the cores processes get; Linux alone has them, and root makes them."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.platform.runtime.starting import StartError

__all__ = ["Group", "limited"]

ROOT = Path("/sys/fs/cgroup")
PERIOD = 10_000
"""Microseconds in which a group gets its part: in longer ones processes would stand still, and wait for each other."""

EMPTY_WITHIN = 10.0
"""Seconds that the last process of a group may take to end."""


@dataclass(frozen=True, slots=True)
class Group:
    """A control group.

    Attributes:
        folder: where the kernel shows it.
    """

    folder: Path

    def take(self, process: psutil.Process) -> None:
        """Move a process into the group with all that descends from it; what it starts later is there by itself."""
        while outside := [each for each in (process, *process.children(recursive=True)) if not self._holds(each)]:
            for each in outside:
                with contextlib.suppress(ProcessLookupError):
                    (self.folder / "cgroup.procs").write_text(str(each.pid))

    def throttled(self) -> tuple[int, int]:
        """Return the periods in which the group wanted to run so far, and those of them in which it had to wait."""
        told = dict(line.split() for line in (self.folder / "cpu.stat").read_text().splitlines())
        return int(told["nr_periods"]), int(told["nr_throttled"])

    def _holds(self, process: psutil.Process) -> bool:
        return str(process.pid) in (self.folder / "cgroup.procs").read_text().split()


@contextlib.contextmanager
def limited(name: str, cores: float) -> Iterator[Group]:
    """Yield an empty group whose processes together get so much of the cores, and remove it behind the block.

    Processes that are still in it must be ending.

    Raises:
        StartError: this machine or user cannot make one.
    """
    quota = round(cores * PERIOD)
    try:
        if (ROOT / "cgroup.controllers").exists():
            (ROOT / "cgroup.subtree_control").write_text("+cpu")
            group = Group(ROOT / name)
            group.folder.mkdir(exist_ok=True)
            (group.folder / "cpu.max").write_text(f"{quota} {PERIOD}")
        else:
            group = Group(ROOT / "cpu" / name)
            group.folder.mkdir(exist_ok=True)
            (group.folder / "cpu.cfs_period_us").write_text(str(PERIOD))
            (group.folder / "cpu.cfs_quota_us").write_text(str(quota))
    except OSError as error:
        raise StartError(f"no control group for CPU can be made here, which takes root: {error}") from None
    try:
        yield group
    finally:
        _remove(group.folder)


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + EMPTY_WITHIN
    while True:
        try:
            folder.rmdir()
        except OSError:
            # Who has just ended may still be counted.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
