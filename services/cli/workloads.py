"""`millrace run ingest`, `query`, `worker`, `repair`, `operator`, `mqtt`: one image; the word chooses the workload."""

import typer

from .process import service

__all__ = ["app"]

app = typer.Typer(help="Run one workload, as a container does.", no_args_is_help=True)


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
        from services.database.repair.main import run_repair

        run_repair(settings)


@app.command()
def operator() -> None:
    """Look after the custom resources of a namespace, inside a cluster or from outside."""
    with service("operator") as settings:
        from services.operator.main import run_operator

        run_operator(settings)


@app.command()
def mqtt() -> None:
    """Subscribe to an MQTT broker and post what comes to ingest."""
    with service("mqtt") as settings:
        from services.mqtt.main import run

        run(settings)
