"""Binary COPY into records."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.query.copyout import FLOAT, INTEGER, TIMESTAMP, CopyError, CopyReader, microseconds

COLUMNS = {"id": INTEGER, "timestamp": TIMESTAMP, "value": FLOAT}
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

rows = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.integers(-(2**62), 2**62),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    max_size=30,
)


def copied(lines: list[tuple[int, int, float]]) -> bytes:
    body = b"".join(struct.pack(">hiqiqid", 3, 8, a, 8, b, 8, c) for a, b, c in lines)
    return HEADER + body + TRAILER


@given(rows, st.data())
def test_rows_come_out_whole_wherever_the_network_cuts_them(
    lines: list[tuple[int, int, float]], data: st.DataObject
) -> None:
    whole = copied(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    reader = CopyReader(COLUMNS)
    found = [
        (int(row["id"]), int(row["timestamp"]), float(row["value"]))
        for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)
        for row in reader.feed(whole[begin:end])
    ]
    reader.finish()
    assert found == lines


@given(rows, st.data())
def test_what_is_cut_short_is_never_taken_for_whole(lines: list[tuple[int, int, float]], data: st.DataObject) -> None:
    whole = copied(lines)
    reader = CopyReader(COLUMNS)
    reader.feed(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(CopyError, match="end of COPY"):
        reader.finish()


def test_other_data_than_copy_is_refused() -> None:
    with pytest.raises(CopyError, match="header"):
        CopyReader(COLUMNS).feed(b"PGCOPX")


def test_a_null_is_refused() -> None:
    null = struct.pack(">hiqii", 3, 8, 1, -1, -1) + bytes(20)
    with pytest.raises(CopyError, match="null"):
        CopyReader(COLUMNS).feed(HEADER + null)


def test_timestamps_count_from_the_unix_epoch() -> None:
    millennium = np.zeros(1, TIMESTAMP)
    assert microseconds(millennium).view("M8[us]")[0] == np.datetime64("2000-01-01")
