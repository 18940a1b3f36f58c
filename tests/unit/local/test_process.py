"""Processes of our own hear what is said to them."""

import signal
import subprocess
import sys

from services.local.process import adorned

WAITS = "import signal; print('waits', flush=True); signal.pause()"


def test_a_child_can_be_interrupted_though_its_parent_is_deaf_to_it_as_behind_nohup() -> None:
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = subprocess.Popen(
            adorned([sys.executable, "-c", WAITS]), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    finally:
        signal.signal(signal.SIGINT, heard)
    with child:
        try:
            assert child.stdout
            assert child.stdout.readline() == b"waits\n"
            child.send_signal(signal.SIGINT)
            assert child.wait(10) != 0
        finally:
            child.kill()
