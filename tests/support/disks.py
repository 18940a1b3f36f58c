"""Small disks, to be filled."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["SmallDisk", "mounted"]


class SmallDisk:
    """A disk that can be filled and emptied."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, left: int) -> None:
        """Leave `left` bytes."""
        with self._filler.open("wb") as file:
            while True:
                found = os.statvfs(self.folder)
                # Whoever lives on the disk may take a piece between the look and the filling.
                with contextlib.suppress(OSError):
                    os.posix_fallocate(file.fileno(), 0, max(1, found.f_bavail * found.f_frsize - left))
                    return

    def empty(self) -> None:
        """Give the room back."""
        self._filler.unlink()


@contextlib.contextmanager
def mounted(folder: Path, mebibytes: int) -> Iterator[SmallDisk]:
    """Mount a small disk at `folder`, which is made; it is gone behind the block. Skips where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.strip()}")
    folder.chmod(0o711)
    yield SmallDisk(folder)
    subprocess.run(["umount", "-l", folder], check=True)
