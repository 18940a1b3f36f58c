"""`millrace aggregates`: what a ContinuousAggregate's status says, without Kubernetes."""

from collections.abc import Iterator
from datetime import datetime

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from services.operator.database.overview import aggregates
from services.operator.database.status import AggregateStatus, JobStatus
from services.platform.settings import DatabaseSettings

__all__ = ["show"]


async def show(settings: DatabaseSettings, *, as_json: bool) -> None:
    """Write each continuous aggregate to standard output, as a table or as one JSON object by name.

    Raises:
        SchemaError: the database is away or refuses.
    """
    able, found = await aggregates(settings)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    if found:
        Console().print(_table(found))
    else:
        typer.echo("there is no continuous aggregate in the schema public")
    for missing in able.missing:
        typer.echo(f"not supported here: {missing}")


def _table(found: dict[str, AggregateStatus]) -> Table:
    table = Table("aggregate", "materialised to", "lag", "late", "policy", "last run", "next run", "failures", "error")
    for name, status in found.items():
        lag = "" if status.lag is None else f"{status.lag:.0f} s"
        head = [name, _time(status.watermark), lag, str(status.late_ranges)]
        for policy in _policies(status) or [[""] * 5]:
            table.add_row(*head, *policy)
            head = [""] * 4
    return table


def _policies(status: AggregateStatus) -> list[list[str]]:
    return [list(_cells(name, job)) for name, job in status.jobs.items()]


def _cells(name: str, job: JobStatus) -> Iterator[str]:
    yield from (name, _time(job.last_run), _time(job.next_run), str(job.failures), job.last_error or "")


def _time(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%SZ") if at else "never"
