"""Wrong and missing parameters: 422, a problem, each named with what to do."""

from collections.abc import AsyncIterator

import httpx
import pytest

from services.query.keyset import Keyset, pack
from services.query.plan import FIRST, Question
from tests.support import TestDatabase
from tests.support.query import asking, query_settings

START, END = "2025-10-22T21:00:00Z", "2025-10-22T22:00:00Z"
RIGHT = {"sensor_id": "sensor-1", "start": START, "end": END}
PATHS = ["/get_range", "/min", "/hourly"]


@pytest.fixture
async def client(database: TestDatabase) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(query_settings(database, max_limit=1000)) as asked:
        yield asked


async def refused(client: httpx.AsyncClient, path: str, query: object) -> dict[str, str]:
    """Return the parameters that a question is refused for, with their messages."""
    response = await client.get(path, params=query)  # type: ignore[arg-type]
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] == "invalid_parameter"
    faults = {fault["parameter"]: fault["message"] for fault in problem["parameters"]}
    assert all(name in problem["detail"] and message in problem["detail"] for name, message in faults.items())
    return faults


async def test_each_path_names_what_is_wrong(client: httpx.AsyncClient) -> None:
    for path in PATHS:
        required = {"sensor_id"} if path == "/hourly" else set(RIGHT)
        assert set(await refused(client, path, {})) == required
        for name, value, message in [
            ("sensor_id", "", "is empty"),
            ("sensor_id", "x" * 129, "more than 128 characters"),
            ("sensor_id", "a\0b", "NUL"),
            ("start", "2025-10-22T21:00:00", "add Z"),
            ("end", "2025-10-22T22:00:00.25", "add Z"),
            ("start", "2025-10-22", "RFC 3339"),
            ("start", "", "RFC 3339"),
            ("start", "1761166800", "RFC 3339"),
            ("start", "2025-10-22T21:00:00 02:00", "%2B"),
            ("start", "2025-10-22T21:00:00.1234567890Z", "more than 9 digits"),
            ("start", "2025-10-22T21:00:60Z", "leap second"),
            ("start", "\uff12025-10-22T21:00:00Z", "RFC 3339"),
            ("start", "2025-02-30T21:00:00Z", "does not exist"),
            ("start", "2025-10-22T24:00:00Z", "day after"),
            ("start", "0000-10-22T21:00:00Z", "does not exist"),
            ("start", "0001-01-01T00:00:00+01:00", "years 1 to 9999"),
            ("end", "9999-12-31T23:59:59-00:01", "years 1 to 9999"),
            ("sensor", "sensor-1", "not known"),
        ]:
            faults = await refused(client, path, {**RIGHT, name: value})
            assert list(faults) == [name]
            assert message in faults[name]


async def test_refusals_are_in_words_of_ours(client: httpx.AsyncClient) -> None:
    """Not in those of the library that reads parameters."""
    for path, query, told in [
        ("/min", {}, dict.fromkeys(RIGHT, "is missing")),
        ("/get_range", {**RIGHT, "limit": "x"}, {"limit": "is no whole number"}),
        ("/get_range", {**RIGHT, "limit": "0"}, {"limit": "is less than 1, the least that is taken"}),
        ("/get_range", {**RIGHT, "limit": "1001"}, {"limit": "is more than 1000, the most that is taken"}),
        ("/sensors", {"stats": "perhaps"}, {"stats": "is neither true nor false"}),
        ("/dead-letters", {"batch_id": "x"}, {"batch_id": "is no UUID"}),
    ]:
        assert await refused(client, path, query) == told


async def test_a_range_that_holds_nothing_names_both_ends(client: httpx.AsyncClient) -> None:
    for path in PATHS:
        for start, end in [(START, START), (END, START), ("2025-10-22T23:00:00+01:00", "2025-10-22T22:00:00Z")]:
            faults = await refused(client, path, {**RIGHT, "start": start, "end": end})
            assert set(faults) == {"start", "end"}


async def test_a_parameter_that_comes_twice_is_refused(client: httpx.AsyncClient) -> None:
    for path in PATHS:
        for name, value in RIGHT.items():
            faults = await refused(client, path, [*RIGHT.items(), (name, value)])
            assert faults == {name: "is given more than once"}


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "1.5", "x", ""])
async def test_limits_outside_of_their_bounds_are_refused(client: httpx.AsyncClient, limit: str) -> None:
    assert list(await refused(client, "/get_range", {**RIGHT, "limit": limit})) == ["limit"]


async def test_cursors_that_do_not_fit_are_refused(client: httpx.AsyncClient) -> None:
    foreign = pack(Keyset(0, 1), Question("sensor-2", FIRST, FIRST).identity())
    for cursor in ["", "x", "A" * 32, "ä" * 32, foreign]:
        assert list(await refused(client, "/get_range", {**RIGHT, "cursor": cursor})) == ["cursor"]


async def test_paging_is_not_known_elsewhere(client: httpx.AsyncClient) -> None:
    for path in ["/min", "/hourly"]:
        assert await refused(client, path, {**RIGHT, "limit": 5}) == {"limit": "is not known here"}


async def test_other_methods_are_told_which_is_right(client: httpx.AsyncClient) -> None:
    for path in PATHS:
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]:
            response = await client.request(method, path, params=RIGHT)
            assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
