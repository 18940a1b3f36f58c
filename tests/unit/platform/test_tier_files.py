"""The tier's files: what was written comes back, by sensors, range and deletions, as plain Python would choose it."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.platform.settings import TierSettings
from services.platform.tier import files
from services.platform.tier.files import Deleted, Readings, Writer, buckets_for, fingerprint, hash_of, read, verified
from services.platform.tier.storage import open_storage

SENSORS = ("", "a", "b", "b-ü", "long " * 20, "日本")

rows = st.lists(
    st.tuples(
        st.integers(0, len(SENSORS) - 1),
        st.integers(-(2**40), 2**40),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(width=64),
    ),
    min_size=1,
    max_size=60,
).map(sorted)
spans = st.none() | st.tuples(st.integers(-(2**40), 2**40), st.integers(-(2**40), 2**40))
deletions = st.lists(
    st.builds(
        Deleted,
        st.integers(0, 9),
        st.frozensets(st.sampled_from(SENSORS)),
        st.integers(-(2**40), 2**40),
        st.integers(-(2**40), 2**40),
        st.integers(-(2**63), 2**63 - 1),
    ),
    max_size=3,
)


def readings_of(found: list[tuple[int, int, int, float]]) -> Readings:
    place, at, number, value = (list(column) for column in zip(*found, strict=True))
    places, ids, instants = (np.array(column, np.int64) for column in (place, number, at))
    return Readings(tuple(sorted(SENSORS)), places, ids, instants, np.array(value, np.float64))


def told(found: Readings) -> list[tuple[str, int, int, str]]:
    """Return rows; values are written out, as what is no number is not equal to itself."""
    columns = (found.place, found.at, found.id, found.value)
    lists: list[list[Any]] = [column.tolist() for column in columns]
    return [(found.sensors[place], at, number, repr(value)) for place, at, number, value in zip(*lists, strict=True)]


@given(rows, st.none() | st.lists(st.sampled_from(SENSORS), unique=True), spans, deletions, st.integers(1, 20))
@settings(max_examples=60)
def test_what_is_read_is_what_was_written_and_is_asked_for(
    found: list[tuple[int, int, int, float]],
    sensors: list[str] | None,
    span: tuple[int, int] | None,
    deleted: list[Deleted],
    group: int,
) -> None:
    given_ = readings_of(found)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "ROW_GROUP", group)
        storage = open_storage(Path(folder).as_uri())
        writer = Writer(storage, "some/where/x.parquet")
        for begin in range(0, len(given_), 7):
            writer.add(given_.taken(slice(begin, begin + 7)))
        writer.close()
        assert writer.written == fingerprint(given_) == verified(storage, "some/where/x.parquet")
        got = read(storage, "some/where/x.parquet", sensors, span, deleted)
    wanted = [
        row
        for row in told(given_)
        if (sensors is None or row[0] in sensors)
        and (span is None or span[0] <= row[1] < span[1])
        and not any(d.start <= row[1] < d.end and row[2] <= d.last_id and row[0] in d.sensors for d in deleted)
    ]
    assert told(got) == wanted


@given(rows, st.integers(0, 59), st.integers(0, 3))
def test_a_fingerprint_shows_what_was_changed(
    found: list[tuple[int, int, int, float]], place: int, column: int
) -> None:
    place %= len(found)
    changed = list(found)
    row: list[Any] = list(changed[place])
    row[column] = (row[column] + 1) % len(SENSORS) if column == 0 else row[column] ^ 1 if column < 3 else -row[column]
    changed[place] = (row[0], row[1], row[2], row[3])
    assert fingerprint(readings_of(found)) != fingerprint(readings_of(changed))
    assert fingerprint(readings_of(found)) != fingerprint(readings_of([*found, found[0]]))


def test_a_day_has_a_bucket_for_each_two_million_readings_in_powers_of_two() -> None:
    assert [buckets_for(rows * 1_000_000) for rows in (0, 1, 2, 3, 4, 5, 9, 100, 10_000)] == [
        1,
        1,
        1,
        2,
        2,
        4,
        8,
        64,
        64,
    ]


def test_the_bucket_of_a_sensor_is_its_crc() -> None:
    assert hash_of("123456789") == 0xCBF43926


@pytest.mark.parametrize(
    "location",
    ["", "file:///srv/tier", "s3://bucket", "s3://my.bucket/prefix/x?region=eu&scheme=http&endpoint_override=h:9000"],
)
def test_a_location_is_a_folder_or_a_bucket(location: str) -> None:
    assert TierSettings(location=location).location == location


@pytest.mark.parametrize(
    "location", ["tier", "/srv/tier", "file://host/x", "s3://", "s3:///x", "http://host/x", "s3://Bucket/x", "gs://b/x"]
)
def test_another_location_is_refused(location: str) -> None:
    with pytest.raises(ValueError, match="neither file:///folder nor s3://bucket/prefix"):
        TierSettings(location=location)


def test_a_login_in_a_location_is_refused_and_not_shown() -> None:
    with pytest.raises(ValidationError, match="AWS_ACCESS_KEY_ID") as refused:
        TierSettings(location="s3://key:hidden-secret@bucket/x")
    assert "hidden-secret" not in str(refused.value.errors(include_input=False, include_context=False))


def test_who_has_no_tier_does_not_pay_for_arrow() -> None:
    code = (
        "import sys, services.query.app, services.database.repair.main, services.worker.main, services.ingest.app; "
        "sys.exit('pyarrow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
