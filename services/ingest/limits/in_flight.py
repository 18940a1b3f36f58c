"""What requests under way may hold together, so that no load makes the process larger than it may be."""

from types import TracebackType
from typing import Self

from services.platform.http.errors import Problem
from services.platform.runtime.metrics import bytes_under_way, requests_under_way
from services.platform.settings import IngestSettings

__all__ = ["Held", "Load"]


class Load:
    """Counts the requests under way and the bytes of their bodies. One a process."""

    def __init__(self, settings: IngestSettings) -> None:
        self._most_requests = settings.max_requests
        self._most_bytes = settings.max_bytes_under_way
        self.requests = 0
        self.bytes = 0
        requests_under_way.show(lambda: self.requests)
        bytes_under_way.show(lambda: self.bytes)

    def request(self) -> "Held":
        """Count one request, and what it holds, until the block is left.

        Raises:
            Problem: `overloaded`.
        """
        if self.requests >= self._most_requests:
            raise _overloaded(f"{self.requests} requests are under way")
        self.requests += 1
        return Held(self)

    def take(self, size: int) -> None:
        """Count `size` bytes more.

        Raises:
            Problem: `overloaded`.
        """
        if self.bytes + size > self._most_bytes:
            raise _overloaded(f"{self.bytes} bytes are under way")
        self.bytes += size


class Held:
    """A request under way, and the bytes that it holds: nothing behind its block."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._bytes = 0

    def take(self, size: int) -> None:
        """Hold `size` bytes more.

        Raises:
            Problem: `overloaded`.
        """
        self._load.take(size)
        self._bytes += size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._load.requests -= 1
        self.release()

    def release(self) -> None:
        """Hold nothing any more."""
        self._load.bytes -= self._bytes
        self._bytes = 0


def _overloaded(what: str) -> Problem:
    return Problem("overloaded", f"{what}; send the request again", {"Retry-After": "1", "Connection": "close"})
