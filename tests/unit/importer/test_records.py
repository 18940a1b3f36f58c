"""Records end where ingest's own decoders say, whatever part of a file is looked at."""

import csv
import io
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.importer import records
from services.importer.records import Ends, ends_of_csv, ends_of_lines, ends_of_ndjson
from services.ingest.doors.line_protocol.grammar import parse_line

EndsOf = Callable[..., Ends]

csv_texts = st.lists(st.sampled_from(['"', '""', ",", "\n", "\r\n", "\r", "a", "é", "7", " "]), max_size=40).map(
    "".join
)
line_texts = st.lists(
    st.sampled_from(
        [
            'm f="',
            '" 1\n',
            "m,t=a f=1 2\n",
            '"',
            "\\",
            '\\"',
            "\n",
            "\r\n",
            " ",
            ",",
            "=",
            "a",
            "1",
            "# ",
            'a="b"',
            "\0",
        ]
    ),
    max_size=30,
).map("".join)


def pieces(data: bytes, ends: Ends) -> list[bytes]:
    return [data[start:end] for start, end in zip([0, *ends.tolist()], ends.tolist(), strict=False)]


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@given(csv_texts)
@example('a"b,"c\nd",1\n"x\n')
def test_csv_is_cut_between_the_rows_that_its_decoder_reads(text: str) -> None:
    data = text.encode()
    found = pieces(data, ends_of_csv(data, last=True))
    assert b"".join(found) == data
    # A text that is open at the end is one record for the decoder, and line by line here, to find the faulty one.
    closed = [piece for piece in found if len(rows_of(piece.decode())) == 1]
    opens = len(found) - len(closed)
    if opens == 0 and rows_of(text) == [row for piece in found for row in rows_of(piece.decode())]:
        return
    strict = csv.reader(io.StringIO(text, newline=""), strict=True)
    with pytest.raises(csv.Error):
        list(strict)


@given(line_texts)
@example('m f="a\nb" 1\nm f=1 2\n')
@example('a\\\\ b="c d=",e=",g="\nm" 1\n')
def test_lines_are_cut_where_the_grammar_ends_them(text: str) -> None:
    data = text.encode()
    at, expected = 0, list[int]()
    while at < len(data):
        _, at = parse_line(data, at, 0)
        expected.append(at)
    assert ends_of_lines(data, last=True).tolist() == expected


@pytest.mark.parametrize("ends_of", [ends_of_csv, ends_of_lines, ends_of_ndjson])
@given(st.data())
def test_ends_that_were_found_in_a_part_stay_where_more_is_read(ends_of: EndsOf, data: st.DataObject) -> None:
    whole = data.draw(csv_texts if ends_of is ends_of_csv else line_texts).encode()
    part = whole[: data.draw(st.integers(0, len(whole)))]
    early, all_ends = ends_of(part, last=False).tolist(), ends_of(whole, last=True).tolist()
    assert early == all_ends[: len(early)]


@pytest.mark.parametrize(
    ("ends_of", "opened"), [(ends_of_csv, b'"open,1\n'), (ends_of_lines, b'm f="open 1\n')], ids=["csv", "lines"]
)
def test_a_text_that_is_never_closed_costs_its_line_alone(
    ends_of: EndsOf, opened: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MOST_RECORD", 100)
    good = b"m f=1 2\n" * 20
    assert pieces(opened + good, ends_of(opened + good, last=False))[:2] == [opened, b"m f=1 2\n"]
    short = opened + good[:48]
    assert ends_of(short, last=False).tolist() == []
