"""Batches on disk: a folder of segments, one a batch, which outlives the process and the machine's power.

A segment is there whole or not at all: it is written under another name, fsynced and renamed, and the folder is
fsynced. Its first line has a checksum of the rest, for disks that lie. Lines behind it are JSON: the key, the readings
and the rejects, so that people can read it.

`000000000042-1000.segment`, of a thousand readings, was never sent; `000000000042-1000-1764201600000.tried` was, from
those milliseconds since 1970 on, and may be stored.
One process has a spool at a time.
"""

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from .batches import Batch, Reject
from .errors import SpoolError

try:
    import fcntl
except ImportError:
    # Windows asks and writes; a spool needs locks and folders that can be fsynced.
    fcntl = None  # type: ignore[assignment]

__all__ = ["DamagedError", "Spool", "SpoolFullError"]

_MAGIC = b"millrace-spool 1 "


class SpoolFullError(Exception):
    """The batch does not fit into the spool's limit."""


class DamagedError(Exception):
    """A segment is not what was written."""


class Spool:
    """The folder, held by this process alone. Any thread may call it; one ordinal belongs to one thread at a time."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Take the folder, which is made where it is not there.

        Args:
            folder: whose files are the spool's alone.
            limit: bytes that its segments may have together.

        Raises:
            SpoolError: another process has it, or it cannot be read and written.
        """
        if fcntl is None:
            raise SpoolError("a spool needs a system with POSIX's locks; leave it out here")
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()
        self._files: dict[int, tuple[str, int]] = {}
        """Name and bytes of each segment, by its ordinal."""
        self._size = 0
        self.free = 1
        """The first ordinal behind all that stand in the folder, those that were put aside among them."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._held = (folder / "lock").open("ab")
            try:
                fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._held.close()
                raise SpoolError(f"{folder}: another writer has this spool; give each process its own") from None
            self._find()
        except OSError as error:
            raise SpoolError(f"{folder}: {error.strerror or error}") from error

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        with self._lock:
            return self._size

    @property
    def segments(self) -> list[tuple[int, int]]:
        """Ordinal and readings of each segment, the oldest first."""
        with self._lock:
            return [(ordinal, int(_parts(name)[1])) for ordinal, (name, _) in sorted(self._files.items())]

    def put(self, ordinal: int, batch: Batch) -> None:
        """Write a batch, in the place of what the ordinal had, and under its name; when this returns it is on disk.

        Raises:
            SpoolFullError: it is new, and there is no room for it.
            OSError: it cannot be written; what was there before is untouched.
        """
        content = _written(batch)
        before = self._files.get(ordinal)
        if before is None and self.size + len(content) > self._limit:
            raise SpoolFullError(f"{self._folder} is full: {self.size} of {self._limit} bytes")
        name = before[0] if before else _name(ordinal, len(batch.readings), batch.tried)
        part = self._folder / f"{ordinal:012d}.part"
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self._folder / name)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        with self._lock:
            self._files[ordinal] = name, len(content)
            self._size += len(content) - (before[1] if before else 0)
        self._settle()

    def mark(self, ordinal: int, tried: int | None) -> None:
        """Note on disk since when a segment may be stored; with None, that it certainly is not.

        Raises:
            OSError: it cannot be noted.
        """
        name, size = self._files[ordinal]
        marked = _name(ordinal, int(_parts(name)[1]), tried)
        (self._folder / name).rename(self._folder / marked)
        with self._lock:
            self._files[ordinal] = marked, size
        self._settle()

    def get(self, ordinal: int) -> Batch:
        """Return a segment's batch.

        Raises:
            DamagedError: it is not what was written.
            OSError: it cannot be read.
        """
        name = self._files[ordinal][0]
        return replace(_read((self._folder / name).read_bytes()), tried=_tried(name))

    def remove(self, ordinal: int) -> None:
        """Let go of a segment that is stored. After a power cut it may be back, and is then sent again with its key.

        Raises:
            OSError: it cannot be removed.
        """
        (self._folder / self._files[ordinal][0]).unlink(missing_ok=True)
        self._forget(ordinal)

    def set_aside(self, ordinal: int, why: str) -> Path:
        """Keep a segment for people, under a name that ends in `why`; it is no longer the spool's.

        Raises:
            OSError: it cannot be renamed.
        """
        name = self._files[ordinal][0]
        kept = self._folder / f"{name}.{why}"
        (self._folder / name).rename(kept)
        self._forget(ordinal)
        self._settle()
        return kept

    def close(self) -> None:
        """Let another process have the folder."""
        self._held.close()

    def _forget(self, ordinal: int) -> None:
        with self._lock:
            self._size -= self._files.pop(ordinal)[1]

    def _find(self) -> None:
        for path in self._folder.iterdir():
            if path.name[:12].isdecimal():
                self.free = max(self.free, int(path.name[:12]) + 1)
            if path.suffix == ".part":
                # What a crash left; nobody was told that it is kept.
                path.unlink()
            elif path.suffix in {".segment", ".tried"}:
                size = path.stat().st_size
                self._files[int(_parts(path.name)[0])] = path.name, size
                self._size += size

    def _settle(self) -> None:
        """Fsync the folder, so that names are on disk."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _name(ordinal: int, rows: int, tried: int | None) -> str:
    return f"{ordinal:012d}-{rows}.segment" if tried is None else f"{ordinal:012d}-{rows}-{tried}.tried"


def _parts(name: str) -> list[str]:
    return name.partition(".")[0].split("-")


def _tried(name: str) -> int | None:
    return int(_parts(name)[2]) if name.endswith(".tried") else None


def _written(batch: Batch) -> bytes:
    names = ("key", "part", "take")
    head = json.dumps({name: getattr(batch, name) for name in names} | {"readings": len(batch.readings)}).encode()
    rejects = (json.dumps(asdict(reject)).encode() for reject in batch.rejects)
    rest = b"".join(line + b"\n" for line in (head, *batch.readings, *rejects))
    return _MAGIC + _checksum(rest) + b"\n" + rest


def _read(content: bytes) -> Batch:
    first, _, rest = content.partition(b"\n")
    if first != _MAGIC + _checksum(rest):
        raise DamagedError("its checksum is not that of what it holds")
    lines: Iterator[bytes] = iter(rest.splitlines())
    head = json.loads(next(lines))
    readings = tuple(next(lines) for _ in range(head["readings"]))
    rejects = tuple(Reject(**json.loads(line)) for line in lines)
    return Batch(head["key"], readings, rejects, part=head["part"], take=head["take"])


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode()
