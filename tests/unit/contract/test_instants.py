"""One grammar of instants: what ingest takes as a timestamp is what a question may name, and means the same."""

import datetime as dt
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from typer import BadParameter

import services
from services.cli.send import first_instant
from services.contract.instants import INVALID, POSTGRES_EPOCH, instant_of, micros_of, parse_timestamps, why_invalid
from services.ingest.formats.json import decode_json
from services.ingest.limits.window import Limits
from services.ingest.readings import check
from services.platform.http.errors import Problem
from services.platform.http.parameters import Instant

LIMITS = Limits(-(10**18), 10**18)
INSTANT: TypeAdapter[dt.datetime] = TypeAdapter(Instant)
PIECES = [
    ["2025", "0001", "9999", "0000", "1969", "25"], ["-", "/", ""], ["10", "02", "13", "1", "00"], ["-"],
    ["22", "29", "31", "00", "9"], ["T", "t", " ", "_", "+", ""], ["21", "23", "24", "2"], [":", ""],
    ["00", "59", "60"], [":", ""], ["00", "59", "60", "61", ""],
    ["", ".", ".1", ".123456", ".1234567", ".999999999", ".1234567890", ",5"],
    ["Z", "z", "", "+02:00", "-23:59", " 02:00", "+24:00", "+0200", "+02", "-00:00", "UTC", "Z "],
]  # fmt: skip
"""What each part of a timestamp may be, the likeliest first, and what it may be mistaken for."""

NEARLY = st.tuples(*(st.sampled_from([part[0]] * 6 + part) for part in PIECES)).map("".join)
MUTATED = st.builds(
    lambda text, at, new: text[:at] + new + text[at + 1 :],
    NEARLY, st.integers(0, 35), st.sampled_from([*"0123456789-:.TtZz +Wé\u0661", ""]),
)  # fmt: skip


def parsed(texts: list[str]) -> list[int]:
    """Return the microseconds of texts, which are the same among few and among many."""
    few: list[int] = parse_timestamps(texts).tolist()
    for filler in ("2025-10-22T21:00:00Z", "2025-10-22T21:00:00.5+00:00"):
        assert parse_timestamps([*texts, *[filler] * 100])[: len(texts)].tolist() == few
    return few


@given(
    st.lists(
        st.tuples(
            st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 12, 30)),  # noqa: DTZ001
            st.builds(lambda m: dt.timezone(dt.timedelta(minutes=m)), st.integers(-1439, 1439)),
            st.integers(0, 9),
            st.booleans(),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_timestamps_agree_with_the_standard_library(made: list[tuple[dt.datetime, dt.timezone, int, bool]]) -> None:
    texts, wanted = [], []
    for naive, zone, digits, zulu in made:
        when = naive.replace(tzinfo=dt.UTC if zulu else zone)
        kept = min(digits, 6)
        fraction = f"{naive.microsecond:06}"[:kept] + "9" * (digits - kept)
        offset = "Z" if zulu else when.isoformat()[-6:]
        texts.append(
            naive.strftime("%Y").rjust(4, "0")
            + naive.strftime("-%m-%dT%H:%M:%S")
            + (f".{fraction}" if digits else "")
            + offset
        )
        cut = naive.microsecond // 10 ** (6 - kept) * 10 ** (6 - kept)
        wanted.append(micros_of(when.replace(microsecond=cut)))
    assert parsed(texts) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "", "2025-10-22", "2025-10-22T21:00:00", "2025-10-22T21:00Z", "2025-02-29T00:00:00Z", "2025-13-01T00:00:00Z",
        "2025-00-01T00:00:00Z", "2025-01-00T00:00:00Z", "2025-10-22T24:00:00Z", "2025-10-22T21:60:00Z",
        "2025-10-22T21:00:60Z", "2025-10-22T21:00:00.Z", "2025-10-22T21:00:00.1234567890Z", "2025-10-22T21:00:00+24:00",
        "2025-10-22T21:00:00+0100", "2025-10-22T21:00:00+01:60", "2025/10/22T21:00:00Z", "2025-10-22_21:00:00Z",
        "+025-10-22T21:00:00Z", "2025-10-22T21:00:0 Z", "\uff12025-10-22T21:00:00Z", "0000-01-01T00:00:00Z",
        "1761166800",
    ],
)  # fmt: skip
def test_what_is_no_rfc_3339_timestamp_is_invalid_and_spoils_no_neighbour(text: str) -> None:
    good = "2025-10-22T21:00:00Z"
    assert parsed([good, text, good]) == [1761166800000000, INVALID, 1761166800000000]


@pytest.mark.parametrize("tail", [":00.123456789+00:00", ":00+00:00", ":00Z", ":0000000000000000000", ":00.+00:00"])
def test_a_text_of_any_length_is_read_among_many_as_alone(tail: str) -> None:
    for length in range(len(tail) + 1):
        parsed(["2025-10-22T21:00" + tail[:length]])


