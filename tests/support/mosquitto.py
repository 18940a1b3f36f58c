"""A real Mosquitto that keeps its sessions on disk, and may be stopped and started again."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from services.local.process import adorned

from .patience import free_port
from .programs import found

__all__ = ["Mosquitto", "mosquitto"]

_CONFIGURATION = """
listener {port} localhost
allow_anonymous {anonymous}
persistence true
persistence_location {folder}/
user root
log_type error
log_type subscribe
max_inflight_messages 500
max_queued_messages 0
{more}
"""


class Mosquitto:
    """The broker."""

    def __init__(self, folder: Path, more: str, *, anonymous: bool) -> None:
        self._program = found("mosquitto")
        self._publisher = found("mosquitto_pub")
        self.port = free_port()
        self.log = folder / "mosquitto.log"
        self._file = folder / "mosquitto.conf"
        said = "true" if anonymous else "false"
        self._file.write_text(_CONFIGURATION.format(port=self.port, folder=folder, anonymous=said, more=more))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                adorned([str(self._program), "-c", str(self._file)]), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self) -> None:
        """End it as an operator does: what it has is on disk."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("localhost", self.port), 1):
            return True
        return False

    def publish(self, topic: str, lines: str, *options: str) -> None:
        """Publish each line as a message, with quality of service 1; when this returns the broker has them."""
        address = ["-h", "localhost", "-p", str(self.port)]
        command = [str(self._publisher), *address, "-q", "1", "-t", topic, "-l", *options]
        subprocess.run(command, input=lines.encode(), capture_output=True, timeout=30, check=True)


@contextlib.contextmanager
def mosquitto(folder: Path, more: str = "", *, anonymous: bool = True) -> Iterator[Mosquitto]:
    """Run one until the end of the block; the test is skipped where there is no Mosquitto."""
    broker = Mosquitto(folder, more, anonymous=anonymous)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()
