"""The spool, crashed at any step of any sequence of calls: what it told is there, whole, and nothing else is."""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from millrace_client.batches import Batch, Reject, encoded
from millrace_client.errors import SpoolError
from millrace_client.spool import DamagedError, Spool, SpoolFullError

READINGS = st.lists(st.text(max_size=5), min_size=1, max_size=4).map(
    lambda names: tuple(encoded((name, "2025-10-22T21:00:00Z", place)) for place, name in enumerate(names))
)
REJECTS = st.lists(st.builds(Reject, st.just({"sensor_id": "é\n"}), st.text(), st.none(), st.text(), st.booleans()))
BATCHES = st.builds(
    Batch, st.uuids().map(str), READINGS, REJECTS.map(tuple), st.none() | st.integers(0, 2**45),
    st.integers(0, 9), st.none() | st.integers(1, 9),
)  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(["put", "mark", "remove", "edit"]), st.integers(1, 4), BATCHES), max_size=12)


class CrashError(Exception):
    """The process ends here."""


@pytest.fixture
def batch() -> Batch:
    return Batch.new(encoded(("a", "2025-10-22T21:00:00Z", number)) for number in range(3))


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def held(path: Path) -> dict[int, Batch]:
    """Return what a new process finds."""
    spool = Spool(path, 1 << 30)
    try:
        assert [rows for _, rows in spool.segments] == [
            int(name.name.split("-")[1].split(".")[0]) for name in files(path)
        ]
        assert spool.size == sum(file.stat().st_size for file in files(path))
        return {ordinal: spool.get(ordinal) for ordinal, _ in spool.segments}
    finally:
        spool.close()


def files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.suffix in {".segment", ".tried"})


@given(STEPS, st.integers(0, 200))
def test_a_crash_at_any_call_of_the_system_leaves_each_segment_as_it_was_before_or_behind_a_step(
    steps: list[tuple[str, int, Batch]], until: int
) -> None:
    """Each call that changes the disk counts; the one whose turn it is does not happen, and none after it."""
    left = until

    def counted(call: object) -> object:
        def wrapped(*arguments: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise CrashError
            return call(*arguments, **named)  # type: ignore[operator]

        return wrapped

    with folder() as path:
        spool = Spool(path, 1 << 30)
        known: dict[int, Batch] = {}
        doubt: tuple[int, Batch | None] | None = None
        with pytest.MonkeyPatch.context() as patched, contextlib.suppress(CrashError):
            for name in ("rename", "unlink"):
                patched.setattr(Path, name, counted(getattr(Path, name)))
            patched.setattr("os.fsync", counted(lambda _: None))
            for what, ordinal, batch in steps:
                before = known.get(ordinal)
                if what == "put" and before is None:
                    doubt = ordinal, batch
                    spool.put(ordinal, batch)
                elif what == "edit" and before is not None:
                    doubt = ordinal, replace(batch, tried=before.tried)
                    spool.put(ordinal, doubt[1])
                elif what == "mark" and before is not None:
                    doubt = ordinal, replace(before, tried=batch.tried)
                    spool.mark(ordinal, batch.tried)
                elif what == "remove" and before is not None:
                    doubt = ordinal, None
                    spool.remove(ordinal)
                else:
                    continue
                known = {**known, ordinal: doubt[1]} if doubt[1] else {k: v for k, v in known.items() if k != ordinal}
                doubt = None
        spool.close()
        found = held_loosely(path)
        for ordinal in {*known, *found}:
            expected = [known.get(ordinal)] + ([doubt[1]] if doubt and doubt[0] == ordinal else [])
            assert found.get(ordinal) in expected
        assert not list(path.glob("*.part"))


def held_loosely(path: Path) -> dict[int, Batch]:
    """Return what a new process finds; an edit keeps the name, and so the count of its first life."""
    spool = Spool(path, 1 << 30)
    try:
        return {ordinal: spool.get(ordinal) for ordinal, _ in spool.segments}
    finally:
        spool.close()


@given(BATCHES, st.data())
def test_a_segment_that_is_not_what_was_written_is_told_from_one_that_is(batch: Batch, data: st.DataObject) -> None:
    with folder() as path:
        spool = Spool(path, 1 << 30)
        spool.put(1, batch)
        spool.close()
        assert held(path) == {1: batch}
        [file] = files(path)
        content = file.read_bytes()
        if data.draw(st.booleans(), "torn"):
            file.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        else:
            place = data.draw(st.integers(0, len(content) - 1))
            file.write_bytes(
                content[:place] + bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :]
            )
        with pytest.raises(DamagedError):
            held(path)


def test_a_segment_is_for_people_too(tmp_path: Path, batch: Batch) -> None:
    spool = Spool(tmp_path, 1 << 30)
    spool.put(7, batch)
    [file] = files(tmp_path)
    assert file.name == "000000000007-3.segment"
    lines = file.read_text().splitlines()
    assert json.loads(lines[1])["key"] == batch.key
    assert [json.loads(line)["value"] for line in lines[2:]] == [0, 1, 2]
    spool.mark(7, 1_764_201_600_000)
    assert [each.name for each in files(tmp_path)] == ["000000000007-3-1764201600000.tried"]
    assert spool.set_aside(7, "expired").name == "000000000007-3-1764201600000.tried.expired"
    assert spool.size == 0
    spool.close()
    assert held(tmp_path) == {}


def test_a_full_spool_takes_nothing_new_and_lets_changes_in(tmp_path: Path, batch: Batch) -> None:
    spool = Spool(tmp_path, 400)
    spool.put(1, batch)
    with pytest.raises(SpoolFullError):
        spool.put(2, batch)
    spool.put(1, batch.refused("too_old", "older", certain=True))
    spool.remove(1)
    spool.put(2, batch)
    spool.close()
    assert held(tmp_path) == {2: batch}


def test_a_spool_is_one_process_s(tmp_path: Path) -> None:
    first = Spool(tmp_path, 1)
    with pytest.raises(SpoolError, match="another writer"):
        Spool(tmp_path, 1)
    first.close()
    Spool(tmp_path, 1).close()


def test_a_folder_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match="file"):
        Spool(tmp_path / "file", 1)
