"""`python -m benchmarks.compare A.json B.json`: what changed from A to B beyond noise."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from .figures import Figure
from .results import Results
from .show import number

__all__ = ["Change", "changes"]


class Change(NamedTuple):
    """A figure that is not what it was."""

    case: str
    figure: str
    before: Figure
    after: Figure

    @property
    def share(self) -> float:
        """By how much, as a share of what it was; infinite where that was nothing."""
        return (self.after.median - self.before.median) / self.before.median if self.before.median else float("inf")


def changes(before: Results, after: Results, least: float) -> Iterator[Change]:
    """Yield the figures of both runs whose values do not overlap and whose medians are more than `least` apart."""
    for name, case in after.cases.items():
        old = before.cases.get(name)
        for figure, values in case.figures.items():
            if old and figure in old.figures and old.figures[figure].differs(values, least):
                yield Change(name, figure, old.figures[figure], values)


def main(
    before: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    after: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    least: Annotated[float, typer.Option(min=0, help="Least change that is shown, as a share.")] = 0.03,
) -> None:
    """Show which figures changed between two results files beyond noise."""
    try:
        old, new = Results.read(before), Results.read(after)
    except msgspec.MsgspecError as error:
        typer.echo(f"that is no file of results: {error}", err=True)
        raise typer.Exit(2) from None
    console = Console(width=120)
    if old.place.cpu != new.place.cpu or old.place.cores != new.place.cores:
        console.print("the machines differ: only ratios can be compared")
    table = Table("case", "figure", "before", "after", "change")
    found = list(changes(old, new, least))
    for change in found:
        values = (f"{number(figure.median)} ± {100 * figure.spread:.0f} %" for figure in (change.before, change.after))
        table.add_row(change.case, change.figure, *values, f"{100 * change.share:+.0f} %")
    console.print(table if found else "nothing changed beyond noise")


if __name__ == "__main__":
    typer.run(main)
