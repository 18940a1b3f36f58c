"""Bodies that end the process that decodes them end no other, and each gets an answer that is documented."""

import asyncio
import os
import signal
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.formats import isolation
from services.ingest.formats.isolation import Isolation
from services.ingest.readings import Decoded
from services.platform.http.errors import Problem
from tests.support import eventually
from tests.support.bodies import ARROW, PARQUET, arrow_of, parquet_of, table_of
from tests.unit.test_fuzzed_bytes import mutated

LARGEST = 8 * 1024 * 1024
READINGS = [{"sensor_id": name, "timestamp": "2025-10-22T21:00:00Z", "value": 1.5} for name in ("a", "b", "a")]
TABLE = table_of(READINGS)
GOOD = arrow_of(TABLE)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def decode(runner: asyncio.Runner) -> Iterator[Callable[..., Decoded]]:
    child = Isolation(LARGEST)

    def decode(media: str, body: bytes, layout: str = "rows") -> Decoded:
        return runner.run(awaited(child.formats()[media][layout](body, 1000)))

    yield decode
    runner.run(child.close())


async def awaited(decoded: Awaitable[Decoded]) -> Decoded:
    return await decoded


def refused(decode: Callable[..., Decoded], *asked: Any) -> tuple[str, str]:
    with pytest.raises(Problem) as caught:
        decode(*asked)
    return caught.value.code, caught.value.detail


def encoded(count: int, ids: pa.Array) -> pa.Table:
    return pa.table(
        {
            "sensor_id": ids,
            "timestamp": pa.array(np.full(count, 1761166800000000), pa.timestamp("us", "UTC")),
            "value": np.zeros(count),
        }
    )


def views(text: str, left_out: Iterable[int]) -> pa.Array:
    """Return views of one text, each without so many of its last characters."""
    found = [struct.pack("<i4sii", len(text) - count, text[:4].encode(), 0, 0) for count in left_out]
    buffers = [None, pa.py_buffer(b"".join(found)), pa.py_buffer(text.encode())]
    return pa.Array.from_buffers(pa.string_view(), len(found), buffers)


def claiming(size: int) -> bytes:
    """Return a stream whose batch says that its columns have so many bytes."""
    body = bytearray(GOOD)
    of_batch = body.index(b"\xff\xff\xff\xff", 8)
    root = of_batch + 8 + struct.unpack_from("<I", body, of_batch + 8)[0]
    fields = root - struct.unpack_from("<i", body, root)[0] + 4
    place = root + struct.unpack_from("<H", body, fields + 2 * 3)[0]
    struct.pack_into("<q", body, place, size)
    return bytes(body)


LONG = "x" * (5 << 20)
MANY = ["a" * 100_000] * 1000
WITHIN: list[tuple[str, Callable[[], bytes]]] = [
    (ARROW, lambda: claiming(1 << 50)),
    (ARROW, lambda: claiming(-1)),
    (ARROW, lambda: arrow_of(encoded(1000, pa.array(MANY)), compression="zstd")),
    (ARROW, lambda: arrow_of(encoded(60, views(LONG, range(60))))),
    (PARQUET, lambda: parquet_of(encoded(100, pa.array([LONG] * 100)), compression="zstd")),
    (PARQUET, lambda: parquet_of(encoded(1000, pa.array(MANY)), compression="zstd", use_dictionary=False)),
    (PARQUET, lambda: parquet_of(encoded(50, pa.array([LONG] * 50)), use_dictionary=False,
                                 column_encoding={"sensor_id": "DELTA_BYTE_ARRAY"})),
]  # fmt: skip


@pytest.mark.parametrize(("media", "write"), WITHIN, ids=range(len(WITHIN)))
def test_a_body_that_ends_its_decoder_is_refused_and_the_next_one_is_decoded(
    decode: Callable[..., Decoded], media: str, write: Callable[[], bytes]
) -> None:
    body = write()
    assert len(body) < LARGEST
    code, detail = refused(decode, media, body)
    assert code == "malformed_body"
    assert "damaged" in detail or "memory" in detail.lower()
    assert len(decode(ARROW, GOOD)) == 3


def test_more_rows_than_a_table_may_have_are_refused_before_all_are_there(decode: Callable[..., Decoded]) -> None:
    many = encoded(300_000, pa.array(["a"] * 300_000))
    for media, body in ((ARROW, arrow_of(many, compression="zstd")), (PARQUET, parquet_of(many))):
        for layout in ("rows", "wide"):
            assert refused(decode, media, body, layout)[0] == "too_many_rows"


