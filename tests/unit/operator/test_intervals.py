"""Intervals and quoting: what is written is what PostgreSQL reads."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.operator.planning.quoting import identifier, literal
from services.operator.specs.intervals import Interval

parts = st.integers(-(10**9), 10**9)


@given(st.builds(Interval, parts, parts, st.integers(-(10**17), 10**17)))
def test_an_interval_survives_its_text(interval: Interval) -> None:
    assert Interval.parse(str(interval)) == interval


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("7 days", Interval(days=7)),
        ("1 week", Interval(days=7)),
        ("24:00:00", Interval(microseconds=86_400_000_000)),
        ("-00:01:00.5", Interval(microseconds=-60_500_000)),
        ("1 year 2 mons -3 days 04:05:06.000007", Interval(14, -3, 14_706_000_007)),
        (" 90 minutes ", Interval(microseconds=5_400_000_000)),
    ],
)
def test_people_and_postgresql_are_understood(text: str, interval: Interval) -> None:
    assert Interval.parse(text) == interval


@pytest.mark.parametrize("text", ["", "7", "days", "7 parsecs", "1 day'; drop table x", "1 day,", "٣ days", "1 day\0"])
def test_anything_else_is_no_interval(text: str) -> None:
    with pytest.raises(ValueError, match="is no interval"):
        Interval.parse(text)


def test_a_day_is_not_24_hours_though_as_long() -> None:
    day, hours = Interval.parse("1 day"), Interval.parse("24 hours")
    assert day != hours
    assert day.total == hours.total


names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(names)
def test_a_quoted_name_is_one_token_that_reads_back(name: str) -> None:
    quoted = identifier(name)
    assert re.fullmatch(r'"(?:[^"]|"")+"', quoted, re.DOTALL)
    assert quoted[1:-1].replace('""', '"') == name


@given(names)
def test_a_quoted_value_is_one_token_that_reads_back(text: str) -> None:
    quoted = literal(text)
    if "\\" in text:
        assert re.fullmatch(r" E'(?:[^'\\]|''|\\\\)*'", quoted, re.DOTALL)
        assert re.sub(r"''|\\\\", lambda pair: pair[0][0], quoted[3:-1]) == text
    else:
        assert re.fullmatch(r"'(?:[^']|'')*'", quoted, re.DOTALL)
        assert quoted[1:-1].replace("''", "'") == text


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a name"):
        identifier(name)
    with pytest.raises(ValueError, match="zero byte"):
        literal("a\0b")
