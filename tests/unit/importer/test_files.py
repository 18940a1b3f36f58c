"""What is to be sent of which file, by what an earlier import has noted."""

import sqlite3
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from services.importer.errors import ReadError, StoppedError
from services.importer.files import HORIZON, Files, ToSend, Which
from services.importer.forms import Form, Words, files_of
from services.importer.pieces import key_of
from services.importer.state import State
from services.importer.tally import Tally

LINES = "m f=1 1\nm f=2 2\n"


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "folder" / "state")


def to_send(state: State, paths: list[Path], **which: Any) -> tuple[list[ToSend], Tally]:
    found = Files(Which(list(files_of(paths, None)), Words(), "http://x", "", **which), state, Tally())
    return list(found.to_send()), found.tally


def begin(state: State, paths: list[Path], *, done: bool, taken: int | None = 1) -> list[ToSend]:
    found, _ = to_send(state, paths)
    for one in found:
        assert one.number is not None
        state.note(one.number, one.piece)
        if done:
            state.done(one.number, one.piece, taken, 0)
    return found


def test_what_is_done_is_not_sent_again_whatever_the_file_is_called(state: State, tmp_path: Path) -> None:
    file, other = tmp_path / "a.lp", tmp_path / "b.lp"
    file.write_text(LINES)
    assert len(begin(state, [file], done=True)) == 1
    other.write_text(LINES)
    found, tally = to_send(state, [file, other])
    assert (found, tally.known, tally.complete) == ([], 2, True)
    # A copy that goes its own way is another file from there on.
    other.write_text(LINES + "m f=3 3\n")
    file.write_text(LINES + "m f=4 4\n")
    found, _ = to_send(state, [file, other])
    assert [one.piece.body() for one in found] == [b"m f=4 4\n", b"m f=3 3\n"]


def test_what_is_not_done_is_sent_again_as_it_was_cut(state: State, tmp_path: Path) -> None:
    file = tmp_path / "a.lp"
    file.write_text(LINES)
    [before] = begin(state, [file], done=False)
    file.write_text(LINES + "m f=3 3\n")
    found, _ = to_send(state, [file])
    assert [one.piece.body() for one in found] == [LINES.encode(), b"m f=3 3\n"]
    assert key_of(found[0].piece, "") == key_of(before.piece, "")


