"""`millrace delete` and `millrace deletions`: take wrong readings back, and see who did and why."""

import getpass
import time
import uuid
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from services.sender.deletions import DELETIONS, DeletionRequest

from .process import command, printable

if TYPE_CHECKING:
    from .admin import Admin

__all__ = ["delete", "deletions"]

LOOK_EVERY = 0.5
"""Seconds between looks at a deletion that is waited for."""
SHOWN_SENSORS = 3

Url = Annotated[str | None, typer.Option(help="Where the administrative port is; on this machine if not said.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]


def delete(
    *,
    sensor: Annotated[list[str], typer.Option(help="Whose readings; it may be said several times.")],
    start: Annotated[str, typer.Option(help="First instant of the range, such as 2025-10-22T21:00:00Z.")],
    end: Annotated[str, typer.Option(help="First instant after the range.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is carried out.")] = False,
    key: Annotated[str | None, typer.Option(help="Idempotency-Key; a repeat under one key asks once.")] = None,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """Take wrong readings back: those that were accepted until now, in the table or on their way into it."""
    from .admin import administration

    wanted = DeletionRequest(sensor, start, end, reason, _user())
    with command() as settings, administration(settings, url) as admin:
        if dry_run or not yes:
            counted = admin.ask("POST", DELETIONS, wanted.body, dry_run="true")
            if dry_run:
                typer.echo(orjson.dumps(counted) if as_json else _counted(counted))
                return
            typer.confirm(f"{_counted(counted)}; delete them?", abort=True, err=True)
        asked = admin.ask("POST", DELETIONS, wanted.body, key or uuid.uuid4().hex)
        found = _carried_out(admin, asked) if wait else asked
    typer.echo(orjson.dumps(found) if as_json else _line(found))


def deletions(
    *,
    count: Annotated[int, typer.Option(min=1, help="Deletions to show, the newest first.")] = 20,
    as_json: Json = False,
    url: Url = None,
) -> None:
    """List deletions: how far they are, who asked, and why."""
    from .admin import administration

    left, after = count, None
    with command() as settings, administration(settings, url) as admin:
        while left:
            page = admin.ask("GET", DELETIONS, limit=min(left, 100), after=after)
            for found in page["deletions"]:
                typer.echo(orjson.dumps(found) if as_json else _line(found))
            left, after = left - len(page["deletions"]), page["next"]
            if after is None:
                return


def _carried_out(admin: "Admin", deletion: dict[str, Any]) -> dict[str, Any]:
    problem = None
    while deletion["finished_at"] is None:
        if deletion["problem"] not in {None, problem}:
            problem = deletion["problem"]
            typer.echo(printable(f"it is held up: {problem}"), err=True)
        time.sleep(LOOK_EVERY)
        deletion = admin.ask("GET", f"{DELETIONS}/{deletion['deletion_id']}")
    return deletion


def _user() -> str:
    """Return who runs the command; an arbitrary id of a container has no name."""
    try:
        return getpass.getuser()[:64]
    except (KeyError, OSError):
        return ""


def _counted(counted: dict[str, int]) -> str:
    return f"{counted['rows']} readings in {counted['hours']} hours"


def _line(deletion: dict[str, Any]) -> str:
    sensors = deletion["sensor_ids"]
    more = f" and {len(sensors) - SHOWN_SENSORS} more" if len(sensors) > SHOWN_SENSORS else ""
    done = "done" if deletion["finished_at"] else f"at {deletion['deleted_until']}"
    held_up = f"  held up: {deletion['problem']}" if deletion["problem"] else ""
    return printable(
        f"{deletion['deletion_id']}  {done}  rows={deletion['rows']}  hours={deletion['hours']}  "
        f"{', '.join(sensors[:SHOWN_SENSORS])}{more}  {deletion['start']} to {deletion['end']}  "
        f"asked {deletion['requested_at']} by {deletion['requested_by'] or '-'}: {deletion['reason']}{held_up}"
    )
