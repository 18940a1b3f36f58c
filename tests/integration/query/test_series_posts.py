"""`POST /series`: the same answers and the same refusals by name as GET, and a body that is no question is refused."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.support import TestDatabase
from tests.support.query import asking, insert, owner, query_settings

RIGHT: dict[str, Any] = {"sensor_id": ["sensor-1"], "start": "2025-10-22T21:00:00Z", "end": "2025-10-22T22:00:00Z"}
BUCKETS = {"agg": "avg", "bucket": "1h"}
WRONG: list[tuple[dict[str, Any], list[str], str]] = [
    ({"sensor_id": ["a", "a"]}, ["sensor_id"], "more than once"),
    ({"start": "soon"}, ["start"], "RFC 3339"),
    ({"agg": "best"}, ["agg"], "none of avg"),
    ({**BUCKETS, "fill": "cubic"}, ["fill"], "no number"),
    ({"layout": "tall"}, ["layout"], "none of rows, columns, wide"),
    ({"layout": "wide"}, ["layout"], "needs bucket"),
    ({"layout": "columns", "format": "csv"}, ["layout"], "JSON's alone"),
    ({"epoch": "ns"}, ["epoch"], "none of s, ms, us"),
    ({"order": "random"}, ["order"], "none of asc, desc"),
    ({"limit": "0"}, ["limit"], "whole number"),
    ({"limit": "101"}, ["limit"], "MILLRACE_QUERY_MAX_LIMIT"),
    ({"limit": "5", "format": "arrow"}, ["limit"], "JSON's alone"),
    ({"points": "3"}, ["points"], "at least 4"),
    ({"points": "101"}, ["points"], "100 is the most that fits"),
    ({**BUCKETS, "points": "10"}, ["points"], "readings alone"),
    ({"points": "10", "limit": "5", "order": "asc"}, ["limit", "order"], "not for points"),
    ({"points": "10", "downsample": "mean"}, ["downsample"], "none of m4, minmax, lttb"),
    ({"downsample": "m4"}, ["downsample"], "needs points"),
    ({"cursor": "A" * 43}, ["cursor"], "belongs to another question"),
    ({"x": "1"}, ["x"], "is not known here"),
]


@pytest.fixture
async def client(database: TestDatabase) -> AsyncIterator[httpx.AsyncClient]:
    async with owner(database) as connection:
        await insert(connection, "sensor-1", [(timedelta(minutes=minute), minute / 4) for minute in range(60)])
    settings = query_settings(database, max_cells=100, max_limit=100, max_held_rows=50, max_body_bytes=2000)
    async with asking(settings) as asked:
        yield asked


@pytest.mark.parametrize(("changed", "names", "message"), WRONG)
async def test_faults_are_named_alike_by_both_ways(
    client: httpx.AsyncClient, changed: dict[str, Any], names: list[str], message: str
) -> None:
    got, posted = (
        await client.get("/series", params=RIGHT | changed),
        await client.post("/series", json=RIGHT | changed),
    )
    for refused in (got, posted):
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_parameter"), refused.text
        found = {fault["parameter"]: fault["message"] for fault in refused.json()["parameters"]}
        assert list(found) == names
        assert message in found[names[0]]
    assert got.json() == posted.json()


async def test_lists_and_numbers_may_be_such(client: httpx.AsyncClient) -> None:
    texts = {**RIGHT, "agg": "avg,max", "bucket": "20m", "fill": "1.5", "limit": "2", "start": "1761166800000"}
    natural = texts | {"agg": ["avg", "max"], "fill": 1.5, "limit": 2, "start": 1761166800000}
    answers = [
        await client.get("/series", params=texts),
        await client.post("/series", json=texts),
        await client.post("/series", json=natural),
        await client.post("/series", json=natural | {"sensor_id": "sensor-1"}),
    ]
    bodies = [answer.json() for answer in answers]
    assert [answer.status_code for answer in answers] == [200] * 4, bodies
    assert all(body["data"] == bodies[0]["data"] for body in bodies)
    # A cursor leads on, whichever way it is given; a list of names is the same question as a text.
    rests = [await client.post("/series", json=natural | {"cursor": bodies[0]["next"]}),
             await client.get("/series", params=texts | {"cursor": bodies[2]["next"]})]  # fmt: skip
    assert [len(rest.json()["data"]) for rest in rests] == [1, 1]


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b"", 422, "malformed_body", "no JSON"),
        (b"[]", 422, "malformed_body", "no JSON object"),
        (b'{"sensor_id":"a","start":NaN}', 422, "malformed_body", "no JSON"),
        (b'{"sensor_id":"\xff"}', 422, "malformed_body", "no JSON"),
        (b"[" * 1900, 422, "malformed_body", "no JSON"),
        (b'{"start":' + b"[" * 950 + b"]" * 950 + b"}", 422, "malformed_body", "nested too deeply"),
        (b'{"sensor_id":"a","sensor_id":"b","start":"-1h"}', 422, "invalid_parameter", "sensor_id: is given more than"),
        (b"{}", 422, "invalid_parameter", "start: is missing"),
        (b'{"sensor_id":null,"start":"-1h"}', 422, "invalid_parameter", "sensor_id: is a text or a list of texts"),
        (b'{"sensor_id":[],"start":"-1h"}', 422, "invalid_parameter", "sensor_id: is a text or a list of texts"),
        (b'{"sensor_id":"a","start":true}', 422, "invalid_parameter", "start: is a text or a number"),
        (b'{"sensor_id":"a","start":"-1h","limit":1.5}', 422, "invalid_parameter", "limit: is no whole number"),
        (b'{"sensor_id":"a","start":"-1h","bucket":{}}', 422, "invalid_parameter", "bucket: is a text"),
        (b'{"sensor_id":"a","start":"-1h","format":"xml"}', 406, "not_acceptable", "ndjson"),
        (b" " * 2001, 413, "body_too_large", "MILLRACE_QUERY_MAX_BODY_BYTES"),
    ],
)
async def test_what_is_no_question_is_refused(
    client: httpx.AsyncClient, body: bytes, status: int, code: str, message: str
) -> None:
    refused = await client.post("/series", content=body, headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
    assert message in refused.json()["detail"]


async def test_a_body_of_another_sort_and_parameters_in_the_url_are_refused(client: httpx.AsyncClient) -> None:
    for headers, code in (
        ({"Content-Type": "application/x-www-form-urlencoded"}, "unsupported_media_type"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "unsupported_encoding"),
    ):
        refused = await client.post("/series", content=b"{}", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (415, code)
    refused = await client.post("/series", params={"tz": "UTC"}, json=RIGHT)
    assert (refused.status_code, refused.json()["parameters"][0]["parameter"]) == (422, "tz")


async def test_a_format_is_refused_before_the_catalogue_is_asked(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("services.query.series.routes.chosen", never)
    asked = {"match": "sensor-*", "start": RIGHT["start"]}
    refused = await client.post("/series", json=asked, headers={"Accept": "image/png"})
    assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")
    refused = await client.post("/series", json=asked | {"format": "csv", "limit": 5})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_parameter")


async def test_what_would_hold_too_many_rows_is_refused_with_a_question_that_fits(client: httpx.AsyncClient) -> None:
    for changed, name, fits in (
        ({"layout": "columns"}, "layout", {"layout": "columns", "limit": "50"}),
        ({"points": "10", "downsample": "lttb"}, "downsample", {"points": "10", "downsample": "m4"}),
    ):
        refused = await client.get("/series", params=RIGHT | changed)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_parameter")
        (fault,) = refused.json()["parameters"]
        assert fault["parameter"] == name
        assert "MILLRACE_QUERY_MAX_HELD_ROWS" in fault["message"]
        assert (await client.get("/series", params=RIGHT | fits)).status_code == 200
