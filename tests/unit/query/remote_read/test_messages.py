"""Remote read's messages against Prometheus' own field numbers, written down here a second time as bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.query.remote_read.messages import (
    Matcher,
    MatcherKind,
    MessageError,
    Query,
    decode_request,
    encode_response,
    samples,
    series,
)
from tests.support.remote_read import integer, matcher, packed, part, unpacked


def test_a_request_is_read_by_prometheus_field_numbers() -> None:
    hints = part(4, integer(1, 15) + part(2, b"rate"))
    query = integer(1, -5) + integer(2, 7) + matcher(0, "__name__", "cpu") + matcher(3, "host", "a.*") + hints
    found = decode_request(packed(part(1, query) + part(1, b"") + integer(2, 1) + integer(2, 0)))
    matchers = (Matcher("__name__", MatcherKind.EQUAL, "cpu"), Matcher("host", MatcherKind.MATCHES_NOT, "a.*"))
    assert found == [Query(-5, 7, matchers), Query(0, 0, ())]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "snappy"),
        (b"\xff" * 12, "snappy"),
        (b"\xff\xff\xff\xff\x0f", "larger than"),
        (packed(b"\x0a\xff"), "ReadRequest"),
        (packed(part(1, part(3, part(2, b"\xff")))), "ReadRequest"),
        (packed(part(1, matcher(4, "a", "b"))), "none of 0 to 3"),
        (packed(part(1, matcher(0, "a", "\0"))), "NUL"),
        (packed(part(1, matcher(0, "a", "b") * 65)), "64 are the most"),
        (packed(part(1, b"") * 33), "32 are the most"),
        (packed(part(1, integer(1, 8) + integer(2, 7))), "lies behind"),
        (packed(integer(2, 1)), "only SAMPLES"),
        (packed(bytes(1 << 21)), "larger than"),
    ],
)
def test_what_is_no_request_is_refused_by_what_is_wrong(body: bytes, told: str) -> None:
    with pytest.raises(MessageError, match=told):
        decode_request(body)


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_bring_another_error(junk: bytes, in_a_block: bool) -> None:
    try:
        decode_request(packed(junk) if in_a_block else junk)
    except MessageError as error:
        assert str(error)


@given(
    st.lists(st.tuples(st.integers(-(1 << 63), (1 << 63) - 1), st.floats(allow_nan=False)), max_size=20),
    st.dictionaries(st.text("abcxyz_", min_size=1), st.text(), max_size=4),
    st.integers(0, 20),
)
def test_series_are_read_back_as_they_were(rows: list[tuple[int, float]], labels: dict[str, str], cut: int) -> None:
    parts = [
        samples(np.array([at for at, _ in part], np.int64), np.array([value for _, value in part], float))
        for part in (rows[:cut], rows[cut:])
    ]
    one = series(labels, parts)
    assert unpacked(encode_response([[one, one], []])) == [[(labels, rows), (labels, rows)], []]
