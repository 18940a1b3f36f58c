"""Control groups: who is in one is held to its part of the cores, with all that it starts."""

import subprocess
import sys

import psutil
import pytest

from benchmarks.cgroups import limited
from services.platform.runtime.starting import StartError
from tests.support import eventually

BUSY = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"


async def test_a_group_holds_a_process_and_its_children_to_its_part_and_is_gone_behind_them() -> None:
    try:
        with limited("millrace-test", 0.1) as group:
            process = subprocess.Popen([sys.executable, "-c", BUSY])  # noqa: ASYNC220 -- it only forks
            parent = psutil.Process(process.pid)
            try:
                await eventually(lambda: len(parent.children()) == 1)
                [child] = parent.children()
                group.take(parent)
                held = set((group.folder / "cgroup.procs").read_text().split())
                assert held == {str(parent.pid), str(child.pid)}
                await eventually(lambda: group.throttled()[1] > 0)
                wanted, waited = group.throttled()
                assert 0 < waited <= wanted
            finally:
                for each in [*parent.children(), parent]:
                    each.kill()
                process.wait()
    except StartError as error:
        pytest.skip(str(error))
    assert not group.folder.exists()
