"""Files are cut so that no record is lost, doubled or broken, at whatever size, and however they have grown."""

import gzip
import io
from unittest.mock import patch

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from services.importer import text
from services.importer.errors import ChangedError, ReadError
from services.importer.forms import Form, Words
from services.importer.pieces import ENDS_OF, TextPiece, hint_of, key_of
from services.importer.state import Sent
from services.importer.text import Text, unpacked

RECORDS = {
    Form.CSV: [b'"a, b",2025-10-22T21:00:00Z,1\n', b'"a\n""b",x,2\r\n', b"a,x,3\n", b"\n", b'5" pipe,x,4\n'],
    Form.NDJSON: [b'{"sensor_id": "a"}\n', b'{"x": "\\n"}\r\n', b"\n", b"{}\n"],
    Form.LINES: [b"m f=1 2\n", b'm,t=a\\ b f=1,s="x\ny" 3\n', b'm s="a, b" 4\n', b"# note\n", b"m f= 5\n"],
}
HEAD = b'"sensor\n_id",timestamp,value\n'

forms = st.sampled_from(list(RECORDS))
sizes = st.integers(1, 200)


def files(form: Form) -> st.SearchStrategy[bytes]:
    head = HEAD if form is Form.CSV else b""
    return st.lists(st.sampled_from(RECORDS[form]), max_size=30).map(lambda records: head + b"".join(records))


def opened(data: bytes, form: Form, words: Words | None = None, *, growing: bool = False) -> Text:
    return Text("some", io.BytesIO(data), form, words or Words(), growing=growing)


def cut(data: bytes, form: Form, size: int, words: Words | None = None) -> list[TextPiece]:
    with patch.object(text, "PIECE_BYTES", size), patch.object(text, "_PART", 2 * size + len(HEAD)):
        return list(opened(data, form, words).rest())


