"""What the stack's processes cost: CPU time and memory by role, children that ended included."""

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["POSTGRES", "Cost", "Snapshot", "held", "machine_seconds", "peaks", "reset_peaks", "snapshot"]

POSTGRES = ("PostgreSQL backends", "PostgreSQL background")
_VALKEY = "Valkey"
_REWRITE = "valkey-aof-rewrite"
_SERVICES = ("ingest", "worker", "query", "repair")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """CPU seconds that processes have had until an instant.

    Attributes:
        processes: (process id, its start) to role and seconds.
        ended: seconds of PostgreSQL's children that have ended.
    """

    processes: Mapping[tuple[int, float], tuple[str, float]]
    ended: float

    def until(self, later: "Snapshot") -> "Cost":
        """Return what was spent between two snapshots.

        Children of PostgreSQL that ended meanwhile, such as policies' jobs, count as background.
        """
        seconds: defaultdict[str, float] = defaultdict(float)
        for key, (role, spent) in later.processes.items():
            seconds[role] += spent - self.processes.get(key, ("", 0.0))[1]
        known = sum(
            spent for key, (role, spent) in self.processes.items() if key not in later.processes and role in POSTGRES
        )
        seconds[POSTGRES[1]] += later.ended - self.ended - known
        return Cost(dict(seconds))


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds by role."""

    seconds: Mapping[str, float]

    @property
    def total(self) -> float:
        """Seconds of all roles."""
        return sum(self.seconds.values())

    @property
    def postgres(self) -> float:
        """Seconds of PostgreSQL's processes."""
        return sum(self.seconds.get(role, 0.0) for role in POSTGRES)


def snapshot(family: Iterable[psutil.Process]) -> Snapshot:
    """Read the CPU time of a stack's processes, as `RunningStack.family` lists them."""
    processes, ended = {}, 0.0
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            role = _role(process)
            times = process.cpu_times()
            spent = times.user + times.system
            if role == _VALKEY:
                spent += times.children_user + times.children_system
            processes[process.pid, process.create_time()] = (role, spent)
            if role == POSTGRES[1]:
                ended += times.children_user + times.children_system
    return Snapshot(processes, ended)


def machine_seconds() -> tuple[float, float]:
    """Return the CPU seconds that the machine has worked, and those that its host took away, since its start."""
    user, nice, system, _, _, irq, softirq, steal = (
        int(ticks) / _TICKS for ticks in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return user + nice + system + irq + softirq, steal


def reset_peaks(family: Iterable[psutil.Process]) -> None:
    """Let the peaks of memory begin anew."""
    for process in family:
        with contextlib.suppress(OSError):
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")


def peaks(family: Iterable[psutil.Process]) -> dict[str, float]:
    """Return peak memory in MiB by role: PostgreSQL without what its processes share, others all they hold.

    The fork by which Valkey rewrites its log is left out: it holds the pages of the server.
    """
    mebibytes: defaultdict[str, float] = defaultdict(float)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            role = _role(process)
            if role == _VALKEY and process.cmdline()[0].startswith(_REWRITE):
                continue
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            kibibytes = {
                name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if " kB" in rest
            }
            # What has just ended holds nothing.
            mebibytes[role] += kibibytes.get("RssAnon" if role in POSTGRES else "VmHWM", 0) / 1024
    return dict(mebibytes)


def held(processes: Iterable[psutil.Process]) -> float:
    """Return the memory that processes hold, in MiB: what several of them share counts to each by its part."""
    mebibytes = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            mebibytes += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return mebibytes


def _role(process: psutil.Process) -> str:
    line = process.cmdline()
    if not line:
        return "ended"
    program = Path(line[0].split()[0]).name.rstrip(":")
    if program == "postgres":
        # The title of a backend: "postgres: millrace_writer sensors 127.0.0.1(40000) COPY".
        backend = line[0].startswith("postgres: ") and "127.0.0.1(" in line[0]
        return POSTGRES[0 if backend else 1]
    if program in ("valkey-server", _REWRITE):
        return _VALKEY
    if line[-1] in _SERVICES:
        return line[-1]
    # What a service starts runs code of its own part.
    return next((name for name in _SERVICES if f"services.{name}." in " ".join(line)), "supervisor")
