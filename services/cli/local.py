"""`millrace up` and `demo`: the one-machine stack, and whether it answers as it should."""

from typing import Annotated

import typer

from .process import address, service

__all__ = ["demo", "up"]


def up(
    *,
    reload: Annotated[bool, typer.Option("--reload", help="Restart a service when its code changes.")] = False,
) -> None:
    """Run everything on this machine, servers included; Ctrl-C drains and stops it."""
    with service("local") as settings:
        from services.local.up import run_up

        run_up(settings, reload=reload)


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
