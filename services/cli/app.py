"""The commands. Each imports what it runs when it is run, so that `millrace --help` is there at once."""

from typing import Annotated

import typer

from services import __version__

from .aggregates import aggregates
from .config import config
from .dead_letters import app as dead_letters
from .deletions import delete, deletions
from .entries import entries
from .imports import import_files
from .keys import app as keys
from .local import demo, up
from .prove import prove, prove_client, prove_cluster
from .questions import latest, query, sensors
from .schema import app as schema
from .secret import secret
from .send import send
from .tier import app as tier
from .workloads import app as run

__all__ = ["app", "main"]

app = typer.Typer(
    name="millrace",
    help="Sensor readings over HTTP, through a durable Redis stream, exactly once into TimescaleDB.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (
    *(up, demo, prove, prove_client, prove_cluster),
    *(send, query, latest, sensors),
    *(entries, delete, deletions),
    *(aggregates, config, secret),
):
    app.command()(_command)
app.command("import")(import_files)
for _name, _group in {"dead-letters": dead_letters, "keys": keys, "run": run, "schema": schema, "tier": tier}.items():
    app.add_typer(_group, name=_name)


def main() -> None:
    """Run the command line."""
    app(prog_name="millrace")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"millrace {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take options that stand before the command."""
