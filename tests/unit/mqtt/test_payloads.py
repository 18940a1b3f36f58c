"""Payloads: which readings they are, and at what time."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.mqtt.payloads import MalformedError, readings_of
from services.mqtt.topics import Called

NOW = 1_761_166_800_000_000
NOW_TEXT = "2025-10-22T21:00:00+00:00"
NAMED = Called(None, "weather", None, {"site": "a"})
NAMELESS = Called(None, None, None, {"site": "a"})
PLAIN = Called("sensor-1", None, None, {})
TIMES = ["timestamp", "time", "ts"]


def values(payload: bytes, called: Called = NAMED) -> dict[tuple[Any, ...], float]:
    made = readings_of(payload, called, TIMES, NOW)
    names = ("sensor_id", "name", "field")
    return {tuple(one[name] for name in names if name in one): one["value"] for one in made.readings}


@pytest.mark.parametrize(("payload", "value"), [(b"21.5", 21.5), (b" -3 ", -3.0), (b"+5", 5.0), (b".5", 0.5),
                                                (b"1e3", 1000.0), (b"true", 1.0)])  # fmt: skip
def test_a_number_is_a_reading_at_its_arrival(payload: bytes, value: float) -> None:
    made = readings_of(payload, NAMED, TIMES, NOW)
    assert made.readings == [{"name": "weather", "labels": {"site": "a"}, "timestamp": NOW_TEXT, "value": value}]
    assert not made.timed


def test_the_numbers_of_an_object_are_a_reading_each() -> None:
    payload = b'{"t": 1, "wind": {"speed": 2.5, "gust": {"max": true}}, "state": "ok", "list": [1], "none": null}'
    fields = {"t": 1.0, "wind.speed": 2.5, "wind.gust.max": 1.0}
    assert values(payload) == {("weather", field): value for field, value in fields.items()}
    assert values(payload, NAMELESS) == {(name,): value for name, value in fields.items()}
    assert values(payload, PLAIN) == {(f"sensor-1.{name}",): value for name, value in fields.items()}


def test_value_is_the_topic_s_own() -> None:
    payload = b'{"value": 1.5, "battery": 3}'
    assert values(payload) == {("weather",): 1.5, ("weather", "battery"): 3.0}
    assert values(payload, PLAIN) == {("sensor-1",): 1.5, ("sensor-1.battery",): 3.0}
    assert values(payload, Called(None, "weather", "t", {})) == {("weather", "t"): 1.5, ("weather", "t.battery"): 3.0}


@pytest.mark.parametrize(
    "said",
    [b'"2025-10-22T21:00:00Z"', b'"2025-10-22T23:00:00.000+02:00"', b"1761166800", b"1761166800.0", b"1761166800000",
     b"1761166800000000", b"1761166800000000123"],
)  # fmt: skip
@pytest.mark.parametrize("name", TIMES)
def test_a_payload_s_own_time_is_the_readings(said: bytes, name: str) -> None:
    made = readings_of(b'{"%s": %s, "t": 1}' % (name.encode(), said), NAMED, TIMES, NOW + 1)
    assert made.timed
    assert [one["timestamp"] for one in made.readings] == [NOW_TEXT]


@pytest.mark.parametrize(
    ("payload", "called", "why"),
    [
        (b"", NAMED, "neither a number nor JSON"),
        (b"ON", NAMED, "neither a number nor JSON"),
        (b"\xff\x00", NAMED, "neither a number nor JSON"),
        (b"nan", NAMED, "neither a finite number"),
        (b"1e999", NAMED, "neither a finite number"),
        (b"[1, 2]", NAMED, "neither a finite number"),
        (b'"21.5"', NAMED, "neither a finite number"),
        (b"21.5", NAMELESS, r"has no \{name\}"),
        (b'{"ts": "yesterday", "t": 1}', NAMED, "its ts 'yesterday'"),
        (b'{"ts": "2025-10-22T21:00:00", "t": 1}', NAMED, "its ts"),
        (b'{"ts": true, "t": 1}', NAMED, "its ts is neither"),
        (b'{"ts": [], "t": 1}', NAMED, "its ts is neither"),
        (b'{"ts": -1e300, "t": 1}', NAMED, "its ts"),
    ],
)
def test_a_payload_that_cannot_be_read_says_why(payload: bytes, called: Called, why: str) -> None:
    with pytest.raises(MalformedError, match=why):
        readings_of(payload, called, TIMES, NOW)


@given(st.binary(max_size=60))
@example(b'{"ts": 1e999}')
@example(b"[" * 5000)
@example(b'{"a":' * 300)
def test_no_payload_does_more_than_be_malformed(payload: bytes) -> None:
    try:
        made = readings_of(payload, NAMED, TIMES, NOW)
    except MalformedError:
        return
    assert all(isinstance(one["value"], float) for one in made.readings)
