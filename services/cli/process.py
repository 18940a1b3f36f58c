"""How a command starts and how it ends: settings and addresses first, and one clear line where it cannot go on."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol
from urllib.parse import SplitResult, urlsplit

import typer

from services.platform.settings import Settings, SettingsError, load

__all__ = ["CANNOT", "address", "command", "fail", "printable", "service", "telling"]

if TYPE_CHECKING:
    from rich.table import Table

CANNOT = 2
"""Exit code where a command cannot do its work: wrong settings, a taken port, a server that is away."""


def address(url: str) -> SplitResult:
    """Read a base URL.

    Raises:
        typer.BadParameter: it is none; what was said is not shown, as it may hold a password.
    """
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts
    raise typer.BadParameter("this is no address like http://127.0.0.1:8000")


def printable(text: object) -> str:
    """Return text of others as a terminal may show it: what would move the cursor or turn the line round is escaped."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in str(text))


def fail(message: object, code: int = CANNOT) -> typer.Exit:
    """Write one line to standard error and return the exit to raise."""
    typer.echo(f"millrace: {printable(' '.join(str(message).split()))}", err=True)
    return typer.Exit(code)


class Told(Protocol):
    """The counts of a run, and what went wrong in it."""

    @property
    def faults(self) -> Sequence[str]:
        """A line each."""

    def table(self) -> "Table":
        """Return the run's figures."""


@contextmanager
def command() -> Iterator[Settings]:
    """Yield the settings; those that do not fit end the command in one line."""
    try:
        settings = load()
    except SettingsError as error:
        raise fail(error) from None
    yield settings


@contextmanager
def telling(tally: "Told", stopped: str) -> Iterator[None]:
    """Tell at the end of the block, whatever that is, a run's faults and figures; `stopped` is said behind Ctrl-C.

    Raises:
        typer.Exit: it was interrupted.
    """
    from rich.console import Console

    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"millrace: stopped; {stopped}", err=True)
        raise typer.Exit(130) from None
    finally:
        for fault in tally.faults:
            typer.echo(printable(fault), err=True)
        Console().print(tally.table())


@contextmanager
def service(name: str) -> Iterator[Settings]:
    """Yield the settings with logs and telemetry set up for the service `name`, and flush them at the end."""
    _load_structlog()
    from services.platform.runtime.logs import configure
    from services.platform.runtime.starting import StartError
    from services.platform.runtime.telemetry import telemetry

    with command() as settings:
        configure(settings.log, name)
        try:
            with telemetry(settings.telemetry, name):
                yield settings
        except StartError as error:
            raise fail(error) from None


def _load_structlog() -> None:
    """Load structlog as if there were no rich, of which each process would hold 7 MiB for tracebacks in colour."""
    if "rich" not in sys.modules:
        # An import of what is None here fails as that of a module which is not installed.
        sys.modules["rich"] = None  # type: ignore[assignment]
        import structlog  # noqa: F401

        del sys.modules["rich"]
