"""Questions that are refused, put off, or answered by half; in threads and in asyncio alike."""

import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pyarrow as pa
import pytest
from millrace_client import (
    AnswerError,
    AsyncClient,
    BrokenAnswerError,
    Client,
    MillraceError,
    NoAnswerError,
    NotAllowedError,
    RefusedError,
    UnavailableError,
)

ROWS = [{"sensor_id": "a", "value": number / 3} for number in range(5)]
BODY = json.dumps({"data": ROWS, "meta": {"tz": "UTC"}}).encode()
ARROW = io.BytesIO()
TABLE = pa.table({"value": [1.0, 2.0, 3.0]}).replace_schema_metadata({b"millrace.meta": b'{"tz": "UTC"}'})
with pa.ipc.new_stream(ARROW, TABLE.schema) as ipc:
    ipc.write_table(TABLE, max_chunksize=1)


class Bytes(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in two parts, which may break off between them."""

    def __init__(self, content: bytes, broken: bool) -> None:
        self.content = content
        self.broken = broken

    def __iter__(self) -> Iterator[bytes]:
        yield self.content[:20]
        if self.broken:
            raise httpx.RemoteProtocolError("peer closed connection", request=httpx.Request("GET", "http://query"))
        yield self.content[20:]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


class Query(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A query service whose answers are scripted; behind the script it answers well."""

    def __init__(self, *script: httpx.Response | Exception) -> None:
        self.script = list(script)
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        turn = self.script.pop(0) if self.script else answer(request)
        if isinstance(turn, Exception):
            raise turn
        if isinstance(turn.stream, Bytes):
            return turn
        return httpx.Response(turn.status_code, headers=turn.headers, content=turn.read())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self.handle_request(request)


def answer(request: httpx.Request, *, cut: int | None = None, broken: bool = False) -> httpx.Response:
    content = ARROW.getvalue() if request.url.params.get("format") == "arrow" else BODY
    return httpx.Response(200, stream=Bytes(content[:cut], broken))


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    content = json.dumps({"code": code, "detail": "so it is", "parameters": [{"parameter": "agg", "message": "no"}]})
    return httpx.Response(status, content=content, headers=headers)


Way = Callable[[Any], Any]
WAYS: list[Way] = [list, lambda answer: answer.to_arrow(), lambda answer: list(answer.batches()), pa.table]


def ask(query: Query, way: Way = list, **options: Any) -> Any:
    with Client("http://query/prefix", "secret", transport=query, **options) as client:
        return way(client.series(sensor_id="a"))


async def test_what_asks_to_wait_or_is_not_there_is_asked_again() -> None:
    script: list[httpx.Response | Exception] = [
        problem(503, "overloaded", **{"retry-after": "0"}),
        problem(429, "rate_limited", **{"retry-after": "0"}),
        httpx.ConnectError("refused", request=httpx.Request("GET", "http://query")),
    ]
    query = Query(*script)
    assert ask(query) == ROWS
    assert {str(request.url) for request in query.requests} == {"http://query/prefix/series?sensor_id=a"}
    assert {request.headers["authorization"] for request in query.requests} == {"Bearer secret"}
    async with AsyncClient("http://query", transport=(query := Query(*script))) as client:
        assert [row async for row in client.series(sensor_id="a")] == ROWS
    assert len(query.requests) == 4


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (problem(422, "invalid_parameter"), RefusedError),
        (problem(403, "forbidden"), NotAllowedError),
        (problem(503, "query_timeout", **{"retry-after": "0"}), UnavailableError),
        (problem(503, "overloaded", **{"retry-after": "3600"}), UnavailableError),
        (problem(500, "internal"), UnavailableError),
        (httpx.Response(502, text="<html>bad gateway"), UnavailableError),
        (httpx.Response(301, headers={"location": "https://query"}), RefusedError),
        (httpx.ReadTimeout("slow", request=httpx.Request("GET", "http://query")), NoAnswerError),
    ],
)
async def test_what_would_end_the_same_is_asked_once(first: Any, kind: type[MillraceError]) -> None:
    for way in WAYS[:3]:
        with pytest.raises(kind) as raised:
            ask(query := Query(first), way)
        assert len(query.requests) == 1
    with pytest.raises(kind):
        async with AsyncClient("http://query", transport=Query(first)) as client:
            await client.series(sensor_id="a").to_arrow()
    if isinstance(raised.value, AnswerError) and raised.value.code:
        assert raised.value.parameters == [{"parameter": "agg", "message": "no"}]
        assert "so it is; agg: no" in str(raised.value)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("broken", [True, False])
def test_an_answer_that_breaks_off_is_never_whole(way: Way, broken: bool) -> None:
    """Where the connection says nothing of it, too: the bytes end between two batches, or two rows."""
    request = httpx.Request("GET", "http://query?format=arrow" if way is not list else "http://query")
    whole = ARROW.getvalue() if way is not list else BODY
    for cut in {len(whole) - 8, len(whole) - 1, len(whole) // 2}:
        with pytest.raises((BrokenAnswerError, pa.ArrowInvalid)) as raised:
            ask(Query(answer(request, cut=cut, broken=broken)), way)
        # Arrow's C interface passes on a text alone.
        assert isinstance(raised.value, BrokenAnswerError) or way is pa.table


async def test_an_answer_of_asyncio_that_breaks_off_is_never_whole() -> None:
    request = httpx.Request("GET", "http://query?format=arrow")
    for broken, cut in ((True, None), (False, -8)):
        async with AsyncClient(
            "http://query", transport=Query(*(answer(request, cut=cut, broken=broken) for _ in range(2)))
        ) as client:
            with pytest.raises(BrokenAnswerError):
                await client.series(sensor_id="a").to_arrow()
            with pytest.raises(BrokenAnswerError):
                assert [batch async for batch in client.series(sensor_id="a").batches()] == []


def test_batches_come_while_the_answer_does_and_may_be_left() -> None:
    query = Query()
    with Client("http://query", transport=query) as client:
        found = client.series(sensor_id="a")
        with pytest.raises(MillraceError, match="when it was read"):
            _ = found.meta
        for batch in found.batches():
            assert batch.num_rows == 1
            break
        assert found.meta == {"tz": "UTC"}
        assert pa.table(found)["value"].to_pylist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("url", ["query:8001", "ftp://query", ""])
def test_a_url_that_is_none_is_said_so(url: str) -> None:
    with pytest.raises(ValueError, match="is no URL of a service"):
        Client(url)
