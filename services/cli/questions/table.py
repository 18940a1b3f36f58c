"""Rows on a terminal: a table that grows while they come; lines with tabs where there is no terminal."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import typer
from millrace_client import Answer
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..process import printable

__all__ = ["cell", "show", "tell", "write"]

_BLOCK = 200
"""Rows that are laid out together; the columns of the first ones are kept for those behind them."""

_NARROWEST = 9
"""Columns of the terminal that a column of the table needs at least; where there are too many, lines have tabs."""


def show(rows: Iterable[Mapping[str, Any]], console: Console) -> int:
    """Write rows to a console and return how many there were."""
    names: dict[str, int] = {}
    numbers: set[str] = set()
    coming, count = iter(rows), 0
    while block := list(itertools.islice(coming, _BLOCK)):
        count += len(block)
        heading = not all(row.keys() <= names.keys() for row in block)
        if heading:
            names = dict.fromkeys(itertools.chain(*block), 0)
            numbers = {name for name in names if any(isinstance(row.get(name), int | float) for row in block)}
        texts = [[cell(row.get(name)) for name in names] for row in block]
        if not console.is_terminal or len(names) * _NARROWEST > console.width:
            lines = [list(map(printable, names)), *texts] if heading else texts
            typer.echo("\n".join("\t".join(line) for line in lines))
            continue
        for place, name in enumerate(names):
            names[name] = max(names[name], cell_len(name), *(cell_len(line[place]) for line in texts))
        fits = sum(names.values()) + 3 * len(names) <= console.width
        console.print(_laid(texts, names if fits else dict.fromkeys(names), numbers, heading=heading))
    return count


def _laid(
    texts: Sequence[Sequence[str]], names: Mapping[str, int | None], numbers: set[str], *, heading: bool
) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, show_header=heading, pad_edge=False)
    for name, width in names.items():
        title = Text(printable(name))
        table.add_column(title, justify="right" if name in numbers else "left", min_width=width, overflow="fold")
    for line in texts:
        table.add_row(*map(Text, line))
    return table


def write(rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSON, one a line, and return how many there were."""
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007 -- the last one counts
        typer.echo(orjson.dumps(row))
    return count


def cell(value: Any) -> str:
    """Return a value as the text of a cell: a dash for null, `name=value` for the members of an object."""
    match value:
        case None:
            return "-"
        case bool():
            return str(value).lower()
        case dict():
            return ", ".join(f"{printable(name)}={cell(each)}" for name, each in value.items())
        case _:
            return printable(value)


def tell(answer: Answer, count: int, onward: str) -> None:
    """Write to standard error how many rows there were and what the answer tells of itself.

    `onward` is the option that the next page is asked by.
    """
    typer.echo(f"{count} {'row' if count == 1 else 'rows'}", err=True)
    for name, value in answer.meta.items():
        if text := _told(name, value):
            typer.echo(f"{printable(name)}: {text}", err=True)
    if answer.next is not None:
        typer.echo(f"more follow: {onward} {printable(answer.next)}", err=True)


def _told(name: str, value: Any) -> str:
    if name == "source":
        return ", ".join(f"{cell(part['from'])} from {cell(part['start'])} to {cell(part['end'])}" for part in value)
    if isinstance(value, dict):
        # Flags, such as which buckets the range cuts, are named where they are set.
        return ", ".join(
            printable(key) if each is True else f"{printable(key)}={cell(each)}"
            for key, each in value.items()
            if each not in {None, False}
        )
    return "" if value is None else cell(value)