ENDS = st.tuples(
    st.sampled_from(["00", "07", "59", "60", "1 ", "-1", "0", "000"]),
    st.sampled_from(["", ".", ".5", ".000", ".987654", ".98765432", ".12x", ",125"]),
    st.sampled_from(["Z", "z", "", "+02:00", "-23:59", "+24:00", "*02:00", "+02", "+0200", "UTC", "0Z"]),
)


@given(
    st.sampled_from(
        ["2025-10-22T21:07", "2025-10-22 21:07", "0001-01-01T00:00", "2025-02-29T21:07", "2025-10-22t24:07"]
    ),
    st.lists(ENDS, min_size=1, max_size=10),
)
def test_texts_of_one_minute_are_read_as_each_alone(minute: str, ends: list[tuple[str, str, str]]) -> None:
    texts = [f"{minute}:{second}{fraction}{offset}" for second, fraction, offset in ends]
    alone = [int(parse_timestamps([text])[0]) for text in texts]
    assert parse_timestamps(texts * 70).tolist() == alone * 70


@given(st.lists(NEARLY | MUTATED | st.text(max_size=40) | st.datetimes(timezones=st.timezones()).map(str), max_size=20))
def test_any_text_parses_or_is_invalid_among_few_and_among_many(texts: list[str]) -> None:
    assert len(parsed(texts)) == len(texts)


@given(
    NEARLY | MUTATED | st.text(max_size=40) | st.datetimes().map(str) | st.datetimes(timezones=st.timezones()).map(str)
)
def test_ingest_and_questions_take_the_same_texts_for_the_same_instants(text: str) -> None:
    try:
        asked = micros_of(INSTANT.validate_python(text))
    except ValidationError as error:
        asked, why = None, error.errors()[0]["msg"]
    try:
        body = json.dumps({"sensor_id": "a", "timestamp": text, "value": 1}).encode()
        columns = check(decode_json(body, 1), LIMITS, partial=False).columns
        taken = int(columns.timestamps[0])
    except Problem as problem:
        assert asked is None
        assert why in problem.members["errors"][0]["message"]  # type: ignore[index]
    else:
        assert taken == asked or (asked is None and "outside of the years" in why)


@given(NEARLY | MUTATED)
def test_the_command_line_takes_them_too(text: str) -> None:
    try:
        asked = INSTANT.validate_python(text)
    except ValidationError as error:
        with pytest.raises(BadParameter) as caught:
            first_instant(text, None)
        assert error.errors()[0]["msg"] in str(caught.value)
    else:
        assert first_instant(text, None) == asked


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("yesterday", "not_rfc3339", "such as 2025-10-22T21:00:00Z"),
        ("1761166800", "not_rfc3339", "RFC 3339"),
        ("2025-10-22T21:00Z", "not_rfc3339", "RFC 3339"),
        ("2025-10-22T21:00:00 02:00", "not_rfc3339", "%2B"),
        ("2025-10-22 21:00:00 02:00", "not_rfc3339", "%2B"),
        ("2025-10-22T21:00:00", "naive", "add Z"),
        ("2025-10-22T21:00:00.25", "naive", "add Z"),
        ("2025-10-22T21:00:00.1234567890Z", "too_precise", "more than 9 digits"),
        ("2016-12-31T23:59:60Z", "leap_second", "leap second"),
        ("2017-01-01T00:59:60+01:00", "leap_second", "leap second"),
        ("2025-10-22T24:00:00Z", "no_such_time", "00 of the day after"),
        ("2025-10-22T21:60:00Z", "no_such_time", "does not exist"),
        ("2025-02-29T21:00:00Z", "no_such_time", "does not exist"),
        ("2025-10-22T21:00:00+24:00", "no_such_time", "does not exist"),
    ],
)
def test_what_is_wrong_is_told_with_its_fix(text: str, code: str, told: str) -> None:
    assert parsed([text]) == [INVALID]
    found, why = why_invalid(text)
    assert found == code
    assert told in why


@given(st.datetimes(timezones=st.just(dt.UTC)))
def test_an_instant_is_its_microseconds(when: dt.datetime) -> None:
    assert instant_of(micros_of(when)) == when


def test_epochs_are_those_of_unix_and_of_postgresql() -> None:
    assert instant_of(0) == dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert instant_of(POSTGRES_EPOCH) == dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


def test_no_other_module_counts_from_an_epoch_of_its_own() -> None:
    epoch = re.compile(r"datetime\((1970|2000), *1, *1|946_?684_?800|microseconds=1\)")
    root = Path(services.__file__).parent
    found = {str(file.relative_to(root)) for file in root.rglob("*.py") if epoch.search(file.read_text())}
    assert found == {"contract/instants.py"}
