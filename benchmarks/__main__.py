"""`make bench`: the command line."""

import contextlib
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from services.platform.runtime.starting import StartError

from .case import Case, Options
from .cases import ALL
from .results import FOLDER
from .run import measure
from .show import verdict_table
from .targets import Verdict, judge, missed_badly
from .wrk import find_wrk

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

DATA = Path(".millrace/bench")


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="[CASE]...", help="Cases; all if none is named.")] = None,
    *,
    seconds: Annotated[float, typer.Option(min=1, help="Load of one run.")] = 8.0,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of a case.")] = 3,
    rows: Annotated[int, typer.Option(min=2, max=1000, help="Millions of rows that questions are asked about.")] = 20,
    minutes: Annotated[float, typer.Option(min=1, help="Length of the soak.")] = 30.0,
    profile: Annotated[bool, typer.Option("--profile", help="Draw flame graphs in one more run a case.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the stack's data are, on a real disk; emptied.")] = DATA,
) -> None:
    """Measure the whole stack against its yardsticks, and keep what was found in benchmarks/results."""
    console = Console(width=110)
    stamp = f"{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}"
    profiles = FOLDER / stamp if profile else None
    options = Options(seconds, repeats, rows * 1_000_000, minutes, profiles)
    try:
        find_wrk()
        if profiles:
            profiles.mkdir(parents=True)
        # As fast a loop as the services have: asyncpg is a yardstick.
        verdicts = uvloop.run(_kept(_chosen(names), options, folder.resolve(), console, FOLDER / f"{stamp}.json"))
    except StartError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    console.print(verdict_table(verdicts))
    missed = [verdict for verdict in missed_badly(verdicts) if verdict.target.case == "smoke"]
    for verdict in missed:
        words = f"{verdict.target.figure} is {verdict.value:.2f}, {verdict.target} was promised"
        typer.echo(f"a promised ratio is missed by more than half: {words}", err=True)
    raise typer.Exit(1 if missed else 0)


async def _kept(cases: Sequence[Case], options: Options, folder: Path, console: Console, file: Path) -> list[Verdict]:
    """Measure, keep what was found in `file` after each case, and judge it."""
    verdicts: list[Verdict] = []
    async with contextlib.aclosing(measure(cases, options, folder, console)) as found:
        async for results in found:
            results.write(file)
            verdicts = judge(results.cases)
    console.print(f"kept in {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}")
    return verdicts


def _chosen(names: list[str] | None) -> list[Case]:
    if not names:
        return [case for case in ALL.values() if not case.asked]
    if unknown := [name for name in names if name not in ALL]:
        raise typer.BadParameter(f"there is no case {', '.join(unknown)}; there are {', '.join(ALL)}")
    return [ALL[name] for name in names]


if __name__ == "__main__":
    app()
