"""Line protocol: what the grammar reads, and that the fast way reads nothing otherwise."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.contract import series_id, series_of
from services.ingest import naming
from services.ingest.doors.line_protocol import decode as decoding
from services.ingest.doors.line_protocol.decode import PRECISIONS, Lines, LinesDecoder
from services.ingest.doors.line_protocol.grammar import LineFault, Point, parse
from services.ingest.readings import Fault
from services.platform.http.errors import Problem

NOW = 1_761_166_800_000_000


def decoded(body: bytes, unit: str = "ns", labels: tuple[tuple[str, str], ...] = ()) -> Lines:
    return LinesDecoder().decode(body, PRECISIONS[unit], labels, NOW)


def rows(lines: Lines) -> list[tuple[Any, ...]]:
    columns, positions = lines.decoded.columns(), lines.decoded.positions
    assert positions is not None
    ids = [columns.sensor_ids[code] for code in columns.index]
    named = zip(positions.tolist(), ids, columns.timestamps.tolist(), columns.values.tolist(), strict=True)
    return [(line, columns.series[sensor_id], *rest) for line, sensor_id, *rest in named]


@pytest.mark.parametrize(
    ("line", "point"),
    [
        (b"m v=1", Point(0, "m", [], [("v", 1.0)], None)),
        (b"m,a=b,c=d v=1i,w=2u -5\r\n", Point(0, "m", [("a", "b"), ("c", "d")], [("v", 1), ("w", 2)], -5)),
        (b"m x=t,y=F", Point(0, "m", [], [("x", True), ("y", False)], None)),
        (rb"my\ name\,x,a\=b=c\ d f\,g=.5e1 7", Point(0, "my name,x", [("a=b", "c d")], [("f,g", 5.0)], 7)),
        (rb'm v="a \"b\" \\ c,d = e" 1 ', Point(0, "m", [], [("v", r'a "b" \ c,d = e')], 1)),
        (b'm v="two\nlines" 1', Point(0, "m", [], [("v", "two\nlines")], 1)),
        (rb"m\x,a=\y v=1", Point(0, r"m\x", [("a", r"\y")], [("v", 1.0)], None)),
        ("größe,ort=köln v=1".encode(), Point(0, "größe", [("ort", "köln")], [("v", 1.0)], None)),
    ],
)  # fmt: skip
def test_the_grammar_reads_what_lines_say(line: bytes, point: Point) -> None:
    assert list(parse(line)) == [point]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"m", "a field must follow"), (b"m,a=b", "a field must follow"), (b"m v", "field 'v' has no ="),
        (b"m,a v=1", "tag 'a' has no ="), (b"m,a= v=1", "the value of tag 'a' is missing"),
        (b"m,a=1,a=2 v=1", "tag 'a' stands more than once"), (b"m v=1,v=2", "field 'v' stands more than once"),
        (b"m v=x", "'x' is no number"), (b"m v=1.5i", "is no number"), (b"m v=-1u", "is no number"),
        (b"m v=9223372036854775808i", "beyond 64 bits"), (b"m v=1e999", "beyond the range"),
        (b"m v=0x10", "is no number"), (b",a=b v=1", "the measurement is missing"),
        (b'm v="a', "no closing quotation mark"), (b"m v=1 1.5", "'1.5' stands where a timestamp"),
        (b"m v=1 5 6", "'5 6' stands"), (b"m v=1 99999999999999999999", "beyond 64 bits"),
        (b"\xff v=1", "is not UTF-8"), (b"m v=1,", "the name of a field is missing"),
        (b"m v=" + b"1" * 5000, "too long"),
    ],
)  # fmt: skip
def test_a_line_that_is_none_is_told_by_what_is_wrong_and_the_next_is_read(line: bytes, told: str) -> None:
    fault, *others = parse(line + b"\nnext v=1\n")
    assert isinstance(fault, LineFault)
    assert told in fault.message
    assert others in ([Point(1, "next", [], [("v", 1.0)], None)], [])
    assert others or line.count(b'"') % 2


def test_comments_and_empty_lines_say_nothing_and_are_counted() -> None:
    assert list(parse(b"# a\n\n  \r\n # b\nm v=1\n#")) == [Point(4, "m", [], [("v", 1.0)], None)]


@pytest.mark.parametrize(
    ("unit", "written", "micros"),
    [
        ("ns", 1_761_166_800_123_456_789, 1_761_166_800_123_456), ("us", 1_761_166_800_123_456, 1_761_166_800_123_456),
        ("ms", 1_761_166_800_123, 1_761_166_800_123_000), ("s", 1_761_166_800, NOW), ("m", 29_352_780, NOW),
        ("h", 489_213, NOW), ("auto", 1_761_166_800, NOW), ("auto", 1_761_166_800_123, 1_761_166_800_123_000),
        ("auto", 1_761_166_800_123_456, 1_761_166_800_123_456),
        ("auto", 1_761_166_800_123_456_789, 1_761_166_800_123_456),
    ],
)  # fmt: skip
def test_timestamps_are_read_in_their_unit(unit: str, written: int, micros: int) -> None:
    [(_, _, found, _)] = rows(decoded(b"m v=1 %d" % written, unit))
    assert found == micros


def test_each_field_is_a_series_and_databases_are_labels_that_give_way_to_tags() -> None:
    labels = (("db", "telegraf"), ("rp", "week"))
    found = rows(decoded(b"cpu,host=a,db=x usage=1.5,idle=2i 1\n", "s", labels))
    tags = [("host", "a"), ("db", "x"), ("_db", "telegraf"), ("rp", "week")]
    assert found == [
        (0, series_of("cpu", tags, "usage"), 1_000_000, 1.5),
        (0, series_of("cpu", tags, "idle"), 1_000_000, 2.0),
    ]


def test_texts_are_counted_and_left_out_and_lines_without_a_time_get_the_present() -> None:
    lines = decoded(b'm a="x",b=1 5000\nm a="y"\nm b=2')
    assert [(line, time, value) for line, _, time, value in rows(lines)] == [(0, 5, 1.0), (2, NOW, 2.0)]
    assert lines.decoded.skipped == {"strings": 2}
    assert not lines.timed
    assert decoded(b"m a=1 5001").decoded.skipped == {"nanoseconds": 1}


def test_a_series_beyond_the_limits_and_too_many_readings_are_refused() -> None:
    [fault] = decoded(b"m,%s=x v=1 5" % (b"n" * 129)).decoded.faults
    assert (fault.index, fault.code) == (0, "malformed_line")
    assert "129 characters" in fault.message
    with pytest.raises(Problem, match="send smaller batches"):
        decoded(b"m v=1 5\n" * 500_001)


NAMES = st.sampled_from([
    "m", "a", "b", "cpu", "größe", "i", "t", "1", "", "a b", "a,b", "a=b", 'q"', "b\\", "}", "x:y", "\x7f", "#",
])  # fmt: skip
VALUES = st.sampled_from([
    "1", "1.5", "-2", "3i", "-4i", "5u", "t", "FALSE", "True", "1e5", "1e5i", "1.5i", "", "x", '"s"', '"a b,c=1"',
    '"two\nlines"', '"open', "1e999", "9223372036854775807i", "9223372036854775808i", "01", ".5", "5.", "-", "1,2",
    "null", "NaN", "1]", "[1", "1},{",
])  # fmt: skip
TIMES = st.sampled_from([
    " 5", " 1761166800000000000", " -7", "", " ", " 1.5", " 5 6", "  5", " 99999999999999999999", " x", "\t5",
])  # fmt: skip
ENDS = st.sampled_from(["\n", "\n", "\n", "\r\n", "\n\n", "\n# comment\n", ""])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    def pairs(least: int) -> str:
        made = draw(st.lists(st.tuples(NAMES, VALUES), min_size=least, max_size=3))
        return ",".join(f"{name}={value}" for name, value in made)

    lines = []
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.integers(0, 3)):
            lines.append(draw(st.sampled_from(["cpu,host=a u=1,v=2 5\n", "cpu u=1i 6\n", "mem,host=b free=7 8\n"])))
        else:
            tags = pairs(0)
            head = draw(NAMES) + (f",{tags}" if tags else "")
            lines.append(f"{head} {pairs(1)}{draw(TIMES)}{draw(ENDS)}")
    return "".join(lines).encode()


def by_the_grammar(body: bytes) -> Lines:
    """Return what a body says where nothing is taken apart but by the grammar."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decoding, "_fast", lambda *_: None)
        patched.setattr(decoding, "_apart", lambda whole: (whole, list(range(whole.count(b"\n") + 1)), []))
        return decoded(body)


