"""A query string means one thing or is refused: no byte is replaced, no parameter lost."""

from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.platform.http.errors import Problem
from services.platform.http.parameters import parameters

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5), st.sampled_from(["&", "&&"]))
def test_any_names_and_values_come_through_to_the_letter(pairs: list[tuple[str, str]], between: str) -> None:
    assert parameters(between.join(urlencode([pair]) for pair in pairs).encode()) == pairs
    assert parameters(between.join(urlencode([pair], quote_via=quote) for pair in pairs).encode()) == pairs


@given(st.lists(st.sampled_from([*b"ab&&==%%%%+;0123456789abcdefCEF\xff\xc3\xa9"]), max_size=20).map(bytes))
def test_what_is_taken_is_what_the_frameworks_make_of_it(query: bytes) -> None:
    try:
        found = parameters(query)
    except Problem as problem:
        assert problem.code == "invalid_parameter"
    else:
        assert found == parse_qsl(query.decode(), keep_blank_values=True)


@pytest.mark.parametrize(
    ("query", "name", "told"),
    [
        (b"sensor_id=%ff", "sensor_id", "not UTF-8"),
        (b"sensor_id=a%ed%a0%80", "sensor_id", "not UTF-8"),
        (b"sensor_id=%c0%80", "sensor_id", "not UTF-8"),
        (b"sensor_id=%f5%80%80%80", "sensor_id", "not UTF-8"),
        (b"sensor_id=%c3", "sensor_id", "not UTF-8"),
        (b"sensor_id=%c3&start=%a9", "sensor_id", "not UTF-8"),
        (b"sensor_id=\xc3\xa9", "sensor_id", "beyond ASCII"),
        (b"a=1&sensor_id=100%", "sensor_id", "%25"),
        (b"sensor_id=%zz", "sensor_id", "%25"),
        (b"sensor_id=%4", "sensor_id", "%25"),
        (b"%ff=1", "\\xff", "not UTF-8"),
        (b"\xff", "\\xff", "beyond ASCII"),
        (b"=%ff", "", "not UTF-8"),
    ],
)
def test_what_is_no_text_is_refused_by_name(query: bytes, name: str, told: str) -> None:
    with pytest.raises(Problem) as caught:
        parameters(query)
    faults: Any = caught.value.members["parameters"]
    assert [fault["parameter"] for fault in faults] == [name]
    assert told in faults[0]["message"]


def test_the_replacement_character_itself_is_a_character() -> None:
    assert parameters(b"sensor_id=%ef%bf%bd;x+y%00") == [("sensor_id", "\ufffd;x y\0")]
