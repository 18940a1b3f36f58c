"""An answer's bytes, passed on as they are to standard output or into a file, which is there whole or not at all."""

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import typer
from millrace_client import Answer

__all__ = ["save"]

_BINARY = {"arrow", "parquet"}


def save(answer: Answer, form: str, output: Path | None) -> None:
    """Write the bytes of an answer in a format to a file, or to standard output where there is none.

    Raises:
        typer.BadParameter: it is binary, and standard output is a terminal.
        OSError: it cannot be written.
    """
    if output is None:
        if sys.stdout.isatty() and form in _BINARY:
            raise typer.BadParameter(f"{form} is nothing for a terminal: say --output FILE, or pass it on by a pipe")
        for part in answer.content(form):
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
        return
    with _whole(output) as file:
        for part in answer.content(form):
            file.write(part)


@contextlib.contextmanager
def _whole(output: Path) -> Iterator[BinaryIO]:
    """Yield a file that becomes `output` where the block ends well; until then it has another name, beside it."""
    target = output.resolve()
    if target.exists() and not target.is_file():
        # A device or a pipe takes the bytes; nothing can stand in its place.
        with target.open("wb") as file:
            yield file
        return
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            part.chmod(target.stat().st_mode)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
