"""`millrace config`: every setting with the value in force, for people and for programs."""

import dataclasses
import sys

import orjson
import typer
from rich.console import Console
from rich.table import Table

from services.platform.settings import Settings, describe

__all__ = ["show"]


def show(settings: Settings, *, as_json: bool) -> None:
    """Write every setting to standard output: a table on a terminal, tab-separated lines elsewhere."""
    rows = list(describe(settings))
    if as_json:
        typer.echo(orjson.dumps([dataclasses.asdict(row) for row in rows], option=orjson.OPT_INDENT_2))
    elif sys.stdout.isatty():
        table = Table("setting", "value", "default", "unit", "meaning", row_styles=("", "dim"))
        for row in rows:
            value = row.value if row.value == row.default else f"[bold]{row.value}[/bold]"
            table.add_row(row.variable, value, row.default, row.unit, row.meaning)
        Console().print(table)
    else:
        for row in rows:
            typer.echo(f"{row.variable}\t{row.value}\t{row.default}\t{row.unit}\t{row.meaning}")
