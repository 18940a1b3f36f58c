"""The proofs' patience: a server that is not back yet is asked again, and what another answer tells is told."""

import httpx
import pytest

from services.prove.harness import once_back


def _answered(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://localhost/hourly")
    return httpx.HTTPStatusError("refused", request=request, response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    "away", [httpx.ConnectError("refused"), httpx.ReadError("cut"), _answered(503), OSError("away")]
)
async def test_who_is_not_back_yet_is_asked_again(away: Exception) -> None:
    failures = [away]

    async def ask(answer: int) -> int:
        if failures:
            raise failures.pop()
        return answer

    assert await once_back(30.0, ask, 7) == 7


@pytest.mark.parametrize("wrong", [_answered(500), _answered(400), AssertionError("wrong")])
async def test_what_is_wrong_is_told_at_once(wrong: Exception) -> None:
    asked = []

    async def ask() -> None:
        asked.append(1)
        raise wrong

    with pytest.raises(type(wrong)):
        await once_back(30.0, ask)
    assert asked == [1]
