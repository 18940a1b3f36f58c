"""Line protocol on its whole way: what clients of each version send, and what they are told."""

import asyncio
import base64
import gzip
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from services.contract import series_id, series_of
from services.platform.settings import Settings
from tests.support import eventually, free_port
from tests.support.admin import both_ports
from tests.support.doors import Doors
from tests.support.ingest import assert_problem, taking
from tests.support.proxy import moved
from tests.support.readings import rows_in, sql
from tests.support.worker import Start

T = 1_761_166_800_000_000
"""An instant in microseconds."""

WHEN = {"timestamp": "2025-10-22T21:00:00Z", "value": 1.0}
PATHS = {"/write": "db", "/api/v2/write": "bucket", "/api/v3/write_lp": "db"}
LINES = f"cpu,host=a usage=1.5,idle=2i {T}000\ncpu,host=b usage=2.5 {T}000\n"


def sensor(host: str, field: str, **labels: str) -> str:
    return series_id(series_of("cpu", {"host": host, **labels}.items(), field))


async def stored(settings: Settings, count: int) -> None:
    await eventually(lambda: has(settings, count))


async def has(settings: Settings, count: int) -> bool:
    return len(await rows_in(settings.database)) == count


@pytest.mark.parametrize("path", PATHS)
async def test_lines_become_labelled_readings(
    path: str, client: httpx.AsyncClient, settings: Settings, start: Start
) -> None:
    await start()
    label = PATHS[path]
    answer = await client.post(path, params={label: "telegraf", "org": "ours"}, content=LINES)
    assert (answer.status_code, answer.content) == (204, b"")
    await stored(settings, 3)
    database = {label: "telegraf"}
    expected = [(sensor("a", "idle", **database), T, 2.0), (sensor("a", "usage", **database), T, 1.5),
                (sensor("b", "usage", **database), T, 2.5)]  # fmt: skip
    assert await rows_in(settings.database) == sorted(expected)


