"""What most doors are: their senders show an API key in a header, and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.platform.http.auth import Caller, Check

__all__ = ["HeaderKeyDoor"]


@dataclass(frozen=True, slots=True)
class HeaderKeyDoor:
    """A door whose requests show their key in the Authorization header: one in an address would stand in logs."""

    check: Check

    def credentials(self, headers: Mapping[bytes, bytes], query: bytes) -> Caller:  # noqa: ARG002 -- keys are in headers
        """Return whose API key stands in the Authorization header.

        Raises:
            Problem: `no_key`, `wrong_key` or `forbidden`.
        """
        return self.check(headers)
