"""A labelled series has one id, whatever the order of its labels, and no other series has it."""

import base64
import hashlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract import SeriesError, check_series, series_id, series_of
from services.contract.codec import MAX_SENSOR_ID
from services.contract.series import MAX_LABEL_NAME, MAX_LABEL_VALUE, MAX_LABELS, MAX_NAME, Series
from tests.unit.contract.test_codec import all_series


def test_the_id_is_what_its_description_says() -> None:
    series = series_of("temperature of the outer wall, north-eastern corner", [("room", "a"), ("floor", "2")], "mean")
    text = "temperature of the outer wall, north-eastern corner\0mean\0floor\x002\0room\0a"
    hashed = base64.b32encode(hashlib.blake2b(text.encode()).digest()).decode().lower()
    assert series_id(series) == f"temperature of the outer wall, north-eas#{hashed[:20]}"
    assert series_id(series_of("t", [])) == series_id(Series("t", None, ()))


def called(series: Series) -> Series:
    return Series(series.name, series.field, series.labels)


@given(all_series, st.randoms(use_true_random=False))
def test_the_order_of_labels_does_not_matter(series: Series, random: Random) -> None:
    check_series(series)
    shuffled = list(series.labels)
    random.shuffle(shuffled)
    assert series_of(series.name, shuffled, series.field, series.kind, series.unit) == series
    assert 0 < len(series_id(series)) <= MAX_SENSOR_ID


@given(all_series, all_series)
def test_series_that_differ_have_ids_that_differ(one: Series, other: Series) -> None:
    assert (series_id(one) == series_id(other)) == (called(one) == called(other))


@given(all_series)
def test_kind_and_unit_have_no_part_in_the_id(series: Series) -> None:
    assert series_id(series) == series_id(called(series))


def test_what_moves_between_name_field_and_labels_is_another_series() -> None:
    several = [
        series_of("a", [("b", "c")]),
        series_of("a", [], "b"),
        series_of("a", [("b", "c")], "b"),
        series_of("ab", [("b", "c")]),
        series_of("a", [("bc", "c")]),
        series_of("a", [("b", "c"), ("d", "e")]),
    ]
    assert len(set(map(series_id, several))) == len(several)


@pytest.mark.parametrize(
    ("series", "part", "code"),
    [
        (Series("", None, ()), "name", "empty"),
        (Series("n" * (MAX_NAME + 1), None, ()), "name", "too_long"),
        (Series("n\0", None, ()), "name", "nul"),
        (Series("n", "", ()), "field", "empty"),
        (Series("n", "f" * (MAX_NAME + 1), ()), "field", "too_long"),
        (Series("n", None, (("", "v"),)), "labels", "empty"),
        (Series("n", None, (("l", ""),)), "labels", "empty"),
        (Series("n", None, (("l" * (MAX_LABEL_NAME + 1), "v"),)), "labels", "too_long"),
        (Series("n", None, (("l", "v" * (MAX_LABEL_VALUE + 1)),)), "labels", "too_long"),
        (Series("n", None, (("l", "\0"),)), "labels", "nul"),
        (Series("n", None, tuple((f"{n:03}", "v") for n in range(MAX_LABELS + 1))), "labels", "too_many"),
    ],
)
def test_what_breaks_a_limit_is_named(series: Series, part: str, code: str) -> None:
    with pytest.raises(SeriesError) as raised:
        check_series(series)
    assert (raised.value.part, raised.value.code) == (part, code)


@pytest.mark.parametrize("names", ["ba", "aa"])
def test_labels_out_of_order_or_twice_are_no_series(names: str) -> None:
    with pytest.raises(ValueError, match="out of order"):
        check_series(Series("n", None, tuple((name, "v") for name in names)))
