"""`/series` in each format, layout, epoch and order, by GET and POST: the rows are those of JSON."""

import csv
import io
import json
import random
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

from services.query.formats import MEDIA_TYPES
from tests.support import TestDatabase
from tests.support.query import EPOCH, asking, insert, owner, query_settings

Rows = list[dict[str, Any]]

SENSORS = ['a "big", one', "b", "nobody", "ä\nz"]
SPAN = {"start": "2025-10-22T21:00:00Z", "end": "2025-10-23T03:00:00Z"}
ASKED: dict[str, dict[str, Any]] = {
    "readings": {"sensor_id": SENSORS, **SPAN},
    "one sensor": {"sensor_id": "b", **SPAN, "tz": "Asia/Kathmandu"},
    "buckets": {"sensor_id": SENSORS, **SPAN, "agg": "avg,count,stddev", "bucket": "10m", "tz": "America/St_Johns"},
    "filled": {"sensor_id": SENSORS, **SPAN, "agg": "count,last", "bucket": "7m", "fill": "linear"},
    "numbered": {"sensor_id": SENSORS, **SPAN, "agg": "count,last", "bucket": "7m", "fill": "0.5"},
    "one value": {"sensor_id": SENSORS, **SPAN, "agg": "max,count", "tz": "Europe/Berlin"},
    "together": {"sensor_id": SENSORS, **SPAN, "agg": "avg,p90,last", "bucket": "10m", "by": "all"},
    "labelled": {"sensor_id": SENSORS, **SPAN, "agg": "count,twa", "bucket": "7m", "fill": "null", "by": "room,floor"},
}
LABELS = [{"room": 'a "b",\nc', "floor": "1"}, {"room": "ü", "floor": "2"}, {"floor": "1"}, {"room": "ü"}]
"""Of each sensor; what groups are told by is written and ordered like ids."""
WHAT = pytest.mark.parametrize("what", ASKED)


@pytest.fixture
async def client(database: TestDatabase) -> AsyncIterator[httpx.AsyncClient]:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with owner(database) as connection:
        await connection.executemany(
            "insert into sensors (sensor_id, name, labels) values ($1, 'x', $2)",
            list(zip(SENSORS, map(json.dumps, LABELS), strict=True)),
        )
        for sensor in SENSORS:
            if sensor != "nobody":
                offsets = [timedelta(seconds=chance.randrange(21_600), microseconds=chance.choice([0, 1]))
                           for _ in range(300)]  # fmt: skip
                await insert(connection, sensor, [(each, chance.gauss(20, 3)) for each in offsets + offsets[:5]])
    async with asking(query_settings(database)) as asked:
        yield asked


async def answer(client: httpx.AsyncClient, parameters: dict[str, Any]) -> Any:
    response = await client.get("/series", params=parameters)
    assert response.status_code == 200, response.text
    found = response.json()
    found["meta"].pop("as_of")
    return found


def plain(rows: Rows) -> list[tuple[Any, ...]]:
    """Return the values of rows, instants as such; sums of floats differ in their last digits from time to time."""

    def value(name: str, item: Any) -> Any:
        if name == "timestamp" and isinstance(item, str):
            return datetime.fromisoformat(item)
        return round(item, 9) if isinstance(item, float) else item

    return [tuple(value(name, item) for name, item in row.items()) for row in rows]


def number(text: str) -> Any:
    return None if text == "" else float(text)


def from_csv(body: bytes) -> Rows:
    found = csv.DictReader(io.StringIO(body.decode(), newline=""), strict=True)
    texts = {"sensor_id", "timestamp", "room", "floor"}
    return [{name: text if name in texts else number(text) for name, text in row.items()} for row in found]


READ: dict[str, Callable[[bytes], Rows]] = {
    "json": lambda body: json.loads(body)["data"],
    "ndjson": lambda body: [json.loads(line) for line in body.split(b"\n") if line],
    "csv": from_csv,
    "arrow": lambda body: pa.ipc.open_stream(body).read_all().to_pylist(),
    "parquet": lambda body: pyarrow.parquet.read_table(io.BytesIO(body)).to_pylist(),
}


