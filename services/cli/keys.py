"""`millrace keys`: make, list and remove API keys in a file of callers."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .process import command, fail

if TYPE_CHECKING:
    from services.platform.http.auth import KeyFile

__all__ = ["app"]

app = typer.Typer(help="API keys of callers.", no_args_is_help=True)

File = Annotated[
    Path | None, typer.Option("--file", help="File of callers; MILLRACE_AUTH_KEYS_FILE if not said. It may be absent.")
]


@contextlib.contextmanager
def _opened(file: Path | None, *, absent: bool = False) -> Iterator[tuple[Path, "KeyFile"]]:
    from services.platform.http.auth import KeyFile, KeyFileError, load_keys

    with command() as settings:
        found = file or settings.auth.keys_file
        if found is None:
            raise fail("say which file: --file, or MILLRACE_AUTH_KEYS_FILE")
        try:
            yield found, KeyFile(callers=[]) if absent and not found.exists() else load_keys(found)
        except (KeyFileError, OSError) as error:
            raise fail(error) from None


@app.command()
def new(
    caller: Annotated[str, typer.Argument(help="Name of the caller: letters, digits, dot, dash, underscore.")],
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may do: ingest, query, admin; may be said several times. A known caller keeps what it has."
        ),
    ] = None,
    days: Annotated[float | None, typer.Option(min=0, help="Days after which the key expires.")] = None,
    file: File = None,
) -> None:
    """Make a key, put its hash into the file and write the key to standard output: it is shown this once."""
    from pydantic import ValidationError

    from services.platform.http.auth import new_key

    expires = None if days is None else datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    text, key = new_key(expires)
    with _opened(file, absent=True) as (found, held):
        callers = [each.model_dump(mode="json", exclude_none=True) for each in held.callers]
        known = next((each for each in callers if each["name"] == caller), None)
        if known is None:
            known = {"name": caller, "scopes": [], "keys": []}
            callers.append(known)
        known["scopes"] = scope or known["scopes"]
        known["keys"].append(key.model_dump(mode="json", exclude_none=True))
        try:
            _write(found, type(held).model_validate({"callers": callers}))
        except ValidationError as error:
            raise fail(_refusal(error)) from None
    typer.echo(text)
    typer.echo(f"key {key.id} of {caller} ({', '.join(known['scopes'])}) is in {found}", err=True)


@app.command("list")
def list_(*, file: File = None) -> None:
    """List callers with their keys' ids, scopes, limits and dedup."""
    with _opened(file) as (_, held):
        for caller in held.callers:
            limits = (
                f"rows/s={caller.rows_per_second or '-'}  requests/s={caller.requests_per_second or '-'}  "
                f"series/h={caller.series_per_hour or '-'}  dedup={caller.dedup or '-'}"
            )
            for key in caller.keys:
                expires = key.expires.isoformat() if key.expires else "never"
                typer.echo(f"{key.id}  {caller.name}  {','.join(caller.scopes)}  expires={expires}  {limits}")


@app.command()
def remove(key_id: Annotated[str, typer.Argument(help="Id from the list.")], *, file: File = None) -> None:
    """Remove a key from the file: within seconds it opens nothing."""
    with _opened(file) as (found, held):
        left = [
            each.model_copy(update={"keys": [key for key in each.keys if key.id != key_id]}) for each in held.callers
        ]
        if left == held.callers:
            raise fail(f"{found} holds no key {key_id}")
        _write(found, held.model_copy(update={"callers": left}))


def _write(file: Path, held: "KeyFile") -> None:
    """Write the file whole or not at all; only its owner can read it."""
    import yaml

    text = yaml.safe_dump(held.model_dump(mode="json", exclude_none=True), sort_keys=False)
    with tempfile.NamedTemporaryFile("w", dir=file.absolute().parent, delete=False) as made:
        made.write(text)
        made.flush()
        os.fsync(made.fileno())
    Path(made.name).replace(file)


def _refusal(error: Exception) -> str:
    if "keys" in str(error):
        return "the caller has two keys already; remove the older one first (millrace keys remove)"
    if "scopes" in str(error):
        return "say what the caller may do: --scope ingest, --scope query, --scope admin"
    return "the caller's name may have letters, digits, dot, dash and underscore, 64 at most"
