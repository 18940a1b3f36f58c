"""`millrace config`: every setting with the value in force, for people and for programs."""

import dataclasses
import sys
from typing import Annotated

import orjson
import typer

from services.platform.settings import Settings, describe, markdown
from services.platform.settings.describe import Described

from .process import command

__all__ = ["config", "show"]


def config(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Write docs/settings.md.")] = False,
) -> None:
    """Show every setting: the value in force, default, unit and meaning. Passwords are masked."""
    if as_markdown:
        typer.echo(markdown(), nl=False)
        return
    with command() as settings:
        show(settings, as_json=as_json)


def show(settings: Settings, *, as_json: bool) -> None:
    """Write every setting to standard output: a table on a terminal, tab-separated lines elsewhere."""
    rows = list(describe(settings))
    if as_json:
        typer.echo(orjson.dumps([dataclasses.asdict(row) for row in rows], option=orjson.OPT_INDENT_2))
    elif sys.stdout.isatty():
        _draw(rows)
    else:
        for row in rows:
            typer.echo(f"{row.variable}\t{row.value}\t{row.default}\t{row.unit}\t{row.meaning}")


def _draw(rows: list[Described]) -> None:
    """Draw a table; a value that was changed stands out, with the default below."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(Column("setting", no_wrap=True), Column("value", overflow="fold"), "meaning", row_styles=("", "dim"))
    for row in rows:
        value = Text(f"{row.value} {row.unit}".strip())
        if row.value != row.default:
            value.stylize("bold")
            value.append(f"\ndefault: {row.default or 'none'}")
        table.add_row(row.variable, value, row.meaning)
    Console().print(table)
