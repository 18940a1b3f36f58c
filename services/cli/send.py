"""`millrace send`: where the readings come from, how they are sent, what is said at the end."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import typer
import uvloop
from rich.console import Console

from services.contract.instants import InstantError, parse_instant
from services.sender.files import ReadError, format_of, read
from services.sender.journal import Journal
from services.sender.progress import shown
from services.sender.readings import Batch, Fleet, make
from services.sender.sender import Plan, Sender
from services.sender.tally import Tally

from .process import fail, printable

__all__ = ["Plan", "instant", "made", "read_from", "send"]


def instant(text: str | None, run: str | None) -> datetime | None:
    """Read `--start`.

    Raises:
        typer.BadParameter: it is no RFC 3339 timestamp, or a named run lacks it.
    """
    if text is None:
        if run is not None:
            raise typer.BadParameter("--run needs --start, so that a repeat makes the same readings")
        return None
    try:
        return parse_instant(text)
    except InstantError as error:
        raise typer.BadParameter(f"--start: {text} {error}") from None


async def made(
    *, rows: int, batch: int, sensors: int, start: datetime | None, step: float, seed: int | None
) -> AsyncIterator[Batch]:
    """Yield made readings; without a start, the last of them are of now."""
    fleet = Fleet(sensors, start or datetime.now(UTC).replace(microsecond=0), step, seed)
    if start is None:
        fleet = replace(fleet, start=fleet.start - fleet.span(rows))
    for item in make(fleet, rows, batch):
        yield item


async def read_from(file: Path, form: str | None, batch: int) -> AsyncIterator[Batch]:
    """Yield the readings of a file, or of standard input for "-", without holding up the loop.

    Raises:
        ReadError: the file cannot be read.
    """
    try:
        form = form or ("ndjson" if str(file) == "-" else format_of(file))
        with contextlib.nullcontext(sys.stdin) if str(file) == "-" else _opened(file) as opened:
            readings = read(opened, form, batch)
            while item := await asyncio.to_thread(next, readings, None):
                yield item
    except OSError as error:
        raise ReadError(f"{file}: {error.strerror}") from None


def _opened(file: Path) -> TextIO:
    return file.open(encoding="utf-8", newline="")


def send(plan: Plan, source: AsyncIterator[Batch], rows: int | None, journal: Path | None) -> bool:
    """Send `source` and show the figures; tell whether every batch was accepted.

    Raises:
        typer.Exit: the source or the journal cannot be used.
    """
    tally = Tally()
    try:
        with Journal(journal) as open_journal:
            uvloop.run(_run(Sender(plan, source, tally, open_journal), tally, rows))
    except ReadError as error:
        raise fail(error) from None
    except OSError as error:
        raise fail(f"{journal}: {error.strerror}") from None
    except KeyboardInterrupt:
        typer.echo("millrace: stopped; batches without an answer may be stored or not", err=True)
        raise typer.Exit(130) from None
    finally:
        for fault in tally.faults:
            typer.echo(printable(fault), err=True)
        Console().print(tally.table())
    return tally.complete


async def _run(sender: Sender, tally: Tally, rows: int | None) -> None:
    async with shown(tally, rows):
        await sender.run()
