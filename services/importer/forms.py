"""What a file is, and which door takes it with which words."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlencode

from .errors import ReadError

__all__ = ["STDIN", "Form", "Words", "files_of", "form_of"]

STDIN = Path("-")
"""What stands for standard input."""

_PACKED = {".gz", ".zst"}


class Form(StrEnum):
    """A format of files."""

    CSV = "csv"
    NDJSON = "ndjson"
    LINES = "lines"
    PARQUET = "parquet"
    ARROW = "arrow"

    @property
    def in_columns(self) -> bool:
        """Whether its readings stand in columns of Arrow."""
        return self in {Form.PARQUET, Form.ARROW}

    @property
    def tabular(self) -> bool:
        """Whether it may have a column for each sensor."""
        return self is Form.CSV or self.in_columns


_BY_SUFFIX = {
    **dict.fromkeys((".csv",), Form.CSV),
    **dict.fromkeys((".ndjson", ".jsonl"), Form.NDJSON),
    **dict.fromkeys((".lp", ".line", ".influx"), Form.LINES),
    **dict.fromkeys((".parquet",), Form.PARQUET),
    **dict.fromkeys((".arrows", ".arrow"), Form.ARROW),
}
_CONTENT_TYPES = {
    Form.CSV: "text/csv",
    Form.NDJSON: "application/x-ndjson",
    Form.LINES: "text/plain; charset=utf-8",
    Form.PARQUET: "application/vnd.apache.arrow.stream",
    Form.ARROW: "application/vnd.apache.arrow.stream",
}


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of files beside their content.

    Attributes:
        wide: whether tables have a column for each sensor.
        precision: unit of the timestamps of line protocol.
        database: which database the lines are of; None where the file says it, or none is.
        retention_policy: the same of its retention policy.
        bucket: which bucket of InfluxDB 2 they are of, in place of both.
    """

    wide: bool = False
    precision: str = "ns"
    database: str | None = None
    retention_policy: str | None = None
    bucket: str | None = None

    def target(self, form: Form, database: str | None = None, retention_policy: str | None = None) -> str:
        """Return path and query of the door that takes such a file's readings.

        Args:
            form: of the file.
            database: which one the file says that what follows is of.
            retention_policy: the same.
        """
        if form is not Form.LINES:
            return "/ingest?layout=wide" if self.wide and form.tabular else "/ingest?layout=rows"
        if self.bucket is not None:
            return f"/api/v2/write?{urlencode({'precision': self.precision, 'bucket': self.bucket})}"
        named = {"db": self.database or database, "rp": self.retention_policy or retention_policy}
        found = {"precision": self.precision, **{name: value for name, value in named.items() if value}}
        return f"/write?{urlencode(found)}"

    def headers(self, form: Form) -> dict[str, str]:
        """Return the headers of a request: faults come as problems, from each door."""
        return {"content-type": _CONTENT_TYPES[form], "accept": "application/problem+json"}


def form_of(path: Path) -> Form | None:
    """Return what the name of a file tells; None where it tells nothing."""
    name = path.with_suffix("") if path.suffix.lower() in _PACKED else path
    return _BY_SUFFIX.get(name.suffix.lower())


def files_of(paths: Iterable[Path], form: Form | None) -> Iterator[tuple[Path, Form]]:
    """Yield files and their formats: those that are named, and those of folders that are, in the order of their names.

    Args:
        paths: of files and folders.
        form: of all of them; None leaves it to their names, and files of folders away whose names tell none.

    Raises:
        ReadError: one is not there, or its name does not tell the format.
    """
    for path in paths:
        if path == STDIN:
            yield path, form or Form.NDJSON
        elif path.is_dir():
            for one in sorted(path.rglob("*")):
                hidden = any(part.startswith(".") for part in one.relative_to(path).parts)
                told = form or form_of(one)
                if told is not None and not hidden and one.is_file():
                    yield one, told
        elif not path.exists():
            raise ReadError(f"{path}: there is no such file")
        else:
            told = form or form_of(path)
            if told is None:
                raise ReadError(f"{path}: the name does not tell the format; say --format {', '.join(Form)}")
            yield path, told
