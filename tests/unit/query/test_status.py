"""One look for all who ask, and what the processes of ingest tell together."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from services.contract import CallerUsage
from services.query.status.shared import Shared
from services.query.status.stream import summed


async def test_all_who_ask_meanwhile_share_a_look_and_who_goes_away_takes_nothing_from_them() -> None:
    looks, go = 0, asyncio.Event()

    async def look() -> int:
        nonlocal looks
        looks += 1
        await go.wait()
        return looks

    shared = Shared(look, lambda _: 3600.0)
    viewers = [asyncio.create_task(shared.get()) for _ in range(20)]
    await asyncio.sleep(0)
    viewers[0].cancel()
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*viewers[1:]) == [1] * 19
    assert (await shared.get(), viewers[0].cancelled()) == (1, True)
    await shared.close()


async def test_what_is_no_longer_fresh_is_looked_at_again() -> None:
    looks = iter(range(10))

    async def look() -> int:
        return next(looks)

    shared = Shared(look, lambda _: 0.0)
    assert [await shared.get() for _ in range(3)] == [0, 1, 2]


LIMITED = st.builds(
    CallerUsage,
    st.sampled_from("abc"),
    st.just(1.0),
    st.floats(0, 100),
    st.none() | st.floats(0, 100),
    st.floats(0.5, 100),
)


@given(st.lists(st.lists(LIMITED, max_size=3, unique_by=lambda usage: usage.name), max_size=4))
def test_each_caller_stands_once_the_nearest_to_a_limit_first(told: list[list[CallerUsage]]) -> None:
    callers = summed(told)
    assert sorted(caller["name"] for caller in callers) == sorted({usage.name for one in told for usage in one})
    assert [caller["used"] for caller in callers] == sorted((caller["used"] for caller in callers), reverse=True)
    assert sum(caller["processes"] for caller in callers) == sum(map(len, told))
