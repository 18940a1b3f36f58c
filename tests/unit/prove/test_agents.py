"""What the agents of a proof send is what the doors read."""

import cramjam
import numpy as np
import pytest

from services.contract import Columns
from services.ingest.doors.line_protocol.decode import LinesDecoder
from services.ingest.doors.otlp.decode import PROTOBUF, MetricsDecoder
from services.ingest.doors.remote_write.decode import SamplesDecoder
from services.prove.agents import DOORS, Row

T = 1_761_166_800_123
"""An instant in milliseconds."""

ROWS = [Row(3_000_000_000 + part, T + part // 2, {"agent": "3", "part": str(part)}) for part in range(5)]


def read(door: str, body: bytes) -> Columns:
    if door == "line":
        return LinesDecoder().decode(body, 1, (), 0).decoded.columns()
    if door == "remote_write":
        return SamplesDecoder().decode(bytes(cramjam.snappy.decompress_raw(body)), 1).columns()
    return MetricsDecoder().decode(body, PROTOBUF).columns()


@pytest.mark.parametrize("door", DOORS)
def test_a_door_reads_the_rows_of_an_agent(door: str) -> None:
    columns = read(door, DOORS[door].body(iter(ROWS)))
    assert columns.values.tolist() == [row.value for row in ROWS]
    assert columns.timestamps.tolist() == [row.millis * 1000 for row in ROWS]
    assert len(np.unique(columns.index)) == len(ROWS)
    # By this the verdict knows the rows of a load.
    assert all(sensor_id.startswith("sensor-") for sensor_id in columns.sensor_ids)
    assert [dict(series.labels) for series in columns.series.values()] == [row.labels for row in ROWS]
