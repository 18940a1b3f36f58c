"""What was sent of which file, on disk: one import has it at a time, and it outlives a kill and a loss of power.

A piece is written down before its request leaves, so whatever may be stored is cut at the same places again, and has
the same key, however the file has grown since.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from .errors import StoppedError
from .pieces import Piece

__all__ = ["Known", "Sent", "State"]

_SCHEMA = """
create table if not exists files (
    id integer primary key,
    scope text not null,
    path text,
    beginning blob not null,
    unique (scope, path)
);
create index if not exists files_by_beginning on files (scope, beginning);
create table if not exists pieces (
    file integer not null references files,
    "offset" integer not null,
    length integer not null,
    line integer not null,
    target text not null,
    digest blob not null,
    tried integer not null,
    done integer not null,
    primary key (file, "offset")
) without rowid;
"""

_VERSION = 1

_SINCE_VERSION_0 = f"""
begin;
alter table pieces add column taken integer;
alter table pieces add column rejected integer not null default 0;
pragma user_version = {_VERSION};
commit;
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """A piece that was begun with.

    Attributes:
        offset: where it begins.
        length: how long it is.
        line: number of its first line.
        target: of the door that it is for.
        digest: hash of its content.
        tried: seconds since 1970 of its first attempt.
        done: 1 where it is stored, or refused, for certain, else 0.
        taken: how many of its readings were; None where that is not certain.
        rejected: how many records, or cells of records, were not.
    """

    offset: int
    length: int
    line: int
    target: str
    digest: bytes
    tried: int
    done: int
    taken: int | None = None
    rejected: int = 0

    @property
    def void(self) -> bool:
        """Whether for certain nothing of it is stored."""
        return bool(self.done) and self.taken == 0


@dataclass(frozen=True, slots=True)
class Known:
    """A file of which something was sent: its number, and the pieces in their order."""

    number: int
    sent: list[Sent]

    @property
    def stored(self) -> list[Sent]:
        """The pieces up to the last one of which something may be stored."""
        last = max((place for place, one in enumerate(self.sent, 1) if not one.void), default=0)
        return self.sent[:last]


class State:
    """The file of it. Any thread may call it."""

    def __init__(self, path: Path) -> None:
        """Open it; it is made where it is not there.

        Raises:
            StoppedError: it cannot be used, or another import has it.
        """
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
            self._db.execute("pragma locking_mode = exclusive")
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._db.executescript(_SCHEMA)
            if self._db.execute("pragma user_version").fetchone()[0] < _VERSION:
                self._db.executescript(_SINCE_VERSION_0)
        except OSError as error:
            raise StoppedError(f"{path}: {error.strerror}; say --state to keep elsewhere what was sent") from None
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise StoppedError(f"{path}: another import has it; wait for it, or say --state") from None
            raise StoppedError(f"{path}: {error}; say --state to keep elsewhere what was sent") from None
        except sqlite3.DatabaseError as error:
            raise StoppedError(f"{path}: {error}; it is no state of an import") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._db.close()

    def at(self, scope: str, path: Path) -> Known | None:
        """Return what is known of the file with this name, in imports of the same words."""
        with self._lock:
            found = self._db.execute("select id from files where scope = ? and path = ?", (scope, str(path))).fetchone()
            return found and Known(found[0], self._sent(found[0]))

    def like(self, scope: str, beginning: bytes) -> Iterator[Known]:
        """Yield what is known of files with this beginning, whatever they were called."""
        with self._lock:
            numbers = self._db.execute(
                "select id from files where scope = ? and beginning = ? order by id desc", (scope, beginning)
            ).fetchall()
        for (number,) in numbers:
            with self._lock:
                found = Known(number, self._sent(number))
            yield found

    def begin(self, scope: str, path: Path, beginning: bytes, like: Known | None) -> int:
        """Return the number of a file that is not known by its name; it has all pieces of the one that it is `like`."""
        with self._lock, self._db:
            self._db.execute("begin")
            number = self._db.execute(
                "insert into files (scope, path, beginning) values (?, ?, ?) returning id",
                (scope, str(path), beginning),
            ).fetchone()[0]
            if like is not None:
                self._db.execute(
                    'insert into pieces select ?, "offset", length, line, target, digest, tried, done, taken, rejected '
                    "from pieces where file = ?",
                    (number, like.number),
                )
            return int(number)

    def seen(self, known: Known, beginning: bytes) -> None:
        """Note how a file begins now; one that had a single line may have more."""
        with self._lock:
            self._db.execute("update files set beginning = ? where id = ?", (beginning, known.number))

    def forget_name(self, known: Known) -> None:
        """Let another file have a file's name; it is still known by its content."""
        with self._lock:
            self._db.execute("update files set path = null where id = ?", (known.number,))

    def forget_void(self, known: Known) -> None:
        """Forget a file's last pieces, of which nothing is stored, so that others may stand in their place."""
        with self._lock, self._db:
            self._db.execute("begin")
            self._db.executemany(
                'delete from pieces where file = ? and "offset" = ?',
                [(known.number, one.offset) for one in known.sent[len(known.stored) :]],
            )

    def note(self, number: int, piece: Piece) -> None:
        """Note that a piece may be stored from now on."""
        with self._lock:
            self._insert(number, piece)

    def done(self, number: int, piece: Piece, taken: int | None, rejected: int) -> None:
        """Note that a piece has met its end.

        Args:
            number: of its file.
            piece: the same.
            taken: how many of its readings are stored; None where that is not certain.
            rejected: how many records, or cells of records, are not.
        """
        with self._lock:
            self._db.execute(
                'update pieces set done = 1, taken = ?, rejected = ? where file = ? and "offset" = ?',
                (taken, rejected, number, piece.offset),
            )

    def divide(self, number: int, piece: Piece, halves: Sequence[Piece]) -> None:
        """Note that a piece is certainly not stored, and that these are sent in its place."""
        with self._lock, self._db:
            self._db.execute("begin")
            self._db.execute('delete from pieces where file = ? and "offset" = ?', (number, piece.offset))
            for half in halves:
                self._insert(number, half)

    def _sent(self, number: int) -> list[Sent]:
        rows = self._db.execute(
            'select "offset", length, line, target, digest, tried, done, taken, rejected from pieces where file = ? '
            'order by "offset"',
            (number,),
        )
        return [Sent(*row) for row in rows]

    def _insert(self, number: int, piece: Piece) -> None:
        self._db.execute(
            'insert into pieces (file, "offset", length, line, target, digest, tried, done) '
            "values (?, ?, ?, ?, ?, ?, ?, 0) on conflict do nothing",
            (number, piece.offset, piece.length, piece.line, piece.target, piece.digest, int(time.time())),
        )
