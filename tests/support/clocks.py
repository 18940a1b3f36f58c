"""Clocks of single processes, set by libfaketime while they run."""

from pathlib import Path

import pytest

from .service import Service

__all__ = ["Clock"]

PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1",
          "/usr/local/lib/faketime/libfaketimeMT.so.1")  # fmt: skip


class Clock:
    """The wall clock of whoever it is given to; it begins right. Skips where libfaketime is not installed."""

    def __init__(self, folder: Path) -> None:
        library = next((found for place in PLACES for found in Path("/").glob(place[1:])), None)
        if library is None:
            pytest.skip("libfaketime, which sets the clock of a process, is not installed")
        self._file = folder / "clock"
        self.variables = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self.step(0)

    def given_to(self, process: Service) -> Service:
        """Let a process, which must not run yet, go by this clock, and return it."""
        process.variables.update(self.variables)
        return process

    def step(self, hours: int) -> None:
        """Set the clock wrong by `hours`."""
        hidden = self._file.with_suffix(".new")
        hidden.write_text(f"{hours:+d}h\n")
        hidden.rename(self._file)
