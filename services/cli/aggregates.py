"""`millrace aggregates`: what a ContinuousAggregate's status says, without Kubernetes."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from services.platform.settings import DatabaseSettings

from .process import command, fail

if TYPE_CHECKING:
    from services.database.aggregates.status import AggregateStatus, JobStatus

__all__ = ["aggregates"]


def aggregates(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show the continuous aggregates: how far they are materialised, late ranges, and how their policies fare."""
    import asyncio

    from services.database.schema.apply import SchemaError

    with command() as settings:
        try:
            asyncio.run(_show(settings.database, as_json=as_json))
        except SchemaError as error:
            raise fail(error) from None


async def _show(settings: DatabaseSettings, *, as_json: bool) -> None:
    """Write each continuous aggregate to standard output, as lines or as one JSON object by name.

    Raises:
        SchemaError: the database is away or refuses.
    """
    import msgspec

    from services.database.aggregates.status import aggregate_statuses

    able, found = await aggregate_statuses(settings)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    for name, status in found.items():
        typer.echo("\n".join([name, *_lines(status)]))
    if not found:
        typer.echo("there is no continuous aggregate in the schema public")
    for missing in able.missing:
        typer.echo(f"not supported here: {missing}")


def _lines(status: "AggregateStatus") -> Iterator[str]:
    yield f"  materialised to {_time(status.watermark)}"
    yield f"  late ranges that wait: {status.late_ranges}"
    for policy, job in status.jobs.items():
        yield f"  {policy} policy: {_told(job)}"


def _told(job: "JobStatus") -> str:
    told = f"last run {_time(job.last_run)}, next run {_time(job.next_run)}, {job.failures} failures"
    return f"{told}; the last run failed: {job.last_error}" if job.last_error else told


def _time(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%SZ") if at else "never"