@WHAT
async def test_each_format_has_the_rows_of_json(client: httpx.AsyncClient, what: str) -> None:
    asked = ASKED[what]
    expected = (await answer(client, asked))["data"]
    assert expected
    for name, media in MEDIA_TYPES.items():
        for chosen in (
            await client.get("/series", params={**asked, "format": name}, headers={"Accept": "text/html"}),
            await client.get("/series", params=asked, headers={"Accept": media}),
            await client.post("/series", json={**asked, "format": name}),
        ):
            assert chosen.headers["content-type"].startswith(media)
            assert plain(READ[name](chosen.content)) == plain(expected), name
        head = await client.head("/series", params={**asked, "format": name})
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith(media)


@WHAT
async def test_columns_and_their_types_are_known_before_the_first_row(client: httpx.AsyncClient, what: str) -> None:
    asked = {**ASKED[what], "sensor_id": ["nobody"], "format": "arrow", "fill": "none"}
    there = pa.ipc.open_stream((await client.get("/series", params={**ASKED[what], "format": "arrow"})).content)
    empty = pa.ipc.open_stream((await client.get("/series", params=asked)).content).read_all()
    assert empty.num_rows == 0
    zone = asked.get("tz", "UTC")
    assert empty.schema.field("timestamp").type == there.schema.field("timestamp").type == pa.timestamp("us", zone)
    assert empty.schema.names == there.schema.names
    text = (await client.get("/series", params={**asked, "format": "csv"})).text
    assert text == ",".join(empty.schema.names) + "\r\n"


async def test_arrow_and_parquet_carry_meta_in_their_schema(client: httpx.AsyncClient) -> None:
    asked = ASKED["buckets"]
    expected = (await answer(client, asked))["meta"]
    arrow = (await client.get("/series", params={**asked, "format": "arrow"})).content
    parquet = (await client.get("/series", params={**asked, "format": "parquet"})).content
    file = pyarrow.parquet.ParquetFile(io.BytesIO(parquet))
    for told in (
        pa.ipc.open_stream(arrow).schema.metadata[b"millrace.meta"],
        file.schema_arrow.metadata[b"millrace.meta"],
        file.metadata.metadata[b"millrace.meta"],
        pl.read_parquet_metadata(io.BytesIO(parquet))["millrace.meta"],
    ):
        found = json.loads(told)
        found.pop("as_of")
        assert found == expected


@WHAT
async def test_columns_are_the_rows(client: httpx.AsyncClient, what: str) -> None:
    rows = await answer(client, ASKED[what])
    columns = await answer(client, {**ASKED[what], "layout": "columns"})
    assert columns["meta"] == rows["meta"]
    assert list(columns["data"]) == list(rows["data"][0])
    found = [dict(zip(columns["data"], row, strict=True)) for row in zip(*columns["data"].values(), strict=True)]
    assert plain(found) == plain(rows["data"])
    empty = await answer(client, {**ASKED[what], "sensor_id": "nobody", "fill": "none", "layout": "columns"})
    assert empty["data"] == {name: [] for name in columns["data"]}


@pytest.mark.parametrize("what", ["buckets", "filled", "numbered"])
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_wide_has_a_row_a_bucket_and_a_column_a_sensor(client: httpx.AsyncClient, what: str, order: str) -> None:
    rows = (await answer(client, ASKED[what]))["data"]
    names = ASKED[what]["agg"].split(",")
    cells = {(row["timestamp"], f"{row['sensor_id']} {name}"): row[name] for row in rows for name in names}
    columns = [f"{sensor} {name}" for sensor in sorted(SENSORS) for name in names]
    times = sorted({row["timestamp"] for row in rows}, reverse=order == "desc")
    expected = [{"timestamp": at} | {name: cells.get((at, name)) for name in columns} for at in times]
    for name in MEDIA_TYPES:
        response = await client.get("/series", params={**ASKED[what], "layout": "wide", "order": order, "format": name})
        found = READ[name](response.content)
        assert list(found[0]) == ["timestamp", *columns]
        assert plain(found) == plain(expected)


