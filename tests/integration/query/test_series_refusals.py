"""`/series` refuses by name through HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support import TestDatabase
from tests.support.query import asking, query_settings

RIGHT = {"sensor_id": "sensor-1", "start": "2025-10-22T21:00:00Z", "end": "2025-10-22T22:00:00Z"}


@pytest.fixture
async def client(database: TestDatabase) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(query_settings(database, max_sensors=3, max_cells=100)) as asked:
        yield asked


async def refused(client: httpx.AsyncClient, parameters: Any) -> dict[str, str]:
    response = await client.get("/series", params=parameters)
    assert response.status_code == 422, response.text
    problem = response.json()
    assert problem["code"] == "invalid_parameter"
    found = {fault["parameter"]: fault["message"] for fault in problem["parameters"]}
    assert all(name in problem["detail"] and message in problem["detail"] for name, message in found.items())
    return found


async def test_each_fault_is_named(client: httpx.AsyncClient) -> None:
    assert set(await refused(client, {})) == {"start"}
    assert set(await refused(client, {"start": "now"})) == {"sensor_id", "start", "end"}
    hours = {"agg": "avg", "bucket": "1h"}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"sensor_id": ""}, "1 to 128"),
        ({"sensor_id": ["a", "a"]}, "more than once"),
        ({"sensor_id": ["a", "b", "c", "d"]}, "MILLRACE_QUERY_MAX_SENSORS"),
        ({"start": "soon"}, "RFC 3339"),
        ({"end": "2025-10-22T21:00:00 02:00"}, "%2B"),
        ({"agg": "mode"}, "none of avg"),
        ({**hours, "bucket": "1 hour"}, "no length"),
        ({**hours, "bucket": "1s"}, "the smallest usual bucket that fits is 1m"),
        ({"tz": "Mars/Olympus"}, "IANA"),
        ({"by": "all"}, "needs agg"),
        ({**hours, "by": "room,all"}, "stands alone"),
        ({**hours, "fill": "cubic"}, "no number"),
    ]
    for changed, message in wrong:
        name = list(changed)[-1]
        found = await refused(client, RIGHT | changed)
        assert list(found) == [name]
        assert message in found[name]
    assert set(await refused(client, RIGHT | {"end": RIGHT["start"]})) == {"start", "end"}


async def test_what_is_not_known_here_or_comes_twice_is_refused(client: httpx.AsyncClient) -> None:
    for name in ["x", "BY"]:
        assert await refused(client, RIGHT | {name: "1"}) == {name: "is not known here"}
    for name, value in [("start", "now"), ("end", "now"), ("agg", "avg"), ("bucket", "1h"), ("tz", "UTC")]:
        asked = [*RIGHT.items(), (name, value)] if name in RIGHT else [*RIGHT.items(), (name, value), (name, value)]
        assert await refused(client, asked) == {name: "is given more than once"}
