"""The commands. Each imports what it runs when it is run, so that `millrace --help` is there at once."""

# ruff: noqa: PLC0415 -- see above

import uuid
from pathlib import Path
from typing import Annotated, Literal

import typer

from services import __version__

from .dead_letters import app as dead_letters
from .deletions import delete, deletions
from .keys import app as keys
from .process import address, command, fail, service
from .prove import prove_cluster
from .schema import app as schema

__all__ = ["app", "main"]

app = typer.Typer(
    name="millrace",
    help="Sensor readings over HTTP, through a durable Redis stream, exactly once into TimescaleDB.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(schema, name="schema")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(keys, name="keys")
app.command()(delete)
app.command()(deletions)
app.command("prove-cluster")(prove_cluster)


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
def operator() -> None:
    """Look after the custom resources of a namespace, inside a cluster or from outside."""
    with service("operator") as settings:
        from services.operator.main import run_operator

        run_operator(settings)


@app.command()
def repair() -> None:
    """Refresh the hour buckets that late rows touched."""
    with service("repair") as settings:
        from services.database.repair.main import run_repair

        run_repair(settings)


@app.command()
def up(
    *,
    reload: Annotated[bool, typer.Option("--reload", help="Restart a service when its code changes.")] = False,
) -> None:
    """Run everything on this machine, servers included; Ctrl-C drains and stops it."""
    with service("local") as settings:
        from services.local.up import run_up

        run_up(settings, reload=reload)


@app.command()
def demo(
    *,
    ingest_url: Annotated[
        str | None, typer.Option("--ingest", help="Where ingest is; on this machine if not said.")
    ] = None,
    query_url: Annotated[
        str | None, typer.Option("--query", help="Where query is; on this machine if not said.")
    ] = None,
    sensor: Annotated[str, typer.Option(help="Whose readings they are.")] = "sensor-1",
    patience: Annotated[float, typer.Option(min=0, help="Seconds in which an answer may become right.")] = 0.0,
) -> None:
    """Send the demo's readings, ask the three questions and check the answers."""
    with service("demo") as settings:
        from services.local.demo import Demo

        right = Demo(
            ingest=address(ingest_url or f"http://localhost:{settings.ingest.port}").geturl(),
            query=address(query_url or f"http://localhost:{settings.query.port}").geturl(),
            sensor=sensor,
            key=settings.client.key.get_secret_value() if settings.client.key else None,
        ).run(patience)
    raise typer.Exit(0 if right else 1)


@app.command()
def prove(
    *,
    minutes: Annotated[float, typer.Option(min=0.05, help="How long everything is loaded and broken.")] = 3.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Repeat the faults of a run.")] = None,
) -> None:
    """Load a stack of its own, kill and pause its parts at random, and tell whether a row was lost or doubled."""
    with service("prove") as settings:
        from services.prove.machine import run_prove

        kept = run_prove(settings, minutes, seed)
    raise typer.Exit(0 if kept else 1)


@app.command()
def secret(
    name: Annotated[str, typer.Argument(help="Name of the Secret in this pod's namespace.")],
    templates: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE...", help="`random` is drawn once; {key} is another key's value.")
    ],
) -> None:
    """Make a Secret of the cluster complete; what was drawn never changes and is never shown."""
    import asyncio

    from services.operator.secret import make_secret
    from services.platform.kubernetes import API_ERRORS

    pairs = [template.partition("=") for template in templates]
    if wrong := [key for key, equals, _ in pairs if not (key and equals)]:
        raise typer.BadParameter(f"{wrong[0]}: say KEY=VALUE")
    with command():
        try:
            done = asyncio.run(make_secret(name, {key: value for key, _, value in pairs}))
        except (*API_ERRORS, ValueError) as error:
            raise fail(error) from None
    typer.echo(f"secret {name}: {done}")


@app.command()
def aggregates(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show the continuous aggregates: how far they are materialised, late ranges, and how their policies fare."""
    import asyncio

    from services.database.schema.apply import SchemaError

    from .aggregates import show

    with command() as settings:
        try:
            asyncio.run(show(settings.database, as_json=as_json))
        except SchemaError as error:
            raise fail(error) from None


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


@app.command()
def send(  # noqa: PLR0917 -- each is an option of the command line
    file: Annotated[
        Path | None,
        typer.Argument(help="CSV or NDJSON to send, - for standard input; made readings where there is none."),
    ] = None,
    form: Annotated[Literal["csv", "ndjson"] | None, typer.Option("--format", help="By the name if not said.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Readings to make.")] = 10_000,
    batch: Annotated[int, typer.Option(min=1, help="Readings a request.")] = 1_000,
    sensors: Annotated[int, typer.Option(min=1, help="Made sensors: sensor-0001 and on.")] = 100,
    start: Annotated[str | None, typer.Option(help="First made instant; if not said, the last is now.")] = None,
    step: Annotated[float, typer.Option(min=0, help="Seconds between a made sensor's readings.")] = 1.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Draw made sensors at random, not in turn.")] = None,
    url: Annotated[str | None, typer.Option(help="Where ingest is; on this machine if not said.")] = None,
    connections: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 4,
    ack: Annotated[
        Literal["queued", "durable", "stored"], typer.Option(help="How far an answer shall promise.")
    ] = "durable",
    gzip: Annotated[bool, typer.Option("--gzip", help="Compress bodies.")] = False,
    run: Annotated[str | None, typer.Option(help="Name of the run; a repeat under one name adds nothing.")] = None,
    no_keys: Annotated[
        bool, typer.Option("--no-keys", help="No Idempotency-Key; what may be stored is not sent again.")
    ] = False,
    patience: Annotated[float, typer.Option(min=0, help="Seconds until a batch is given up.")] = 60.0,
    journal: Annotated[
        Path | None, typer.Option(help="Append what was sent and answered to this file, as NDJSON.")
    ] = None,
) -> None:
    """Make or read readings and post them to ingest; a made value is the number of its row."""
    from . import send as sending

    with command() as settings:
        plan = sending.Plan(
            url=address(url or f"http://127.0.0.1:{settings.ingest.port}"),
            ack=ack,
            connections=connections,
            gzip=gzip,
            patience=patience,
            run=None if no_keys else run or uuid.uuid4().hex,
            api_key=settings.client.key.get_secret_value() if settings.client.key else None,
        )
        if file is None:
            first = sending.instant(start, run)
            source = sending.made(rows=rows, batch=batch, sensors=sensors, start=first, step=step, seed=seed)
        else:
            source = sending.read_from(file, form, batch)
        complete = sending.send(plan, source, None if file else rows, journal)
    raise typer.Exit(0 if complete else 1)


@app.command()
def entries(
    *,
    count: Annotated[int, typer.Option(min=1, help="Entries to show, the oldest first.")] = 10,
    rows: Annotated[int, typer.Option(min=0, help="Rows to show of each.")] = 3,
    dead: Annotated[bool, typer.Option("--dead", help="Show dead letters.")] = False,
    pending: Annotated[bool, typer.Option("--pending", help="Show what workers hold, and for how long.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object a line.")] = False,
) -> None:
    """Show what stands in the stream, in clear."""
    import asyncio

    from services.platform.stream import STREAM_ERRORS

    from .listing import Which, show

    if dead and pending:
        raise typer.BadParameter("--dead and --pending exclude each other")
    which = Which.DEAD if dead else Which.PENDING if pending else Which.ALL
    with command() as settings:
        try:
            asyncio.run(show(settings.redis, which, count=count, rows=rows, as_json=as_json))
        except STREAM_ERRORS as error:
            raise fail(f"the stream's server: {error}") from None
