"""Requests in flight: what they may hold together, so that no flood makes the process larger than it may be."""

from types import TracebackType
from typing import Self

from services.platform.http.errors import Problem
from services.platform.runtime.metrics import bytes_under_way, requests_under_way
from services.platform.settings import IngestSettings

__all__ = ["InFlight", "RequestInFlight"]


class InFlight:
    """Counts the requests under way and the bytes of their bodies. One a process."""

    def __init__(self, settings: IngestSettings) -> None:
        self._most_requests = settings.max_requests
        self._most_bytes = settings.max_bytes_under_way
        self.requests = 0
        self.bytes = 0
        requests_under_way.show(lambda: self.requests)
        bytes_under_way.show(lambda: self.bytes)

    def request(self, size: int = 0) -> "RequestInFlight":
        """Count one request, `size` bytes and what it takes beside them, until the block is left.

        Raises:
            Problem: `overloaded`, and nothing is counted.
        """
        if self.requests >= self._most_requests:
            raise _overloaded(f"{self.requests} requests are under way")
        self.take(size)
        self.requests += 1
        return RequestInFlight(self, size)

    def take(self, size: int) -> None:
        """Count `size` bytes more.

        Raises:
            Problem: `overloaded`.
        """
        if self.bytes + size > self._most_bytes:
            raise _overloaded(f"{self.bytes} bytes are under way")
        self.bytes += size


class RequestInFlight:
    """A request under way, and the bytes that it has taken: none behind its block."""

    __slots__ = ("_bytes", "_in_flight")

    def __init__(self, in_flight: InFlight, size: int) -> None:
        self._in_flight = in_flight
        self._bytes = size

    def take(self, size: int) -> None:
        """Take `size` bytes more.

        Raises:
            Problem: `overloaded`.
        """
        self._in_flight.take(size)
        self._bytes += size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Count it no more."""
        self._in_flight.requests -= 1
        self.release()

    def release(self) -> None:
        """Give all its bytes back."""
        self._in_flight.bytes -= self._bytes
        self._bytes = 0


def _overloaded(what: str) -> Problem:
    return Problem("overloaded", f"{what}; send the request again", {"Retry-After": "1", "Connection": "close"})
