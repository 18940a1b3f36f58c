"""What arrives as bytes, mutated: each reader says what it documents, and nothing else."""

import gzip
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from services.ingest.limits.body import ENCODINGS, _decompress
from services.platform.http.auth import KeyFileError, load_keys
from services.platform.http.errors import Problem

LIMIT = 10_000
CONTENT = st.binary(max_size=300) | st.integers(0, 40_000).map(bytes)
KEYS = b"""callers:
- name: plant
  scopes: [ingest]
  keys: [{id: 0a1b2c3d, sha256: %s, expires: 2030-01-01T00:00:00Z}]
""" % (b"a" * 64)


def compressed(encoding: str, content: bytes) -> bytes:
    return gzip.compress(content, 1) if encoding == "gzip" else zstandard.compress(content, 1)


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    """Cut, flip, insert and repeat."""
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(whole)))
        to = draw(st.integers(at, len(whole)))
        middle = draw(st.binary(max_size=6) | st.just(whole[at:to] * 2) | st.just(whole))
        whole = whole[:at] + middle + whole[to:]
    return whole


@given(encoding=st.sampled_from(ENCODINGS), members=st.lists(CONTENT, min_size=1, max_size=4))
def test_whole_bodies_are_decompressed_up_to_the_limit(encoding: str, members: list[bytes]) -> None:
    body, content = b"".join(compressed(encoding, each) for each in members), b"".join(members)
    if len(content) > LIMIT:
        with pytest.raises(Problem) as caught:
            _decompress(encoding, body, LIMIT)
        assert caught.value.code == "body_too_large"
    else:
        assert _decompress(encoding, body, LIMIT) == content


@given(encoding=st.sampled_from(ENCODINGS), content=CONTENT, data=st.data())
def test_mutated_bodies_are_decompressed_or_refused_and_never_larger_than_the_limit(
    encoding: str, content: bytes, data: st.DataObject
) -> None:
    body = data.draw(mutated(compressed(encoding, content)) | st.binary(max_size=100))
    try:
        assert len(_decompress(encoding, body, LIMIT)) <= LIMIT
    except Problem as problem:
        assert problem.code in {"malformed_body", "body_too_large"}


@given(data=st.data())
@budget(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mutated_file_of_keys_is_read_or_refused_by_name_and_shows_no_hash(
    data: st.DataObject, tmp_path: Path
) -> None:
    file = tmp_path / "keys.yaml"
    file.write_bytes(data.draw(mutated(KEYS) | st.binary(max_size=100)))
    try:
        load_keys(file)
    except KeyFileError as error:
        assert str(file) in str(error)
        assert "a" * 30 not in str(error)


@pytest.mark.parametrize("text", ["callers: [{name: 2030-99-01}]", "[" * 5000, f"{'b' * 64}: 1", "? [a]\n: 1"])
def test_a_file_of_keys_that_no_yaml_can_be_is_refused_by_name(text: str, tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(text)
    with pytest.raises(KeyFileError, match=r"keys\.yaml") as caught:
        load_keys(file)
    assert "bbbb" not in str(caught.value)
