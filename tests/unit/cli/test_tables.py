"""Rows become a table or lines, and nothing of them is lost or moves the cursor."""

import io
from typing import Any

import httpx
import orjson
import pytest
from millrace_client import Answer, Client, Question
from rich.console import Console

from services.cli.questions.table import show, tell


def table(rows: list[dict[str, Any]], width: int = 60) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, no_color=True, color_system=None)
    assert show(rows, console) == len(rows)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def answer(body: bytes) -> Answer:
    """Return what a service answers by such a body, which comes in small parts."""

    def answered(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=iter([body[place : place + 7] for place in range(0, len(body), 7)]))

    client = Client("http://query", transport=httpx.MockTransport(answered))
    return client.answer(Question.of("/series", {}))


def test_a_table_keeps_its_columns_from_block_to_block() -> None:
    found = table([{"sensor_id": "a" * (step % 9), "value": step / 7} for step in range(500)]).splitlines()
    assert len(found) == 502, "one heading"
    assert len({line.rstrip()[-1] for line in found[2:]} - set("0123456789")) == 0
    assert len({len(line.rstrip()) for line in found[3:203]}) == 1


def test_whatever_does_not_fit_is_folded_and_not_cut() -> None:
    text = "abcdefghij" * 12
    found = table([{"sensor_id": text, "value": 1.5, "name": None}])
    assert "".join(found.split()).count("abcdefghij") >= 6
    assert sum(line.count(sign) for line in found.splitlines()[2:] for sign in "abcdefghij") == len(text)


def test_what_would_move_the_cursor_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[2J\r\t\u202e"
    assert "\x1b" not in table([{"sensor_id": evil, evil: 1}])
    show([{"sensor_id": evil, "labels": {evil: evil}}], Console(file=io.StringIO()))
    [heading, line] = capsys.readouterr().out.splitlines()
    assert (heading.count("\t"), line.count("\t")) == (1, 1)
    assert line.isascii()


def test_an_answer_is_read_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"sensor_id": "größe", "timestamp": "2025-10-22T21:00:00Z", "avg": None, "labels": {"a": ["b", {}]}}, {}]
    meta = {
        "source": [{"start": "s", "end": "e", "from": "rows"}],
        "bucket": None,
        "cut": {"first": True, "last": False},
    }
    read = answer(orjson.dumps({"data": rows, "meta": meta, "next": "abc"}))
    assert list(read) == rows
    assert (read.meta, read.next) == (meta, "abc")
    tell(read, 2, "--cursor")
    told = ["2 rows", "source: rows from s to e", "cut: first", "more follow: --cursor abc"]
    assert capsys.readouterr().err.splitlines() == told
