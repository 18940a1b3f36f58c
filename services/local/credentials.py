"""Passwords of the embedded servers: made once, kept in one file that only its owner can read."""

import os
import secrets
from pathlib import Path

import msgspec

__all__ = ["Credentials", "credentials"]


class Credentials(msgspec.Struct, frozen=True):
    """A password a role; each is safe inside a URL."""

    superuser: str
    owner: str
    writer: str
    reader: str
    redis: str


def credentials(file: Path) -> Credentials:
    """Return what `file` holds; where there is none, make it."""
    if file.exists():
        return msgspec.json.decode(file.read_bytes(), type=Credentials)
    made = Credentials(*(secrets.token_urlsafe(24) for _ in Credentials.__struct_fields__))
    draft = file.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(msgspec.json.format(msgspec.json.encode(made)))
    draft.rename(file)
    return made
