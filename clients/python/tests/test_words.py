"""The words of questions: Python's values as HTTP has them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from millrace_client import Question


def asked(**words: Any) -> tuple[tuple[str, str], ...]:
    return Question.of("/series", words, postable=True).parameters


def test_values_become_texts_and_what_is_none_is_left_out() -> None:
    at = datetime(2025, 10, 22, 21, tzinfo=UTC)
    assert asked(sensor_id=["a", "b"], start=at, end=None, agg=["max", "p99.9"], bucket=timedelta(minutes=90)) == (
        ("sensor_id", "a"), ("sensor_id", "b"), ("start", "2025-10-22T21:00:00+00:00"), ("agg", "max,p99.9"),
        ("bucket", "90m"),
    )  # fmt: skip
    assert asked(start=1761166800000, end="now-1d/d", fill=0, bucket=timedelta(days=1)) == (
        ("start", "1761166800000"), ("end", "now-1d/d"), ("fill", "0"), ("bucket", "24h"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        ({"start": datetime(2025, 1, 1)}, ValueError, "no time zone"),  # noqa: DTZ001 -- the fault itself
        ({"bucket": timedelta(microseconds=1)}, ValueError, "whole milliseconds"),
        ({"bucket": timedelta()}, ValueError, "positive"),
        ({"sensor_id": [b"a"]}, TypeError, "sensor_id: bytes"),
        ({"match": {"room": "a"}}, TypeError, "match: dict"),
    ],
)
def test_what_has_no_form_in_http_is_named(words: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        asked(**words)


def test_a_question_of_many_sensors_is_posted_and_others_are_not() -> None:
    short = Question.of("/series", {"sensor_id": "a b+c", "start": "-6h"}, postable=True)
    assert short.request() == ("GET", "/series?sensor_id=a%20b%2Bc&start=-6h", None)
    many = [f"sensor-{number}" for number in range(1000)]
    method, target, body = Question.of("/series", {"sensor_id": many, "start": "-6h"}, postable=True).request()
    assert (method, target, body) == ("POST", "/series", {"sensor_id": many, "start": "-6h"})
    assert Question.of("/latest", {"sensor_id": many}).request()[0] == "GET"
