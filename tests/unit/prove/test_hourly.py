"""What a proof does to rows before anything is broken."""

import asyncpg
import pytest

from services.prove.hourly import _UNTIL_UNLOCKED


@pytest.mark.parametrize("error", [asyncpg.LockNotAvailableError("a concurrent refresh"), asyncpg.DataError("wrong")])
async def test_a_refresh_that_meets_another_is_tried_again_and_one_that_is_wrong_is_not(error: Exception) -> None:
    errors = [error]

    async def refresh() -> str:
        if errors:
            raise errors.pop()
        return "CALL"

    if isinstance(error, asyncpg.LockNotAvailableError):
        assert await _UNTIL_UNLOCKED(refresh) == "CALL"
    else:
        with pytest.raises(asyncpg.DataError):
            await _UNTIL_UNLOCKED(refresh)
