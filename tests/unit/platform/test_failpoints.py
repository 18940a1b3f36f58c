import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.platform.runtime import failpoints


def test_where_no_folder_is_named_a_failpoint_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "worker.after_read").write_text("kill")
    monkeypatch.setenv(failpoints.VARIABLE, str(tmp_path))
    failpoints.reach("worker.after_read")  # the variable counts only when the process starts
    assert (tmp_path / "worker.after_read").exists()


def test_an_armed_place_acts_once(tmp_path: Path) -> None:
    (tmp_path / "worker.after_read").write_text("fail")
    program = (
        "from services.platform.runtime.failpoints import reach\n"
        "reach('worker.after_commit')\n"
        "for _ in range(2):\n"
        "    try: reach('worker.after_read'); print('passed')\n"
        "    except ConnectionResetError as error: print(error)"
    )
    variables = {**os.environ, failpoints.VARIABLE: str(tmp_path)}
    found = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, check=True, text=True)
    assert found.stdout.splitlines() == ["failpoint worker.after_read", "passed"]
    assert list(tmp_path.iterdir()) == []