def test_halves_take_the_place_of_their_piece(state: State, tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pl.DataFrame({"sensor_id": ["a", "b", "c"], "value": [1.0, 2.0, 3.0]}).write_parquet(file)
    [one] = begin(state, [file], done=False)
    assert one.number is not None
    state.divide(one.number, one.piece, one.piece.halves())
    found, _ = to_send(state, [file])
    assert [(each.piece.offset, each.piece.length) for each in found] == [(0, 1), (1, 2)]
    state.done(one.number, found[0].piece, 1, 0)
    assert [each.piece.offset for each in to_send(state, [file])[0]] == [1]


def test_a_table_that_is_another_is_refused_or_new(state: State, tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pl.DataFrame({"value": [1.0]}).write_parquet(file)
    begin(state, [file], done=True)
    pl.DataFrame({"value": [2.0]}).write_parquet(file)
    found, tally = to_send(state, [file])
    assert found == []
    [fault] = tally.faults
    assert fault.startswith(f"{file}: it is not what was imported under its name before; it is stored as it was, and ")
    assert "as a file of their own (--rejects FILE gives them); --replaced stores all of the file again" in fault
    found, tally = to_send(state, [file], replaced=True)
    assert (len(found), tally.complete) == (1, True)


@pytest.mark.parametrize("name", ["a.lp", "a.parquet"])
@pytest.mark.parametrize(("done", "taken"), [(True, 0), (True, 1), (True, None), (False, None)])
def test_a_changed_file_is_taken_where_for_certain_nothing_of_it_is_stored(
    state: State, tmp_path: Path, name: str, done: bool, taken: int | None
) -> None:
    file = tmp_path / name

    def write(value: int) -> None:
        if file.suffix == ".lp":
            file.write_text(f"m f={value} 1\n")
        else:
            pl.DataFrame({"value": [value]}).write_parquet(file)

    write(1)
    [before] = begin(state, [file], done=done, taken=taken)
    write(2)
    found, tally = to_send(state, [file])
    assert [one.piece.digest != before.piece.digest for one in found] == [True] * (taken == 0)
    assert tally.complete == (taken == 0)
    if taken == 0:
        # What was rejected is forgotten: a kill here leaves a file of which nothing is known.
        write(3)
        assert [one.again for one in begin(state, [file], done=True)] == [False]
        write(1)
        assert to_send(state, [file])[0] == []


def test_the_end_of_a_file_may_change_that_was_rejected_and_nothing_before_it(state: State, tmp_path: Path) -> None:
    file = tmp_path / "a.lp"
    file.write_text("m f=1 1\n")
    begin(state, [file], done=True)
    file.write_text("m f=1 1\nm f= 2\n")
    begin(state, [file], done=True, taken=0)
    file.write_text("m f=0 1\nm f=2 2\n")
    assert to_send(state, [file])[0] == []
    file.write_text("m f=1 1\nm f=2 2\n")
    [one] = begin(state, [file], done=True)
    assert (one.piece.body(), one.piece.line) == (b"m f=2 2\n", 2)
    assert to_send(state, [file])[1].known == 2


def test_a_state_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    file, path = tmp_path / "a.lp", tmp_path / "state"
    file.write_text(LINES)
    with State(path) as state:
        begin(state, [file], done=True, taken=0)
    with sqlite3.connect(path, isolation_level=None) as db:
        for column in ("taken", "rejected"):
            db.execute(f"alter table pieces drop column {column}")
        db.execute("pragma user_version = 0")
    db.close()
    with State(path) as state:
        assert to_send(state, [file])[1].known == 1
        file.write_text("m f=1 1\n")
        assert not to_send(state, [file])[1].complete


def test_what_the_ledger_does_not_remember_waits_for_a_decision(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.lp"
    file.write_text(LINES)
    begin(state, [file], done=False)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + HORIZON + 1)
    found, tally = to_send(state, [file])
    assert (found, tally.complete) == ([], False)
    assert "longer ago than the ledger remembers (72 h)" in tally.faults[0]
    assert len(to_send(state, [file], in_doubt="send")[0]) == 1
    assert to_send(state, [file], in_doubt="skip")[0] == []
    found, tally = to_send(state, [file])
    assert (found, tally.complete) == ([], True)


def test_one_import_has_a_state_at_a_time(state: State, tmp_path: Path) -> None:
    with state, pytest.raises(StoppedError, match="another import has it; wait for it, or say --state"):
        State(tmp_path / "folder" / "state")
    State(tmp_path / "folder" / "state")


def test_a_file_that_is_no_state_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("sensor_id,timestamp,value\n" * 100)
    with pytest.raises(StoppedError, match="it is no state of an import"):
        State(file)
    with pytest.raises(StoppedError, match="say --state to keep elsewhere"):
        State(file / "state")
    with pytest.raises(sqlite3.Error):
        sqlite3.connect(file).execute("select 1 from files")


def test_a_damaged_table_is_told_and_the_next_file_follows(state: State, tmp_path: Path) -> None:
    bad, good = tmp_path / "a.parquet", tmp_path / "b.lp"
    bad.write_bytes(b"PAR1 and no more")
    good.write_text(LINES)
    found, tally = to_send(state, [bad, good])
    assert [one.name for one in found] == [str(good)]
    assert tally.faults[0].startswith(f"{bad}: it cannot be read as parquet: ")
    assert not tally.complete


def test_names_tell_formats_and_what_tells_none_is_refused(tmp_path: Path) -> None:
    for name in ("a.csv", "b.jsonl.gz", "c.influx", "d.txt", "sub"):
        (tmp_path / name).touch()
    assert [form for _, form in files_of([tmp_path], None)] == [Form.CSV, Form.NDJSON, Form.LINES]
    assert len(list(files_of([tmp_path], Form.LINES))) == 5
    with pytest.raises(ReadError, match=r"d.txt: the name does not tell the format; say --format csv, ndjson"):
        list(files_of([tmp_path / "d.txt"], None))
    with pytest.raises(ReadError, match="nowhere: there is no such file"):
        list(files_of([tmp_path / "nowhere"], None))