@pytest.mark.parametrize(("epoch", "each"), [("s", 1_000_000), ("ms", 1000), ("us", 1)])
@pytest.mark.parametrize("layout", ["rows", "columns", "wide"])
async def test_an_epoch_counts_instants_down_to_the_next_one(
    database: TestDatabase, client: httpx.AsyncClient, epoch: str, each: int, layout: str
) -> None:
    first = datetime(1970, 1, 1, tzinfo=EPOCH.tzinfo)
    micros = [-1_500_001, -1000, -1, 0, 1, 999_999, 1_000_001]
    async with owner(database) as connection:
        await insert(connection, "old", [(first - EPOCH + timedelta(microseconds=at), 1.0) for at in micros])
    asked: dict[str, Any] = {"sensor_id": "old", "start": "1969-12-31T23:59:58Z", "end": "1970-01-01T00:00:03Z"}
    asked |= {"epoch": epoch, "tz": "Europe/Berlin", "layout": layout}
    expected = [at // each for at in micros]
    if layout == "wide":
        asked |= {"agg": "count", "bucket": "500ms"}
        expected = [label // each for label in sorted({at // 500_000 * 500_000 for at in micros})]
    for name in MEDIA_TYPES if layout != "columns" else ["json"]:
        response = await client.get("/series", params={**asked, "format": name})
        found: Any = READ[name](response.content)
        assert (found["timestamp"] if layout == "columns" else [int(row["timestamp"]) for row in found]) == expected
    meta = (await answer(client, asked))["meta"]
    assert (meta["source"][0]["start"], meta["source"][0]["end"]) == (-2_000_000 // each, 3_000_000 // each)


@WHAT
async def test_desc_is_the_other_way_round_for_each_sensor(client: httpx.AsyncClient, what: str) -> None:
    ascending = (await answer(client, ASKED[what]))["data"]
    descending = (await answer(client, {**ASKED[what], "order": "desc"}))["data"]

    def key(row: dict[str, Any]) -> tuple[str, ...]:
        return tuple(row[name] for name in ("sensor_id", "room", "floor") if name in row)

    # A sort leaves those of one key in their order.
    turned = ascending[::-1]
    assert plain(descending) == plain(sorted(turned, key=key))


@WHAT
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_are_the_whole(client: httpx.AsyncClient, what: str, order: str) -> None:
    asked = {**ASKED[what], "order": order}
    whole = (await answer(client, asked))["data"]
    for limit in (1, 7, len(whole) - 1, len(whole), len(whole) + 1, 500, 600):
        rows: Rows = []
        following: dict[str, Any] = {}
        for _ in range(5 if limit == 1 else len(whole)):
            page = await answer(client, {**asked, "limit": limit, **following})
            rows += page["data"]
            if "next" not in page:
                break
            assert len(page["data"]) == limit
            following = {"cursor": page["next"]}
        if limit == 1:
            rest = await answer(client, {**asked, **following})
            assert plain(rows + rest["data"]) == plain(whole) or "next" not in page
        else:
            assert plain(rows) == plain(whole)
        assert limit < len(whole) or not following


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sensors", [["a"], ["a", "b"]])
async def test_a_page_may_end_between_readings_of_one_instant(
    database: TestDatabase, client: httpx.AsyncClient, order: str, sensors: list[str]
) -> None:
    async with owner(database) as connection:
        for sensor in ("a", "b"):
            await insert(connection, sensor, [(timedelta(days=1), value) for value in range(5)])
    asked: dict[str, Any] = {"sensor_id": sensors, "start": "2025-10-23T20:00:00Z", "end": "2025-10-24T00:00:00Z"}
    asked["order"] = order
    whole = (await answer(client, asked))["data"]
    assert len(whole) == 5 * len(sensors)
    for limit in range(1, len(whole)):
        page = await answer(client, {**asked, "limit": limit})
        rest = await answer(client, {**asked, "cursor": page["next"]})
        assert page["data"] + rest["data"] == whole


@pytest.mark.parametrize("what", ["together", "labelled"])
async def test_wide_has_a_column_a_group(client: httpx.AsyncClient, what: str) -> None:
    asked = ASKED[what]

    def named(row: dict[str, Any], name: str) -> str:
        pairs = [f"{label}={json.dumps(row[label], ensure_ascii=False)}" for label in ("room", "floor")
                 if label in row]  # fmt: skip
        return f"{{{','.join(pairs)}}} {name}" if pairs else name

    rows = (await answer(client, asked))["data"]
    expected: dict[str, dict[str, Any]] = {}
    for row in rows:
        cells = {named(row, name): row[name] for name in asked["agg"].split(",")}
        expected.setdefault(row["timestamp"], {"timestamp": row["timestamp"]}).update(cells)
    for name in MEDIA_TYPES:
        found = READ[name]((await client.get("/series", params={**asked, "layout": "wide", "format": name})).content)
        assert list(found[0]) == list(next(iter(expected.values())))
        assert plain(found) == plain(list(expected.values()))


@pytest.mark.parametrize("by", ["sensor_id", "all", "room", "room,floor"])
@pytest.mark.parametrize("layout", ["rows", "wide"])
@pytest.mark.parametrize("agg", ["avg,stddev,p90", "first,delta,twa,median"])
async def test_where_no_sensor_is_chosen_there_are_no_rows(
    client: httpx.AsyncClient, by: str, layout: str, agg: str
) -> None:
    asked = {"match": '{room="none"}', **SPAN, "agg": agg, "bucket": "1h", "by": by, "layout": layout}
    for fill in ("none", "null", "linear"):
        assert (await answer(client, asked | {"fill": fill}))["data"] == []


@pytest.mark.parametrize("what", ["buckets", "together", "labelled"])
async def test_wide_has_pages_of_buckets(client: httpx.AsyncClient, what: str) -> None:
    asked = {**ASKED[what], "layout": "wide"}
    whole = (await answer(client, asked))["data"]
    rows: Rows = []
    following: dict[str, Any] = {}
    while True:
        page = await answer(client, {**asked, "limit": 5, **following})
        rows += page["data"]
        if "next" not in page:
            break
        following = {"cursor": page["next"]}
    assert plain(rows) == plain(whole)


async def test_pages_of_a_range_up_to_now_keep_it(database: TestDatabase, client: httpx.AsyncClient) -> None:
    hour = datetime.now(EPOCH.tzinfo) - EPOCH - timedelta(hours=1)
    async with owner(database) as connection:
        await insert(connection, "recent", [(hour + timedelta(minutes=minute), minute) for minute in range(10)])
    asked: dict[str, Any] = {"sensor_id": "recent", "start": "now-6h", "limit": 4}
    first = await answer(client, asked)
    second = await answer(client, {**asked, "cursor": first["next"]})
    assert second["meta"]["source"] == first["meta"]["source"]
    assert [row["value"] for row in first["data"] + second["data"]] == list(range(8))
    refused = await client.get("/series", params={**asked, "start": "now-7h", "cursor": first["next"]})
    assert refused.status_code == 422
    assert [fault["parameter"] for fault in refused.json()["parameters"]] == ["cursor"]


@pytest.mark.parametrize("by", ["m4", "minmax", "lttb"])
async def test_points_are_few_readings_of_each_sensor(client: httpx.AsyncClient, by: str) -> None:
    whole = (await answer(client, ASKED["readings"]))["data"]
    for points in (4, 50, 10_000):
        found = await answer(client, {**ASKED["readings"], "points": points, "downsample": by})
        assert found["meta"]["downsample"] == by
        for sensor in SENSORS:
            there, kept = ([row for row in rows if row["sensor_id"] == sensor] for rows in (whole, found["data"]))
            assert len(kept) <= points
            assert all(row in there for row in kept)
            assert not there or (kept[0], kept[-1]) == (there[0], there[-1])
            if by == "lttb" or points >= 10_000:
                assert len(kept) == min(points, len(there)) or by != "lttb"
    one: dict[str, Any] = {**ASKED["one sensor"], "points": 40}
    assert (await answer(client, one))["data"] == (await answer(client, {**one, "downsample": "m4"}))["data"]
