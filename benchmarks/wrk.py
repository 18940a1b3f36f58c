"""The load generator: wrk, with requests prepared in a file. Its CPU time is nobody's cost."""

import asyncio
import shutil
from pathlib import Path

import msgspec

from services.platform.runtime.starting import StartError

__all__ = ["Sent", "find_wrk", "load"]

SCRIPT = Path(__file__).with_name("wrk.lua")


class Sent(msgspec.Struct, frozen=True):
    """What wrk counted.

    Attributes:
        requests: answered ones.
        refused: those of them that were answered 400 or above.
        broken: those that got no answer.
        microseconds: the run's length.
        bytes: received.
        p50: median latency in microseconds.
        p99: the same of the slowest hundredth.
        rounds: how often the prepared requests were begun; rows repeat in the second and later ones.
    """

    requests: int
    refused: int
    broken: int
    microseconds: int
    bytes: int
    p50: int
    p99: int
    rounds: int

    @property
    def acknowledged(self) -> int:
        """Requests that were answered 200 or 202."""
        return self.requests - self.refused

    @property
    def per_second(self) -> float:
        """Acknowledged requests a second."""
        return self.acknowledged * 1e6 / self.microseconds


def find_wrk() -> str:
    """Return the program.

    Raises:
        StartError: it is not installed; the message says how to have it.
    """
    program = shutil.which("wrk")
    if program is None:
        raise StartError("wrk, the load generator, is not installed; Debian and Ubuntu have it: apt-get install wrk")
    return program


async def load(url: str, seconds: float, connections: int, file: Path | None = None, rate: float = 0.0) -> Sent:
    """Send for `seconds` from as many connections.

    Args:
        url: with the path, where there is no file.
        seconds: rounded to whole ones, as wrk takes no others.
        connections: each has one request under way.
        file: of `write_requests`; None asks for `url` again and again.
        rate: requests a second; 0 is as fast as answers come.

    Raises:
        StartError: wrk is not installed, or ended with an error.
    """
    command = [find_wrk(), "--threads", "1", "--connections", str(connections), "--timeout", "60s"]
    command += ["--duration", f"{max(1, round(seconds))}s", "--script", str(SCRIPT), url]
    process = await asyncio.create_subprocess_exec(
        *command, "--", str(file or "-"), str(rate), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    lines = output.decode(errors="replace").strip().splitlines()
    if process.returncode or not lines or not lines[-1].startswith("{"):
        raise StartError(f"wrk failed: {' / '.join(lines[-3:])}")
    return msgspec.json.decode(lines[-1], type=Sent)