@given(bodies())
@example(b"a,1=b=2 f=1 5\n")
@example(b"a f=1,b=1=2 5\nb f=1 5")
@example(b"a f=1\n7 b f=2 5")
@example(b"\n\nm v=1 5")
@example(b'm,t=" v="x\ny" 5\nm v=1 6')
@example(b"m v=1 5,6\nm v=2 7")
def test_the_fast_way_reads_what_the_grammar_reads(body: bytes) -> None:
    quick, plain = decoded(body), by_the_grammar(body)
    assert rows(quick) == rows(plain)
    assert quick.timed == plain.timed
    assert quick.decoded.skipped == plain.decoded.skipped
    assert sorted(map(told, quick.decoded.faults)) == sorted(map(told, plain.decoded.faults))


@pytest.mark.parametrize(
    "body",
    [
        b"cpu,host=a usage=1.5 1761166800000000000\n",
        b"cpu,host=a usage=1.5,idle=2i,on=true 5\nmem,host=a free=7,used=1i 5",
        b"cpu,host=a usage=1i 5\ncpu,host=b usage=-2i 5\n",
    ],
)
def test_bodies_as_agents_write_them_go_the_fast_way(body: bytes) -> None:
    assert decoding._fast(body, (), decoding._Known()) is not None


def told(fault: Fault) -> tuple[int, str]:
    return fault.index, fault.message


@given(st.binary(max_size=60))
def test_any_bytes_are_readings_or_faults(body: bytes) -> None:
    lines = decoded(body)
    for _, series, _, _ in rows(lines):
        assert series_id(series)


def test_what_was_met_is_forgotten_once_it_is_much_and_found_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "_MOST_REMEMBERED", 20_000)
    decoder, known = LinesDecoder(), list[object]()
    for turn in range(50):
        body = b"".join(
            b"m,host=%d a=%d,b=2 5\nm,host=%d a=3 6\n" % (host, turn, host) for host in range(turn, turn + 5)
        )
        lines = decoder.decode(body, 1, [], NOW)
        known.append(decoder._known)
        assert rows(lines) == rows(by_the_grammar(body))
    assert len(set(map(id, known))) > 2
