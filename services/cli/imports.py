"""`millrace import`: brings files and folders in, exactly once, and goes on where it stopped."""

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .process import address, command, fail, telling

if TYPE_CHECKING:
    from services.importer.delivery import Delivery
    from services.importer.forms import Form

__all__ = ["import_files"]


def import_files(  # noqa: PLR0917 -- each is an option of the command line
    files: Annotated[list[Path], typer.Argument(help="Files and folders; - for standard input.")],
    form: Annotated[
        Literal["csv", "ndjson", "lines", "parquet", "arrow"] | None,
        typer.Option("--format", help="Of all files; by their names if not said, and NDJSON from standard input."),
    ] = None,
    layout: Annotated[
        Literal["rows", "wide"] | None,
        typer.Option(help="Of tables: a reading in each row, or a column for each sensor; rows if not said."),
    ] = None,
    precision: Annotated[
        Literal["ns", "us", "ms", "s", "m", "h", "auto"] | None,
        typer.Option(help="Unit of line protocol's timestamps; ns if not said."),
    ] = None,
    database: Annotated[
        str | None, typer.Option("--db", help="Label `db` of line protocol's series; as an export says if not said.")
    ] = None,
    retention_policy: Annotated[
        str | None, typer.Option("--rp", help="Label `rp` of them; as an export says, but for autogen, if not said.")
    ] = None,
    bucket: Annotated[str | None, typer.Option(help="Label `bucket` of them, in place of `db` and `rp`.")] = None,
    run: Annotated[str, typer.Option(help="Name of the import; under another one all is new.")] = "",
    url: Annotated[str | None, typer.Option(help="Where ingest is; on this machine if not said.")] = None,
    connections: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 4,
    gzip: Annotated[bool, typer.Option("--gzip", help="Compress bodies.")] = False,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds until a request is given up, and the import ends.")
    ] = (300.0),
    rejects: Annotated[
        Path | None, typer.Option(help="Append records that are not taken to this file, as NDJSON.")
    ] = None,
    max_rejects: Annotated[int, typer.Option(min=0, help="Stop where more than these are not taken.")] = 1_000,
    growing: Annotated[
        bool, typer.Option("--growing", help="Leave a last line without a newline for the next import.")
    ] = False,
    replaced: Annotated[
        bool, typer.Option("--replaced", help="What has another content than was imported by its name is a new file.")
    ] = False,
    in_doubt: Annotated[
        Literal["send", "skip"] | None,
        typer.Option(help="What to do with parts that may be stored, and that the ledger does not remember."),
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Where it is kept what was sent; in your home if not said.")
    ] = None,
) -> None:
    """Bring CSV, NDJSON, line protocol, Parquet and Arrow files in, exactly once; a repeat goes on where it stopped."""
    import sqlite3

    from services.importer.delivery import Delivery
    from services.importer.errors import ReadError, StoppedError
    from services.importer.files import Files, Which
    from services.importer.forms import Form, Words, files_of
    from services.importer.state import State
    from services.importer.tally import Rejects, Tally
    from services.sender.posting import Way

    with command() as settings:
        base = address(url or f"http://127.0.0.1:{settings.ingest.port}")
        key = settings.client.key
        try:
            found = list(files_of(files, None if form is None else Form(form)))
            words = Words(layout == "wide", precision or "ns", database, retention_policy, bucket)
            _check(
                {one for _, one in found},
                {"--layout": layout},
                {"--precision": precision, "--db": database, "--rp": retention_policy, "--bucket": bucket},
            )
            which = Which(found, words, base.geturl(), run, growing, replaced, in_doubt)
            with State(state or _home() / "import.sqlite") as opened, closing(Rejects(rejects)) as kept:
                way = Way(base, gzip, patience, key.get_secret_value() if key else None)
                done = _done(Delivery(Files(which, opened, Tally()), way, connections, kept, max_rejects))
        except (ReadError, StoppedError) as error:
            raise fail(error) from None
        except OSError as error:
            raise fail(f"{rejects}: {error.strerror}") from None
        except sqlite3.Error as error:
            raise fail(f"what was sent cannot be kept: {error}; what was not noted is sent again") from None
    raise typer.Exit(0 if done else 1)


def _check(forms: "set[Form]", of_tables: dict[str, str | None], of_lines: dict[str, str | None]) -> None:
    """See that each option is of one of the files.

    Raises:
        typer.BadParameter: it is not, or it excludes another.
    """
    from services.importer.forms import Form

    for name, value in of_tables.items():
        if value is not None and not any(one.tabular for one in forms):
            raise typer.BadParameter(f"{name} is for CSV, Parquet and Arrow, and none of the files is such a one")
    for name, value in of_lines.items():
        if value is not None and Form.LINES not in forms:
            raise typer.BadParameter(f"{name} is for line protocol, and none of the files is such a one; see --format")
    if of_lines["--bucket"] is not None and (of_lines["--db"] or of_lines["--rp"]):
        raise typer.BadParameter("--bucket excludes --db and --rp")


def _home() -> Path:
    """Return the folder where commands of this user keep what outlives them."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "millrace"


def _done(delivery: "Delivery") -> bool:
    """Import, and show faults and figures; tell whether all of all files is taken.

    Raises:
        StoppedError: it cannot go on.
        typer.Exit: it was interrupted.
    """
    from services.importer.delivery import deliver
    from services.importer.forms import STDIN

    tally = delivery.files.tally
    paths = [path for path, _ in delivery.files.which.files]
    with telling(tally, "the same command goes on from here"):
        deliver(delivery, None if STDIN in paths else sum(path.stat().st_size for path in paths))
    if tally.repeated:
        typer.echo("all was sent before; --run NAME imports it again, such as into a database that was emptied")
    return tally.complete