def test_faults_and_series_come_back_whole(decode: Callable[..., Decoded]) -> None:
    labelled = {"name": "heat", "labels": {"room": "a"}, "timestamp": "x", "value": 2.0}
    decoded = decode(PARQUET, parquet_of(table_of([labelled, *READINGS, {"sensor_id": "a", "value": 1.0}])))
    columns = decoded.columns()
    assert decoded.positions is not None
    assert decoded.positions.tolist() == [0, 1, 2, 3]
    assert [(fault.index, fault.field, fault.code) for fault in decoded.faults] == [(4, "timestamp", "missing")]
    assert (decoded.illegible, decoded.wide) == ({0: "x"}, False)
    assert [columns.series[name].labels for name in columns.sensor_ids[:1]] == [(("room", "a"),)]
    assert columns.sensor_ids[1:] == ["a", "b"]


SEEDS = [
    (ARROW, GOOD),
    (ARROW, arrow_of(encoded(3, pa.array(["a", "b", None]).dictionary_encode()), compression="lz4")),
    (ARROW, arrow_of(encoded(3, pa.array(["a" * 20, "b", None], pa.string_view())), compression="zstd")),
    (PARQUET, parquet_of(TABLE)),
    (PARQUET, parquet_of(encoded(3, pa.array(["a", "b", "a"])), compression="zstd", data_page_version="2.0")),
    (PARQUET, parquet_of(encoded(3, pa.array(["a", "b", None])), use_dictionary=False, column_encoding={
        "sensor_id": "DELTA_BYTE_ARRAY", "timestamp": "DELTA_BINARY_PACKED", "value": "BYTE_STREAM_SPLIT"})),
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """Cut, flip, insert and repeat; write extreme numbers over others."""
    media, body = draw(st.sampled_from(SEEDS))
    if draw(st.booleans()):
        return media, draw(mutated(body))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body) - 8))
        number = draw(st.sampled_from([b"\xff" * 8, b"\x7f" * 8, b"\0" * 8, b"\xff\xff\xff\x7f", b"\0\0\0\0\0\1"]))
        body = body[:at] + number + body[at + len(number) :]
    return media, body


@given(made=damaged(), layout=st.sampled_from(["rows", "wide"]))
@settings(max_examples=400)
def test_a_damaged_body_is_decoded_or_refused_and_its_decoder_goes_on(
    decode: Callable[..., Decoded], made: tuple[str, bytes], layout: str
) -> None:
    try:
        decoded = decode(*made, layout)
    except Problem as problem:
        assert problem.code in {"malformed_body", "too_many_rows"}
    else:
        assert len(decoded) + len(decoded.faults) > 0


async def test_a_body_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "SECONDS", 1)
    child = Isolation(LARGEST)
    rows = child.formats()[ARROW]["rows"]
    with pytest.raises(Problem, match="takes more than 1 s"):
        await rows(arrow_of(encoded(10_000, views(LONG, [0] * 10_000))), 10_000)
    assert len(await rows(GOOD, 1000)) == 3
    await child.close()


async def test_an_answer_that_nobody_waits_for_is_nobody_elses() -> None:
    child = Isolation(LARGEST)
    rows = child.formats()[ARROW]["rows"]
    await rows(GOOD, 1000)
    given_up = asyncio.ensure_future(rows(arrow_of(encoded(900, pa.array([str(row) for row in range(900)]))), 1000))
    await asyncio.sleep(0)
    given_up.cancel()
    assert len(await rows(GOOD, 1000)) == 3
    await child.close()


async def test_a_decoder_that_the_system_ended_is_no_fault_of_the_body() -> None:
    child = Isolation(LARGEST)
    rows = child.formats()[ARROW]["rows"]
    await rows(GOOD, 1000)
    assert child._child is not None
    first = child._child
    os.killpg(first.pid, signal.SIGKILL)
    try:
        assert len(await rows(GOOD, 1000)) == 3
    except Problem as problem:
        assert problem.code == "overloaded"
    assert len(await rows(GOOD, 1000)) == 3
    assert child._child is not first
    await child.close()

    async def gone() -> bool:
        try:
            os.killpg(first.pid, 0)
        except ProcessLookupError:
            return True
        return False

    await eventually(gone)