def records_of(piece: TextPiece) -> list[bytes]:
    ends = ENDS_OF[piece.form](piece.content, last=True).tolist()
    return [piece.content[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(st.data(), forms, sizes)
def test_pieces_are_all_of_the_file_and_whole_records(data: st.DataObject, form: Form, size: int) -> None:
    file = data.draw(files(form))
    found = cut(file, form, size)
    head = HEAD if form is Form.CSV else b""
    content = file[len(head) :]
    kept = [record for one in found for record in records_of(one)]
    everything = records_of(TextPiece(form, 0, 1, "", b"", content))
    # A piece of blank lines alone is not sent.
    assert [record for record in kept if record.strip()] == [record for record in everything if record.strip()]
    assert all(one.content == file[one.offset : one.offset + one.length] for one in found)
    assert all(one.line == file.count(b"\n", 0, one.offset) + 1 for one in found)
    assert all(one.head == head for one in found)
    assert all(len(one.content) - len(records_of(one)[-1]) < size for one in found)
    # One at most for each multiple of the size, and for the rest.
    assert len(found) <= len(file) // size + 1


@given(st.data(), forms, sizes)
def test_a_file_that_grows_and_imports_that_break_off_post_each_record_under_one_key(
    data: st.DataObject, form: Form, size: int
) -> None:
    """The ledger is a mapping here: what is posted again under its key counts once."""
    file = data.draw(files(form))
    ledger, sent = dict[str, TextPiece](), list[Sent]()
    for length in [*sorted(data.draw(st.lists(st.integers(0, len(file)), max_size=4))), len(file)]:
        part = file[:length]
        with patch.object(text, "PIECE_BYTES", size), patch.object(text, "_PART", 2 * size + len(HEAD)):
            read = opened(part, form, growing=True)
            begun = [piece for piece, one in zip(read.begun(sent), sent, strict=True) if not one.done]
            # What is begun ends at once; of what follows, somebody kills it behind a few pieces.
            rest = list(read.rest())[: data.draw(st.integers(0, 5)) if length < len(file) else None]
        for one in begun + rest:
            ledger[key_of(one, "")] = one
        done = {one.offset: data.draw(st.sampled_from([0, 1])) for one in rest}
        sent = [
            *(Sent(one.offset, one.length, one.line, one.target, one.digest, 0, 1) for one in sent),
            *(Sent(one.offset, one.length, one.line, one.target, one.digest, 0, done[one.offset]) for one in rest),
        ]
    posted = sorted(ledger.values(), key=lambda one: one.offset)
    found = [record for one in posted for record in records_of(one) if record.strip()]
    content = file[len(HEAD) :] if form is Form.CSV else file
    assert found == [record for record in records_of(TextPiece(form, 0, 1, "", b"", content)) if record.strip()]


@given(st.data(), forms, sizes)
def test_halves_are_the_piece_and_name_the_same_records(data: st.DataObject, form: Form, size: int) -> None:
    for piece in cut(data.draw(files(form)), form, size):
        halves = piece.halves()
        assert bool(halves) == (len(records_of(piece)) > 1)
        if halves:
            assert b"".join(half.content for half in halves) == piece.content
            assert [told for half in halves for told in half.records()] == piece.records()
            assert [half.offset for half in halves] == [piece.offset, piece.offset + halves[0].length]


def test_the_records_of_a_piece_are_counted_as_ingest_counts_them() -> None:
    [piece] = cut(HEAD + b"\n" + b"".join(RECORDS[Form.CSV]), Form.CSV, 1000)
    assert [(one.line, one.record) for one in piece.told([1, 3])] == [(5, '"a\n""b",x,2'), (9, '5" pipe,x,4')]
    [piece] = cut(b"".join(RECORDS[Form.LINES]), Form.LINES, 1000)
    assert [(one.line, one.record) for one in piece.told([5])] == [(6, "m f= 5")]


def test_an_export_says_for_each_piece_of_which_database_it_is() -> None:
    export = (
        b'# INFLUXDB EXPORT: a - b\n# DDL\nCREATE DATABASE "x y" WITH NAME autogen\n\n# DML\n# CONTEXT-DATABASE:x y\n'
        b"# CONTEXT-RETENTION-POLICY:autogen\n# writing tsm data\nm f=1 1\n"
        b"# CONTEXT-RETENTION-POLICY: long\r\nm f=2 1\n"
        b'm s="\n# CONTEXT-DATABASE:no\n" 1\n# CONTEXT-DATABASE:z\nm f=3 1\n'
    )
    for size in (8, 1000):
        found = [(one.target, one.content) for one in cut(export, Form.LINES, size) if b"f=" in one.content]
        targets = {content.splitlines()[-1][:5]: target.partition("precision=ns")[2] for target, content in found}
        assert targets[b"m f=1"] == "&db=x+y"
        assert targets[b"m f=3"] == "&db=z&rp=long"
        assert {target for target, content in found if b"f=2" in content} == {"/write?precision=ns&db=x+y&rp=long"}
    chosen = Words(precision="s", database="own", retention_policy="p")
    assert {one.target for one in cut(export, Form.LINES, 8, chosen)} == {"/write?precision=s&db=own&rp=p"}


@pytest.mark.parametrize(
    ("head", "wide", "hint"),
    [
        (b"timestamp,a,b", False, "if its columns are sensors, say --layout wide"),
        (b"time,a,b", False, "if its columns are sensors, say --layout wide"),
        (b"timestamp,a,b", True, ""),
        (b"timestamp,a", False, ""),
        (b"\xef\xbb\xbfsensor_id,a,b", False, ""),
        (b"name,a,b", False, ""),
        (b"who,timestamp,value", False, ""),
        (b"sensor_id;timestamp;value", False, "columns are separated by commas"),
        (b"timestamp\ta\tb", True, "columns are separated by commas"),
        (b"timestamp", False, ""),
        (b"x" * 200_000 + b";", False, ""),
    ],
)
def test_a_header_that_is_nearly_right_has_a_hint(head: bytes, wide: bool, hint: str) -> None:
    piece = TextPiece(Form.CSV, len(head) + 1, 2, Words(wide=wide).target(Form.CSV), head + b"\n", b"1,2,3\n")
    assert hint_of(piece).startswith(hint)
    assert bool(hint_of(piece)) == bool(hint)


def test_wide_tables_are_cut_into_few_rows() -> None:
    file = b"timestamp" + b",s" * 9_999 + b"\n" + b"1" * 10 + b",1" * 9_999 + b"\n"
    found = cut(file + file.splitlines(keepends=True)[1] * 9, Form.CSV, 1 << 20, Words(wide=True))
    assert [len(records_of(one)) for one in found] == [4, 4, 2]


@pytest.mark.parametrize("packed", [gzip.compress, zstandard.compress, bytes])
def test_a_file_may_be_compressed(packed: object) -> None:
    data = b"m f=1 1\n" * 100
    assert callable(packed)
    file = io.BufferedReader(io.BytesIO(packed(data)))
    [piece] = Text("some", unpacked(file), Form.LINES, Words(), growing=False).rest()
    assert piece.content == data


def test_a_file_that_is_cut_off_is_told_behind_what_could_be_read() -> None:
    data = b"".join(b"m f=%d %d\n" % (number, number * 7919 % 1_000_003) for number in range(100_000))
    file = io.BufferedReader(io.BytesIO(gzip.compress(data, 1)[:-1000]))
    rest = Text("some", unpacked(file), Form.LINES, Words(), growing=False).rest()
    read = b""
    try:
        for piece in rest:
            read += piece.content
    except ReadError as error:
        told = str(error)
    assert told.startswith("some: it cannot be read to its end: ")
    assert read.endswith(b"\n")
    assert data.startswith(read)
    assert len(read) > len(data) - 200_000


def test_what_follows_a_line_that_was_not_whole_is_refused() -> None:
    file = b"m f=1 1\nm f=2 2"
    [piece] = cut(file, Form.LINES, 1000)
    sent = [Sent(piece.offset, piece.length, piece.line, piece.target, piece.digest, 0, 1)]
    for more in (b"", b"\n", b"\r\nm f=3 3\n"):
        assert len(list(opened(file + more, Form.LINES).begun(sent))) == 1
    with pytest.raises(ChangedError, match="some: line 2 was not whole when it was imported; say --growing"):
        list(opened(file + b"7\n", Form.LINES).begun(sent))


def test_what_was_imported_and_has_changed_is_refused() -> None:
    [piece] = cut(b"m f=1 1\nm f=2 2\n", Form.LINES, 1000)
    sent = [Sent(piece.offset, piece.length, piece.line, piece.target, piece.digest, 0, 1)]
    for changed in (b"m f=1 1\nm f=3 2\n", b"m f=1 1\n", b""):
        with pytest.raises(ChangedError, match="from line 1 on is not what stands there now"):
            list(opened(changed, Form.LINES).begun(sent))
