import gzip
import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import cramjam
import numpy as np
import pytest

from benchmarks.bodies import Shape, columns, write_requests
from benchmarks.cases.soak import growth
from benchmarks.doors import ARROW, LABELLED, LINE, OTLP, REMOTE_WRITE, Door
from benchmarks.processes import POSTGRES, Snapshot
from services.contract import Columns
from services.ingest.doors.line_protocol.decode import PRECISIONS, LinesDecoder
from services.ingest.doors.otlp.decode import PROTOBUF, MetricsDecoder
from services.ingest.doors.remote_write.decode import SamplesDecoder
from services.ingest.formats import arrow
from services.ingest.formats.json import decode_json
from services.ingest.readings import Decoded


def sent(shape: Shape, requests: int, file: Path) -> list[tuple[str, bytes]]:
    """Read a file of requests as wrk.lua does: heads and bodies."""
    write_requests(shape, requests, file, "host:1")
    data, found = file.read_bytes(), []
    while data:
        length = int(data[:8])
        head, _, body = data[8 : 8 + length].partition(b"\r\n\r\n")
        found.append((head.decode(), body))
        data = data[8 + length :]
    return found


@pytest.mark.parametrize("rows", [1, 10, 1_000])
def test_prepared_requests_hold_the_readings_of_their_columns(
    rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_770_000_059.25)
    shape = Shape(rows, sensors=7)
    requests = sent(shape, 3, tmp_path / "file")
    readings = [reading for _, body in requests for reading in json.loads(body)]
    made = columns(shape, 3 * rows)
    assert [len(json.loads(body)) for _, body in requests] == [rows] * 3
    assert all(f"Content-Length: {len(body)}" in head for head, body in requests)
    assert [reading["sensor_id"] for reading in readings] == [made.sensor_ids[code] for code in made.index]
    assert [reading["value"] for reading in readings] == made.values.tolist()
    instants = [datetime.fromisoformat(reading["timestamp"]).timestamp() for reading in readings]
    assert instants == (made.timestamps / 1e6).tolist()


DECODERS: dict[Door, Callable[[bytes], Decoded]] = {
    LINE: lambda body: LinesDecoder().decode(body, PRECISIONS["us"], [], 0).decoded,
    REMOTE_WRITE: lambda body: SamplesDecoder().decode(cramjam.snappy.decompress_raw(body).read(), 1),
    OTLP: lambda body: MetricsDecoder().decode(body, PROTOBUF),
    ARROW: lambda body: arrow.LAYOUTS["rows"](body, 10_000),
    LABELLED: lambda body: decode_json(body, 10_000),
}


@pytest.mark.parametrize("door", DECODERS, ids=["line", "remote write", "otlp", "arrow", "labelled"])
def test_every_door_is_sent_the_same_readings(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_770_000_059.25)
    shape = Shape(500, sensors=7, door=door)
    parts = [DECODERS[door](body) for _, body in sent(shape, 3, tmp_path / "file")]
    assert [len(part) for part in parts] == [500] * 3
    assert not any(part.faults or part.skipped for part in parts)
    found, made = Columns.concat([part.columns() for part in parts]), columns(shape, 1500)
    assert found.values.tolist() == made.values.tolist()
    assert found.timestamps.tolist() == made.timestamps.tolist()
    series = [found.series.get(found.sensor_ids[code]) for code in found.index]
    ids = (
        [found.sensor_ids[code] for code in found.index]
        if door is ARROW
        else [dict(each.labels)["sensor_id"] for each in series if each]
    )
    assert ids == [made.sensor_ids[code] for code in made.index]


def test_packed_bodies_say_so_and_unpack_to_readings(tmp_path: Path) -> None:
    for head, body in sent(Shape(10, packed=True), 2, tmp_path / "file"):
        assert "Content-Encoding: gzip" in head
        assert len(json.loads(gzip.decompress(body))) == 10


def test_a_tenth_is_late_by_hours_and_shuffling_loses_nothing() -> None:
    shape = Shape(1, shuffled=True, late=0.1)
    plain, mixed = columns(Shape(1), 200_000), columns(shape, 200_000)
    behind = (plain.timestamps.min() - mixed.timestamps) / 3.6e9
    assert 0.09 < np.mean(behind > 1.5) < 0.11
    assert behind.max() < 27
    assert np.array_equal(np.bincount(plain.index), np.bincount(mixed.index))
    assert not np.array_equal(plain.index, mixed.index)


def test_cost_counts_children_that_ended_and_those_that_came() -> None:
    before = Snapshot({(1, 0.0): ("worker", 5.0), (2, 0.0): (POSTGRES[1], 1.0), (3, 0.0): (POSTGRES[0], 4.0)}, 10.0)
    after = Snapshot({(1, 0.0): ("worker", 7.0), (2, 0.0): (POSTGRES[1], 1.5), (4, 1.0): (POSTGRES[0], 3.0)}, 15.0)
    cost = before.until(after)
    assert cost.seconds == {"worker": 2.0, POSTGRES[0]: 3.0, POSTGRES[1]: 1.5}
    assert cost.postgres == 4.5
    assert cost.total == 6.5


def test_growth_is_the_last_third_against_the_one_before_it() -> None:
    samples = [{"ledger rows": float(rows), "consumers": 1.0} for rows in (0, 50, 100, 100, 120, 120)]
    found = growth(samples)
    assert found["growth: ledger rows"] == pytest.approx(1.2)
    assert found["growth: consumers"] == 1.0
    assert found["greatest growth"] == pytest.approx(1.2)
    assert found["last third: ledger rows"] == 120
