"""`millrace dead-letters`: see, mend, replay and delete what could not be stored."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import orjson
import typer

from .entries import lines
from .process import command, fail, printable

if TYPE_CHECKING:
    from .admin import Admin

__all__ = ["app"]

app = typer.Typer(help="What could not be stored: see, mend, replay, delete.", no_args_is_help=True)

Ids = Annotated[list[str] | None, typer.Argument(help="Ids from the list.")]
Url = Annotated[str | None, typer.Option(help="Where the administrative port is; on this machine if not said.")]
_REASONS = "behind_retention, damaged, expired, key_reused, refused"
Reason = Annotated[str | None, typer.Option(help=f"Those with this reason: {_REASONS}.")]
Batch = Annotated[str | None, typer.Option(help="Those of this batch.")]
All = Annotated[bool, typer.Option("--all", help="All that there are now.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]
EvenExpired = Annotated[
    bool, typer.Option("--even-expired", help="Those older than the ledger remembers too; they may be stored twice.")
]


@contextmanager
def _admin(url: str | None) -> Iterator["Admin"]:
    from .admin import administration

    with command() as settings, administration(settings, url) as admin:
        yield admin


@app.command("list")
def list_(
    *,
    reason: Reason = None,
    batch: Batch = None,
    count: Annotated[int, typer.Option(min=1, help="Letters to show, the oldest first.")] = 100,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """List dead letters: id, reason, rows, batch, detail."""
    shown = 0
    with _admin(url) as admin:
        for page in admin.pages("GET", "/dead-letters", reason=reason, batch_id=batch, limit=min(count, 1000)):
            for letter in page["letters"][: count - shown]:
                shown += 1
                typer.echo(orjson.dumps(letter) if as_json else _line(letter))
            if shown == count:
                break
    typer.echo(f"{shown} of {page['total']} dead letters", err=True)


@app.command()
def show(
    letter_id: Annotated[str, typer.Argument(help="Id from the list.")],
    *,
    rows: Annotated[int, typer.Option(min=0, max=1000, help="Readings to show.")] = 10,
    readings: Annotated[bool, typer.Option("--readings", help="Write all readings, as ingest takes them.")] = False,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Show one dead letter in clear."""
    with _admin(url) as admin:
        if readings:
            typer.echo(orjson.dumps(admin.ask("GET", f"/dead-letters/{letter_id}/readings")))
            return
        found = admin.ask("GET", f"/dead-letters/{letter_id}", rows=rows)
        typer.echo(orjson.dumps(found) if as_json else "\n".join(lines(found)))


@app.command()
def mend(
    letter_id: Annotated[str, typer.Argument(help="Id from the list.")],
    file: Annotated[
        Path | None, typer.Argument(help="JSON with the right readings; an editor opens if not said.")
    ] = None,
    *,
    even_expired: EvenExpired = False,
    url: Url = None,
) -> None:
    """Replay one dead letter with other readings in place of its own."""
    with _admin(url) as admin:
        try:
            body = file.read_bytes() if file else _edited(admin.ask("GET", f"/dead-letters/{letter_id}/readings"))
        except OSError as error:
            raise fail(f"{file}: {error.strerror}") from None
        done = admin.ask("POST", f"/dead-letters/{letter_id}/replay", body, even_expired=even_expired)
    typer.echo(f"replayed as batch {done['batch_id']}")


@app.command()
def replay(
    letter_ids: Ids = None,
    *,
    everything: All = False,
    reason: Reason = None,
    batch: Batch = None,
    even_expired: EvenExpired = False,
    url: Url = None,
) -> None:
    """Put dead letters back into the stream. Repeating it is harmless: each leaves once and is stored once."""
    _one_choice(letter_ids, everything, reason, batch)
    replayed, left = 0, list[dict[str, str]]()
    with _admin(url) as admin:
        if letter_ids:
            for letter_id in letter_ids:
                admin.ask("POST", f"/dead-letters/{letter_id}/replay", even_expired=even_expired)
                replayed += 1
        else:
            total = admin.ask("GET", "/dead-letters", limit=1)["total"]
            pages = admin.pages("POST", "/replay", reason=reason, batch_id=batch, limit=100, even_expired=even_expired)
            with _bar("replayed", total) as advance:
                for page in pages:
                    replayed += page["replayed"]
                    left += page["left"]
                    advance(page["replayed"] + len(page["left"]))
    for letter in left:
        typer.echo(printable(f"{letter['letter_id']} stays: {letter['code']}: {letter['detail']}"), err=True)
    typer.echo(f"replayed {replayed} dead letters, {len(left)} stay")
    raise typer.Exit(1 if left else 0)


@app.command()
def delete(
    letter_ids: Ids = None,
    *,
    everything: All = False,
    reason: Reason = None,
    batch: Batch = None,
    older: Annotated[float | None, typer.Option("--older", min=0, help="Those older than so many days.")] = None,
    url: Url = None,
) -> None:
    """Delete dead letters for good: their readings are lost."""
    _one_choice(letter_ids, everything, reason, batch, older)
    deleted = 0
    with _admin(url) as admin:
        if letter_ids:
            for letter_id in letter_ids:
                admin.ask("DELETE", f"/dead-letters/{letter_id}")
                deleted += 1
        else:
            newest = admin.ask("GET", "/dead-letters", limit=1)
            through = newest["through"] if older is None else str(max(0, int((time.time() - older * 86_400) * 1000)))
            pages = admin.pages("DELETE", "/dead-letters", reason=reason, batch_id=batch, through=through)
            with _bar("deleted", newest["total"]) as advance:
                for page in pages:
                    deleted += page["deleted"]
                    advance(page["deleted"])
    typer.echo(f"deleted {deleted} dead letters")


def _one_choice(letter_ids: list[str] | None, everything: bool, *choices: object) -> None:
    filtered = any(choice is not None for choice in choices)
    if bool(letter_ids) + everything + filtered != 1:
        raise typer.BadParameter("say which: ids, --all, or what they have in common")


def _edited(readings: list[dict[str, Any]]) -> bytes:
    text = "[\n" + ",\n".join(orjson.dumps(reading).decode() for reading in readings) + "\n]\n"
    edited = click.edit(text, extension=".json")
    if edited is None:
        raise fail("nothing was changed, nothing is replayed")
    return edited.encode()


def _line(letter: dict[str, Any]) -> str:
    return printable(
        f"{letter['letter_id']}  {letter['reason']}  rows={letter['rows']}  "
        f"batch_id={letter['batch_id'] or '-'}  {letter['detail']}"
    )


@contextmanager
def _bar(what: str, total: int) -> Iterator[Any]:
    """Yield what moves a bar on; there is none where nobody looks."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
