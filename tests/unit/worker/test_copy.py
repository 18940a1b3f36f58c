import io
import itertools
import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.contract import Columns
from services.worker.copy import HOUR, binary_copy, hour_ranges, ordered
from tests.support.readings import Row, columns

SENSOR = st.text(min_size=1, max_size=6).filter(lambda text: "\0" not in text and text.isprintable())
MICROS = st.integers(-62_135_596_800_000_000, 253_370_764_799_999_999)
ROWS = st.lists(st.tuples(SENSOR, MICROS, st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=40)


def rows_of(found: Columns) -> list[Row]:
    ids = [found.sensor_ids[code] for code in found.index]
    return list(zip(ids, found.timestamps.tolist(), found.values.tolist(), strict=True))


def parse(data: bytes) -> list[Row]:
    """Read a binary COPY field by field, as the documentation describes it."""
    source = io.BytesIO(data)
    assert source.read(19) == b"PGCOPY\n\xff\r\n\0" + bytes(8)
    rows: list[Row] = []
    while (fields := struct.unpack(">h", source.read(2))[0]) != -1:
        assert fields == 3
        raw = [source.read(struct.unpack(">i", source.read(4))[0]) for _ in range(3)]
        micros = struct.unpack(">q", raw[0])[0] + 946_684_800_000_000
        rows.append((raw[1].decode(), micros, struct.unpack(">d", raw[2])[0]))
    assert source.read() == b""
    return rows


@given(ROWS)
def test_ordered_keeps_every_row_and_puts_each_sensor_together_by_time(rows: list[Row]) -> None:
    found = rows_of(ordered(columns(rows)))
    assert sorted(found) == sorted(rows)
    seen = list(dict.fromkeys(row[0] for row in found))
    assert found == [row for sensor in seen for row in sorted((r for r in rows if r[0] == sensor), key=lambda r: r[1])]


@given(ROWS)
def test_binary_copy_holds_the_rows_in_their_order(rows: list[Row]) -> None:
    sorted_columns = ordered(columns(rows))
    assert parse(b"".join(binary_copy(sorted_columns))) == rows_of(sorted_columns)


@given(st.lists(MICROS, min_size=1, max_size=60), st.integers(1, 8))
def test_hour_ranges_cover_every_row_disjointly_and_are_few(micros: list[int], most: int) -> None:
    ranges = hour_ranges(np.array(micros, np.int64), most)
    assert len(ranges) <= most
    assert all(start % HOUR == 0 == end % HOUR and start < end for start, end in ranges)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ranges))
    assert all(any(start <= m < end for start, end in ranges) for m in micros)
    assert {start for start, _ in ranges} <= {m // HOUR * HOUR for m in micros}


def test_few_hours_are_covered_exactly() -> None:
    assert hour_ranges(np.array([0, HOUR, 3 * HOUR + 1, 3 * HOUR], np.int64)) == [(0, 2 * HOUR), (3 * HOUR, 4 * HOUR)]
