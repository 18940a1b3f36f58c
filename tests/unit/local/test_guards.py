"""What is checked before anything starts."""

import errno
import os
from pathlib import Path

import pytest

from services.local.guards import sole_user
from services.platform.runtime.starting import StartError


def test_a_full_disk_is_told_with_the_folder(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=f"{tmp_path}: No space left on device"), sole_user(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_is_no_fault_of_the_folder_is_not_blamed_on_it(tmp_path: Path) -> None:
    with pytest.raises(ConnectionRefusedError), sole_user(tmp_path):
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
