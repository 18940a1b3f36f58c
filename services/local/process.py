"""Processes of our own: who they run as, that they end with us, and ending those that did not."""

import asyncio
import contextlib
import os
import pwd
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.platform.runtime.starting import StartError

__all__ = ["Account", "adorned", "end_strays", "ordinary_account", "reachable", "wait_until_gone"]

CAP_DAC_OVERRIDE = 1
BECOME = Path(__file__).with_name("become.py")


@dataclass(frozen=True, slots=True)
class Account:
    """An ordinary user that a program runs as; with `override` it may pass folders closed to that user."""

    uid: int
    gid: int
    override: bool = False


def ordinary_account() -> Account | None:
    """Return who runs what refuses to run as root: `postgres` or `nobody`; None where we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    return Account(65534, 65534)


def reachable(path: Path, account: Account) -> bool:
    """Tell whether `account` may pass through every folder above `path`."""
    for folder in path.resolve().parents:
        found = folder.stat()
        own, group, other = 0o100, 0o010, 0o001
        bit = own if found.st_uid == account.uid else group if found.st_gid == account.gid else other
        if not found.st_mode & bit:
            return False
    return True


def adorned(
    command: Sequence[str | Path], account: Account | None = None, death: signal.Signals = signal.SIGTERM
) -> list[str]:
    """Return `command` so that it runs as `account` and gets the signal `death` when this process ends.

    The signal comes when the starting *thread* ends: start processes from the main thread.
    """
    uid, gid = (account.uid, account.gid) if account else (-1, -1)
    capability = CAP_DAC_OVERRIDE if account and account.override else -1
    numbers = (os.getpid(), int(death), uid, gid, capability)
    return [sys.executable, "-I", "-S", str(BECOME), *map(str, numbers), *map(str, command)]


async def end_strays(folder: Path, program: str) -> None:
    """End processes of `program` that work in `folder`, left by a stack that was killed.

    They were told to stop when their parent died, so most are about to; what stands after 10 s is killed.

    Raises:
        StartError: one does not even end by that.
    """
    strays = _working_in(folder, program)
    _signal(strays, signal.SIGTERM)
    if not await wait_until_gone(strays, 10.0):
        _signal(strays, signal.SIGKILL)
        if not await wait_until_gone(strays, 10.0):
            raise StartError(f"{program} of an earlier start still works in {folder} and cannot be ended: {strays}")


async def wait_until_gone(pids: Iterable[int], timeout: float) -> bool:
    """Wait until none of `pids` runs; tell whether that came about within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    remaining = list(pids)
    while remaining := [pid for pid in remaining if _runs(pid)]:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


def _working_in(folder: Path, program: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and _is(entry, folder.resolve(), program):
                found.append(int(entry.name))
    return sorted(found)


def _is(entry: Path, folder: Path, program: str) -> bool:
    return (entry / "cwd").readlink() == folder and (entry / "exe").readlink().name.split()[0] == program


def _runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return False


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