async def test_what_is_sent_again_is_stored_once_even_beside_what_is_newer(
    client: httpx.AsyncClient, settings: Settings, start: Start
) -> None:
    def lines(second: int, last: int = 10) -> str:
        return "".join(f"cpu,host=h{host} usage={host} {T + second * 1_000_000}000\n" for host in range(last))

    first = await client.post("/write", content=lines(0) + lines(1))
    assert first.status_code == 204
    await start()
    # As Telegraf does: the first metrics of its buffer, so that what was sent comes beside what is newer.
    for body in (lines(0) + lines(1), lines(0) + lines(1) + lines(2), gzip.compress((lines(1) + lines(2)).encode())):
        headers = {"Content-Encoding": "gzip"} if isinstance(body, bytes) else {}
        assert (await client.post("/write", content=body, headers=headers)).status_code == 204
    answers = await asyncio.gather(*(client.post("/api/v2/write", content=lines(3)) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {204}
    last = await client.post("/write", content=lines(9))
    assert last.status_code == 204
    await stored(settings, 50)
    rows = await rows_in(settings.database)
    assert len(set(rows)) == len(rows)
    ledger = await sql(settings.database, "select sum(rows) as rows from ingest_ledger")
    assert ledger[0]["rows"] == 50


async def test_equal_lines_are_readings_of_their_own_where_nobody_asks_for_once(
    client: httpx.AsyncClient, settings: Settings, start: Start
) -> None:
    await start()
    for query in ("?dedup=none", "?dedup=none", "", ""):
        assert (await client.post(f"/write{query}", content=LINES)).status_code == 204
    untimed = "cpu,host=c usage=1\n"
    for _ in range(2):
        assert (await client.post("/write", content=untimed)).status_code == 204
    keyed = [await client.post("/write", content=LINES, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [answer.status_code for answer in keyed] == [204, 204]
    await stored(settings, 3 * 4 + 2)


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("/write", lambda body: body["error"]),
        ("/api/v2/write", lambda body: body["message"]),
        ("/api/v3/write_lp", lambda body: body["error"] + body["data"][0]["error_message"]),
    ],
)
async def test_good_lines_are_stored_and_bad_ones_named(
    path: str, read: Callable[[dict[str, str]], str], client: httpx.AsyncClient, settings: Settings, start: Start
) -> None:
    await start()
    answer = await client.post(path, content=LINES + "cpu,host=a usage=x 1\n" + "cpu usage=1 5\n")
    assert answer.status_code == 400
    told = read(answer.json())
    assert "partial write" in told
    assert "line 3: field 'usage': 'x' is no number" in told
    await stored(settings, 3)
    bad = await client.post(path, content="cpu usage=\n")
    assert bad.status_code == 400
    assert "is no number" in read(bad.json())


async def test_what_clients_cannot_mend_or_must_wait_for_has_the_status_that_they_read(
    client: httpx.AsyncClient,
) -> None:
    for body in ("", "# nothing\n", 'm text="kept by nobody" 1\n'):
        assert (await client.post("/write", content=body)).status_code == 204
    statuses = {
        "precision=fortnight": 400, "dedup=maybe": 400, "precision=s": 204, "precision=%C2%B5": 204, "u=x&p=y": 204,
    }  # fmt: skip
    for query, status in statuses.items():
        lines = {"precision=s": f"m v=1 {T // 1_000_000}", "precision=%C2%B5": f"m v=1 {T}"}.get(query, "")
        answer = await client.post(f"/write?{query}", content=lines)
        assert answer.status_code == status, query
    large = await client.post("/api/v2/write", content="m v=1 1\n" * 3_000)
    assert large.status_code == 413
    assert large.json()["code"] == "request too large"
    encoded = await client.post("/write", content=b"m v=1", headers={"Content-Encoding": "br"})
    assert encoded.status_code == 415


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_that_is_long_on_its_way_may_be_sent_again(path: str, client: httpx.AsyncClient) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"m v=1"
        await asyncio.sleep(60)

    # Telegraf throws away what is answered 408.
    assert (await client.post(path, content=never())).status_code == 503


async def test_what_is_not_kept_is_told_to_who_administers(settings: Settings) -> None:
    async with both_ports(settings) as ports:
        lines = f'm text="x",v=1 {T}001\nm text="y",other="z" {T}000\n'
        assert (await ports.public.post("/write", content=lines)).status_code == 204
        skipped = (await ports.admin.get("/doors")).json()["skipped"]
    assert {(one["door"], one["kind"], one["caller"], one["values"]) for one in skipped} == {
        ("line_protocol", "strings", "", 3),
        ("line_protocol", "nanoseconds", "", 1),
    }


async def test_a_caller_begins_no_more_series_than_it_may_and_keeps_those_it_has(
    settings: Settings, start: Start, doors: Doors
) -> None:
    await start()
    limited, free = doors.add("limited", "ingest", series_per_hour=10), doors.add("free", "ingest")

    def hosts(first: int, last: int, value: int = 1) -> str:
        return "".join(f"m,host=h{host} v={value} {T}000\n" for host in range(first, last))

    async with taking(doors.guarding(settings)) as client:
        assert (await client.post("/write", content=hosts(0, 20), headers=free)).status_code == 204
        await stored(settings, 20)
        # What the catalogue has is nothing new, and one series that is counts once.
        for body in (hosts(0, 20, 2), hosts(15, 28, 3), hosts(15, 28, 4)):
            assert (await client.post("/write", content=body, headers=limited)).status_code == 204
        refused = await client.post("/write", content=hosts(25, 35), headers=limited)
        assert refused.status_code == 400
        assert "caller limited may begin 10 series an hour (series_per_hour)" in refused.json()["error"]
        assert "begin 7" in refused.json()["error"]
        problem = await client.post(
            "/ingest", json=[{"sensor_id": f"new-{n}", **WHEN} for n in range(5)], headers=limited
        )
        assert_problem(problem, 422, "too_many_series")
        assert (await client.post("/write", content=hosts(28, 30), headers=limited)).status_code == 204


async def test_while_the_database_is_away_nobody_is_refused_for_new_series(settings: Settings, doors: Doors) -> None:
    key = doors.add("limited", "ingest", series_per_hour=1)
    away = moved(doors.guarding(settings), free_port())
    async with taking(away) as client:
        lines = "".join(f"m,host=h{host} v=1 {T}000\n" for host in range(5))
        assert (await client.post("/write", content=lines, headers=key)).status_code == 204


@pytest.mark.parametrize("kind", ["Bearer", "Token", "Basic", "p"])
async def test_a_key_is_shown_as_each_client_shows_one(kind: str, settings: Settings, doors: Doors) -> None:
    key = doors.add("garden", "ingest")["Authorization"].removeprefix("Bearer ")
    basic = base64.b64encode(f"telegraf:{key}".encode()).decode()
    shown = {"Basic": f"Basic {basic}"}.get(kind, f"{kind} {key}")
    async with taking(doors.guarding(settings)) as client:
        for right in (True, False):
            text = shown if right else f"{kind} {base64.b64encode(b'telegraf:wrong').decode()}"
            asked = {"u": "telegraf", "p": key if right else "wrong"} if kind == "p" else {}
            headers = {} if kind == "p" else {"Authorization": text}
            answer = await client.post("/write", params=asked, content=LINES, headers=headers)
            assert answer.status_code == (204 if right else 401)
        assert (await client.post("/write", content=LINES)).status_code == 401
        assert (await client.get("/ping")).status_code == 204


async def test_an_old_line_is_refused_by_its_number(client: httpx.AsyncClient) -> None:
    answer = await client.post("/write", content=f"m v=1 {T}000\nm v=2 5\n")
    assert answer.status_code == 400
    assert "timestamp 1970-01-01T00:00:00Z is older" in answer.json()["error"]


async def test_what_is_asked_before_a_first_write_is_answered(client: httpx.AsyncClient) -> None:
    for method in ("GET", "HEAD"):
        ping = await client.request(method, "/ping")
        assert (ping.status_code, ping.headers["X-Influxdb-Version"][0]) == (204, "1")
    assert (await client.get("/health")).json()["status"] == "pass"
    create = {"q": 'CREATE DATABASE "telegraf"'}
    for answer in (await client.post("/query", data=create), await client.post("/query", params=create)):
        assert (answer.status_code, answer.json()) == (200, {"results": [{"statement_id": 0}]})
    shown = await client.get("/query", params={"q": "SHOW DATABASES", "db": "telegraf"})
    assert shown.json()["results"][0]["series"][0]["values"] == [["telegraf"]]
    refused = await client.get("/query", params={"q": "SELECT * FROM cpu"})
    assert refused.status_code == 400
    assert "/series" in refused.json()["error"]
    buckets = await client.get("/api/v2/buckets", params={"name": "telegraf"})
    assert [bucket["name"] for bucket in buckets.json()["buckets"]] == ["telegraf"]
    made = await client.post("/api/v2/buckets", json={"name": "new", "orgID": "1"})
    assert (made.status_code, made.json()["name"]) == (201, "new")


PROBLEMS = {"accept": "application/problem+json"}


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_is_stored_of_what_is_wrong_where_only_all_is_wanted(
    path: str, client: httpx.AsyncClient, settings: Settings, start: Start
) -> None:
    await start()
    whole, wrong = {"accept_partial": "false"}, f"{LINES}cpu usage=\n"
    assert (await client.post(path, params=whole, content=wrong)).status_code == 400
    answer = await client.post(path, params=whole, content=wrong, headers=PROBLEMS)
    assert_problem(answer, 422, "invalid_readings")
    assert [(fault["index"], fault["code"]) for fault in answer.json()["errors"]] == [(2, "malformed_line")]
    answer = await client.post(path, content=wrong, headers=PROBLEMS)
    assert (answer.status_code, answer.json()["accepted"], len(answer.json()["rejected"])) == (200, 3, 1)
    assert "skipped" not in answer.json()
    answer = await client.post(path, content='cpu state="on",note="a b"\n', headers=PROBLEMS)
    assert (answer.status_code, answer.json()["accepted"], answer.json()["skipped"]) == (200, 0, {"strings": 2})
    await stored(settings, 3)
    assert (await client.post(path, params={"accept_partial": "perhaps"}, content=LINES)).status_code == 400


async def test_a_key_is_answered_as_by_ingest_where_problems_are_taken(
    client: httpx.AsyncClient, settings: Settings, start: Start
) -> None:
    await start()
    keyed = {**PROBLEMS, "idempotency-key": "one"}
    for replayed in (None, "true"):
        answer = await client.post("/write", content=LINES, headers=keyed)
        assert (answer.status_code, answer.json()["accepted"]) == (200, 3)
        assert answer.headers.get("idempotent-replayed") == replayed
        await stored(settings, 3)
    answer = await client.post("/write", content=LINES.replace("1.5", "7"), headers=keyed)
    assert_problem(answer, 422, "key_reused")
