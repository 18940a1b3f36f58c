"""What is checked before anything starts: one stack a data folder, and every port free."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from services.platform.runtime.starting import StartError

__all__ = ["check_ports", "sole_user"]

_UNWRITABLE = {errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EROFS}


@contextlib.contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Make a data folder where there is none and hold its lock; the kernel gives it back however this process ends.

    Raises:
        StartError: it cannot be made or written to, then or inside the block, or another process holds the lock.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / "lock").open("a+")
    except OSError as error:
        raise StartError(
            f"the data folder {folder} cannot be used ({error.strerror}); choose another: MILLRACE_LOCAL_DATA_DIR"
        ) from error
    try:
        with opened as lock:
            _take(lock, folder)
            yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise StartError(f"nothing can be written to the data folder {folder}: {error.strerror}") from error


def _take(lock: TextIO, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise StartError(
            f"process {lock.read().strip()} already runs a stack in {folder}; stop it (Ctrl-C there), "
            "or choose another folder: MILLRACE_LOCAL_DATA_DIR"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


def check_ports(wanted: Mapping[str, tuple[str, int]]) -> None:
    """Make sure that each setting's (host, port) can be listened on.

    Raises:
        StartError: one cannot, or two settings name the same; the message names the setting.
    """
    takers: dict[int, str] = {}
    for setting, (host, port) in wanted.items():
        if (other := takers.setdefault(port, setting)) != setting:
            raise StartError(f"port {port} is wanted twice: by {other} and {setting}; change one of them")
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise StartError(
                    f"port {port} on {host} cannot be had ({error.strerror}); choose another: {setting}"
                ) from error
