"""Keeping parts alive."""

import asyncio
import signal

import pytest

from services.local.supervisor import supervise
from services.platform.runtime.starting import StartError
from tests.support import eventually


class Part:
    """Ends at once; its first starts fail as they do where a disk is full or a server refuses."""

    name = "part"
    pid = None

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.starts = 0

    async def start(self) -> None:
        self.starts += 1
        if self.failures:
            raise self.failures.pop()

    def signal(self, number: signal.Signals) -> None:
        raise ProcessLookupError(number)

    async def ended(self) -> int:
        if self.starts > 1 and not self.failures:
            await asyncio.get_running_loop().create_future()
        return 1


@pytest.mark.parametrize("failure", [StartError("it does not start"), OSError(28, "No space left on device")])
async def test_what_cannot_be_started_is_tried_again(failure: Exception) -> None:
    part = Part(failure)
    keeping = asyncio.create_task(supervise(part))
    await eventually(lambda: part.starts == 2)
    assert not keeping.done()
    keeping.cancel()
