import asyncio
import itertools
import time

import pytest

from services.platform.runtime.retry import pauses, retried


def test_pauses_double_up_to_the_longest() -> None:
    assert list(itertools.islice(pauses(0.5, 5.0), 6)) == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


class Attempts:
    """Fails so many times, each attempt lasting a given time of a clock that stands still else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *lengths: float) -> None:
        self.now = 0.0
        self.told: list[str] = []
        self.slept: list[float] = []
        self._lengths = iter(lengths)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    async def work(self) -> str:
        length = next(self._lengths, None)
        if length is None:
            return "done"
        self.now += length
        raise OSError(f"after {length:g}")

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)

    async def run(self, errors: tuple[type[BaseException], ...] = (OSError,)) -> str:
        def failed(error: BaseException) -> None:
            self.told.append(str(error))

        return await retried(self.work, errors, failed, first=0.5, longest=4.0, steady=10.0, sleep=self.sleep)


async def test_what_fails_is_tried_again_and_each_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(monkeypatch, 1, 2, 3, 4, 5)
    assert await attempts.run() == "done"
    assert attempts.told == ["after 1", "after 2", "after 3", "after 4", "after 5"]
    assert attempts.slept == [0.5, 1.0, 2.0, 4.0, 4.0]


async def test_pauses_begin_anew_behind_an_attempt_that_was_steady(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(monkeypatch, 0, 0, 11, 0, 60)
    await attempts.run()
    assert attempts.slept == [0.5, 1.0, 0.5, 1.0, 0.5]


async def test_an_error_that_does_not_pass_leaves_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(monkeypatch, 0)
    with pytest.raises(OSError, match="after 0"):
        await attempts.run((ValueError,))
    assert (attempts.told, attempts.slept) == ([], [])


async def test_a_cancellation_ends_the_attempts_at_once() -> None:
    async def failing() -> None:
        raise OSError

    task = asyncio.create_task(retried(failing, (OSError,), lambda _: None, first=3600.0, longest=3600.0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
