"""`millrace send`: makes readings, sends them and shows the figures."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .process import address, command, fail, telling

if TYPE_CHECKING:
    from services.sender.readings import Batch
    from services.sender.sender import Plan

__all__ = ["first_instant", "send"]


def send(  # noqa: PLR0917 -- each is an option of the command line
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
    """Make readings and post them to ingest; a value is the number of its row. Files go by `millrace import`."""
    from services.sender.posting import Way
    from services.sender.readings import Fleet, make
    from services.sender.sender import Plan

    with command() as settings:
        way = Way(
            url=address(url or f"http://127.0.0.1:{settings.ingest.port}"),
            gzip=gzip,
            patience=patience,
            api_key=settings.client.key.get_secret_value() if settings.client.key else None,
        )
        plan = Plan(way, ack, connections, None if no_keys else run or uuid.uuid4().hex)
        first = first_instant(start, run)
        fleet = Fleet(sensors, first or datetime.now(UTC).replace(microsecond=0), step, seed)
        source = make(fleet if first else fleet.until(fleet.start, rows), rows, batch)
        complete = _sent(plan, source, rows, journal)
    raise typer.Exit(0 if complete else 1)


def first_instant(text: str | None, run: str | None) -> datetime | None:
    """Read `--start`.

    Raises:
        typer.BadParameter: it is no RFC 3339 timestamp, or a named run lacks it.
    """
    from services.contract.instants import InstantError, parse_instant

    if text is None:
        if run is not None:
            raise typer.BadParameter("--run needs --start, so that a repeat makes the same readings")
        return None
    try:
        return parse_instant(text)
    except InstantError as error:
        raise typer.BadParameter(f"--start: {text} {error}") from None


def _sent(plan: "Plan", source: Iterator["Batch"], rows: int, journal: Path | None) -> bool:
    """Send `source` and show the figures; tell whether every batch was accepted.

    Raises:
        typer.Exit: the journal cannot be used.
    """
    from services.sender.progress import Tally
    from services.sender.sender import run_sender

    tally = Tally()
    with telling(tally, "batches without an answer may be stored or not"):
        try:
            run_sender(plan, source, tally, journal, rows)
        except OSError as error:
            raise fail(f"{journal}: {error.strerror}") from None
    return tally.complete
