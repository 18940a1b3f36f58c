"""`millrace schema`."""

import typer

from .process import fail, service

__all__ = ["app"]

app = typer.Typer(help="The database's schema.", no_args_is_help=True)


@app.callback()
def schema() -> None:
    """Keep `apply` a command of its own name."""


@app.command()
def apply() -> None:
    """Bring the database to this release's schema, and say what it can do."""
    import asyncio

    with service("schema") as settings:
        from services.database.schema.apply import SchemaError, apply

        try:
            applied = asyncio.run(apply(settings.database))
        except SchemaError as error:
            raise fail(error) from None
    made = f"; made {', '.join(applied.made)}" if applied.made else ""
    typer.echo(f"schema version {applied.version}; ran {', '.join(applied.migrations) or 'nothing new'}{made}")
    typer.echo(applied.capability)
    for missing in applied.capability.missing:
        typer.echo(f"not supported here: {missing}")
