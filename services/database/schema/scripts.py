"""The SQL files: what `init.sql` includes, and the numbered migrations with their hashes."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["INIT_VERSION", "SQL", "Migration", "SchemaError", "included", "migrations"]

SQL = Path(__file__).resolve().parents[3] / "sql"
"""The folder of the SQL files beside the `services` folder."""

INIT_VERSION = 1
"""The version that `init.sql` makes; migrations count on from it."""

_NO_TRANSACTION = "-- no transaction"
_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class SchemaError(Exception):
    """The schema cannot be applied; the message says what is wrong, and in which file where it is one."""


@dataclass(frozen=True, slots=True)
class Migration:
    """A numbered change of a live database.

    Attributes:
        version: its number, above `INIT_VERSION`.
        name: the words behind the number.
        body: its SQL.
        transactional: whether it runs in a transaction.
    """

    version: int
    name: str
    body: str
    transactional: bool

    def __str__(self) -> str:
        return f"{self.version:04} {self.name}"

    @property
    def sha256(self) -> str:
        """Hash of the body, which the ledger keeps."""
        return hashlib.sha256(self.body.encode()).hexdigest()


def included(script: Path) -> Iterator[Path]:
    r"""Yield the files that `script` includes by psql's `\ir`, in order.

    Raises:
        SchemaError: a line is neither a comment nor an inclusion.
    """
    for number, line in enumerate(script.read_text().splitlines(), 1):
        words = line.split()
        if len(words) == 2 and words[0] == r"\ir":
            yield script.parent / words[1]
        elif words and not words[0].startswith("--"):
            raise SchemaError(rf"{script.name}:{number} is neither a comment nor \ir file.sql")


def migrations(folder: Path) -> list[Migration]:
    """Return the migrations in `folder` in order of their versions.

    Raises:
        SchemaError: a file is not named NNNN_words.sql, or two have one number.
    """
    found = [_migration(path) for path in sorted(folder.glob("*.sql"))]
    versions = [migration.version for migration in found]
    if versions != list(range(INIT_VERSION + 1, INIT_VERSION + 1 + len(found))):
        raise SchemaError(f"migrations must count up from {INIT_VERSION + 1:04}: {versions}")
    return found


def _migration(path: Path) -> Migration:
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise SchemaError(f"{path.name} is not named NNNN_words.sql")
    body = path.read_text()
    words = match[2].replace("_", " ")
    return Migration(int(match[1]), words, body, not body.startswith(_NO_TRANSACTION))
