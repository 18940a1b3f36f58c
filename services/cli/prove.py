"""`millrace prove` and `prove-cluster`: break everything under load, and tell what was lost or doubled."""

from typing import Annotated, Literal

import typer

from .process import address, service

__all__ = ["prove", "prove_client", "prove_cluster"]


def prove(
    *,
    minutes: Annotated[float, typer.Option(min=0.05, help="How long everything is loaded and broken.")] = 3.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Repeat the faults of a run.")] = None,
    door: Annotated[
        Literal["line", "remote_write", "otlp"] | None,
        typer.Option(help="Load a door of agents, as they send; /ingest with keys if not said."),
    ] = None,
    mode: Annotated[
        Literal["citus"] | None,
        typer.Option(
            help="The database is a Citus cluster of two nodes, which are broken too; one server if not said."
        ),
    ] = None,
) -> None:
    """Load a stack of its own, kill and pause its parts at random, and tell whether a row was lost or doubled."""
    with service("prove") as settings:
        from services.prove.local import run_prove

        kept = run_prove(settings, minutes, seed, door, nodes=2 if mode == "citus" else 0)
    raise typer.Exit(0 if kept else 1)


def prove_client(
    *,
    minutes: Annotated[float, typer.Option(min=0.05, help="How long all is written to and broken.")] = 3.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Repeat the choice of faults of a run.")] = None,
) -> None:
    """Kill a Python writer with a spool, and the stack's parts, at random; tell whether a row was lost or doubled."""
    with service("prove-client") as settings:
        from services.prove.client import run_prove_client

        kept = run_prove_client(settings, minutes, seed)
    raise typer.Exit(0 if kept else 1)


def prove_cluster(
    *,
    namespace: Annotated[str, typer.Option(help="Namespace of the release; its pods will be deleted.")],
    release: Annotated[str, typer.Option(help="Name of the release.")] = "millrace",
    minutes: Annotated[float, typer.Option(min=0.05, help="How long everything is loaded and broken.")] = 3.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Repeat the choice of faults of a run.")] = None,
    ingest_url: Annotated[
        str | None, typer.Option("--ingest", help="Where ingest is; by a forwarded port if not said.")
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database", help="The reading role's URL; by a forwarded port to the release's own server if not said."
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cloudnative-pg", help="Name of CloudNativePG's Cluster that is the database; its pods are deleted too."
        ),
    ] = None,
) -> None:
    """Load a release with an empty table in kubectl's cluster, delete its pods at random, and tell what was lost."""
    with service("prove-cluster") as settings:
        from services.prove.cluster import Target, run_prove_cluster

        if ingest_url:
            address(ingest_url)
        target = Target(namespace, release, ingest_url, database_url, cluster)
        kept = run_prove_cluster(settings, target, minutes, seed)
    raise typer.Exit(0 if kept else 1)
