"""`make bench`: the command line."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from services.platform.serving import StartError

from .case import Case, Options
from .cases import ALL
from .results import FOLDER
from .run import measure
from .show import verdict_table
from .targets import judge
from .wrk import find_wrk

DATA = Path(".millrace/bench")


def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="[CASE]...", help="Cases; all if none is named.")] = None,
    *,
    seconds: Annotated[float, typer.Option(min=1, help="Load of one run.")] = 8.0,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of a case.")] = 3,
    rows: Annotated[int, typer.Option(min=2, help="Millions of rows that questions are asked about.")] = 20,
    minutes: Annotated[float, typer.Option(min=1, help="Length of the soak.")] = 30.0,
    folder: Annotated[Path, typer.Option(help="Where the stack's data are, on a real disk; emptied.")] = DATA,
) -> None:
    """Measure the whole stack against its yardsticks, and keep what was found in benchmarks/results."""
    console = Console(width=110)
    began = dt.datetime.now(dt.UTC)
    try:
        find_wrk()
        options = Options(seconds, repeats, rows * 1_000_000, minutes)
        # As fast a loop as the services have: asyncpg is a yardstick.
        results = uvloop.run(measure(_chosen(names), options, folder.resolve(), console))
    except StartError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    file = FOLDER / f"{began:%Y%m%d-%H%M%S}-{results.place.commit[:8]}.json"
    results.write(file)
    console.print(verdict_table(judge(results.cases)))
    console.print(f"kept in {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}")


def _chosen(names: list[str] | None) -> list[Case]:
    if not names:
        return [case for case in ALL.values() if not case.asked]
    if unknown := [name for name in names if name not in ALL]:
        raise typer.BadParameter(f"there is no case {', '.join(unknown)}; there are {', '.join(ALL)}")
    return [ALL[name] for name in names]


if __name__ == "__main__":
    typer.run(main)
