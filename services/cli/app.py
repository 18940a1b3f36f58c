"""The commands. Each imports what it runs when it is run, so that `millrace --help` is there at once."""

# ruff: noqa: PLC0415 -- see above

from typing import Annotated

import typer

from services import __version__

from .process import command, database_errors, service

__all__ = ["app", "main"]

app = typer.Typer(
    name="millrace",
    help="Sensor readings over HTTP, through a durable Redis stream, exactly once into TimescaleDB.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
schema = typer.Typer(help="The database's schema.", no_args_is_help=True)
app.add_typer(schema, name="schema")


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


@app.command()
def ingest() -> None:
    """Take readings over HTTP and write them to the stream."""
    with service("ingest") as settings:
        from services.ingest.main import run

        run(settings)


@app.command()
def query() -> None:
    """Answer questions over HTTP."""
    with service("query") as settings:
        from services.query.main import run

        run(settings)


@app.command()
def worker() -> None:
    """Write what stands in the stream to the database, exactly once."""
    with service("worker") as settings:
        from services.worker.main import run

        run(settings)


@app.command()
def repair() -> None:
    """Refresh the hour buckets that late rows touched."""
    with service("repair") as settings:
        from services.operator.main import run_repair

        run_repair(settings)


@app.command()
def up(
    *,
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart a service when its code changes.")
    ] = False,
) -> None:
    """Run everything on this machine, servers included; Ctrl-C drains and stops it."""
    with service("local") as settings:
        from services.local import run_up

        run_up(settings, reload=reload)


@app.command()
def demo() -> None:
    """Send the demo's readings, ask the three questions and check the answers."""
    with service("demo") as settings:
        from services.local import run_demo

        right = run_demo(settings)
    raise typer.Exit(0 if right else 1)


@schema.command("apply")
def schema_apply() -> None:
    """Bring the database to this release's schema, and say what it can do."""
    import asyncio
    import inspect

    with service("schema") as settings, database_errors():
        from services.operator.schema import apply

        found = apply(settings.database)
        typer.echo(asyncio.run(found) if inspect.iscoroutine(found) else found)


@app.command()
def config(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Write docs/settings.md.")] = False,
) -> None:
    """Show every setting: the value in force, default, unit and meaning. Passwords are masked."""
    from services.platform.settings import markdown

    from .config import show

    if as_markdown:
        typer.echo(markdown(), nl=False)
        return
    with command() as settings:
        show(settings, as_json=as_json)
