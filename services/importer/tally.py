"""Counts of an import, and what was wrong."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from services.sender.progress import Attempts, figures

__all__ = ["Reject", "Rejects", "Tally"]

_SHOWN = 20
"""How many rejects are told on the terminal."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that ingest does not take, or does not take as a whole.

    Attributes:
        file: its name.
        unit: what its number counts: `line` or `row`.
        number: of its first line, or of its row, from 1.
        field: of the record; None where it is not one field's fault.
        code: what is wrong.
        message: the same in words.
        record: as it stands in the file.
    """

    file: str
    unit: str
    number: int
    field: str | None
    code: str
    message: str
    record: Any


class Rejects:
    """Where rejects go: a file, one JSON object a line, where one is wanted; it is appended to."""

    def __init__(self, path: Path | None) -> None:
        """Open the file.

        Raises:
            OSError: it cannot be written.
        """
        self._file = path.open("ab", buffering=0) if path else None

    def write(self, rejects: list[Reject]) -> None:
        """Append rejects; after a kill some may come again."""
        if self._file is not None:
            lines = [orjson.dumps(asdict(one), default=str, option=orjson.OPT_APPEND_NEWLINE) for one in rejects]
            self._file.write(b"".join(lines))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


@dataclass(slots=True)
class Tally(Attempts):
    """Counts of an import.

    Attributes:
        done: bytes of files that were read.
        files: that were read to their end.
        known: pieces that an earlier import had sent.
        pieces: that were sent.
        readings: that were taken, or had been taken under their keys before.
        texts: of line protocol, which are not kept.
        rejected: records, or cells of records, that were not.
        rejected_before: the same, in an earlier import.
        faults: of whole files, and the first rejects.
        failed: whether a file, or a part of one, was not imported.
    """

    done: int = 0
    files: int = 0
    known: int = 0
    pieces: int = 0
    readings: int = 0
    texts: int = 0
    rejected: int = 0
    rejected_before: int = 0
    faults: list[str] = field(default_factory=list)
    failed: bool = False

    def fault(self, message: str) -> None:
        """Keep what is wrong with a file."""
        self.failed = True
        self.faults.append(message)

    def reject(self, rejects: list[Reject], count: int) -> None:
        """Count what was rejected, and keep the first ones to be told; `count` may be more than are known by name."""
        shown = rejects[: max(_SHOWN - self.rejected, 0)]
        self.faults += [f"{one.file} {one.unit} {one.number}: {one.code}: {one.message}" for one in shown]
        self.rejected += count

    def hint(self, message: str) -> None:
        """Keep what may be wrong with a file as a whole, once."""
        if message not in self.faults:
            self.faults.append(message)

    def had_rejected(self, file: str, count: int) -> None:
        """Count what an earlier import of a file rejected."""
        if count:
            self.rejected_before += count
            told = "1 record of it was" if count == 1 else f"{count:,} records of it were"
            self.faults.append(f"{file}: {told} rejected before")

    def sent(self, readings: int, texts: int) -> None:
        """Count a piece that has met its end, its readings that were taken, and texts that are not kept."""
        self.pieces += 1
        self.readings += readings
        self.texts += texts

    @property
    def complete(self) -> bool:
        """Whether all of all files is taken."""
        return not self.failed and not self.rejected and not self.rejected_before

    @property
    def repeated(self) -> bool:
        """Whether nothing was sent, as all of all files was sent before."""
        return self.known > 0 and not self.pieces and not self.failed

    def line(self) -> str:
        """Return the state of the import in one line."""
        return (
            f"{self.readings:,} readings, {self.readings / self.seconds:,.0f} a second, {self.rejected:,} rejected, "
            f"{self.retries:,} retries"
        )

    def table(self) -> Table:
        """Return the import's figures."""
        return figures(
            {
                "files": f"{self.files:,}",
                "readings taken": f"{self.readings:,}",
                **({"texts not kept": f"{self.texts:,}"} if self.texts else {}),
                "rejected": f"{self.rejected:,}",
                "rejected before": f"{self.rejected_before:,}",
                "pieces sent": f"{self.pieces:,}",
                "pieces sent before": f"{self.known:,}",
                "retries": f"{self.retries:,}",
                "seconds": f"{self.seconds:,.1f}",
            }
        )
