"""Line protocol, line by line: the parser that reads any body, and says what is wrong with a line that is none.

It follows InfluxData's own decoder (github.com/influxdata/line-protocol, v2): names may escape what would end them,
a string may hold newlines, and behind a fault reading goes on with the next line.
"""

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["Field", "LineFault", "Point", "parse", "parse_line"]

Field = float | int | bool | str
"""A field's value, by the type that the line gives it."""


class Point(NamedTuple):
    """What one line says.

    Attributes:
        line: its number in the body, from 0.
        measurement: what is measured.
        tags: names and values, in their order.
        fields: names and values, in their order.
        timestamp: in whatever unit the request says; None where the line has none.
    """

    line: int
    measurement: str
    tags: list[tuple[str, str]]
    fields: list[tuple[str, Field]]
    timestamp: int | None


class LineFault(NamedTuple):
    """A line that is none: its number in the body, from 0, and what is wrong."""

    line: int
    message: str


class _SyntaxError(ValueError):
    """A line breaks the grammar; the message says where and how."""


_CONTROL = rb"\x00-\x1f\x7f"
_MEASUREMENT = re.compile(rb"(?:\\[ ,]|[^, " + _CONTROL + rb"])*+")
_NAME = re.compile(rb"(?:\\[ ,=]|[^,= " + _CONTROL + rb"])*+")
_TAG_VALUE = re.compile(rb"(?:\\[ ,=]|[^,= \r\n])*+")
_STRING = re.compile(rb'"((?:\\["\\]|[^"])*+)"')
_NUMBER = re.compile(rb"[^, \r\n]*+")
_TIME = re.compile(rb"(-?[0-9]++)?+ *+(?=\r?\n|\r?\Z)")
_BLANK = re.compile(rb" *+(?:#[^\x00-\x09\x0b-\x1f\x7f]*?(?=\r?\n|\r?\Z))?(?:\r?\n|\r?\Z)")
_ESCAPED = re.compile(rb"\\([ ,=])")
_ESCAPED_IN_MEASUREMENT = re.compile(rb"\\([ ,])")
_ESCAPED_IN_STRING = re.compile(rb'\\(["\\])')
_FLOAT = re.compile(rb"-?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
_INTEGER = re.compile(rb"(-?[0-9]++)i")
_UNSIGNED = re.compile(rb"([0-9]++)u")
_BOOLEANS = {
    **dict.fromkeys((b"t", b"T", b"true", b"True", b"TRUE"), True),
    **dict.fromkeys((b"f", b"F", b"false", b"False", b"FALSE"), False),
}
_SHOWN = 60
_MOST_DIGITS = 4096
"""Of one number: Python reads more in a time that grows with their square."""


def parse(body: bytes) -> Iterator[Point | LineFault]:
    """Yield what each line of a body says, or what is wrong with it; empty lines and comments say nothing."""
    at, line = 0, 0
    while at < len(body):
        found, end = parse_line(body, at, line)
        if found is not None:
            yield found
        line += body.count(b"\n", at, end)
        at = end


def parse_line(body: bytes, at: int, line: int) -> tuple[Point | LineFault | None, int]:
    """Return what the line says that begins at `at`, None where it is empty or a comment, and where the next begins."""
    if blank := _BLANK.match(body, at):
        return None, blank.end()
    parser = _Parser(body, at)
    try:
        return parser.point(line), parser.at
    except _SyntaxError as error:
        # As InfluxDB does: what follows the fault on its line is passed over, even where a string began.
        found = body.find(b"\n", parser.at)
        end = len(body) if found < 0 else found + 1
        return LineFault(line, str(error)), end


class _Parser:
    """Reads one line from `at` on, and moves on past it."""

    def __init__(self, body: bytes, at: int) -> None:
        self.body = body
        self.at = at

    def point(self, line: int) -> Point:
        """Return what the line says.

        Raises:
            _SyntaxError: it is none.
        """
        self._spaces()
        measurement = self._token(_MEASUREMENT, _ESCAPED_IN_MEASUREMENT, "the measurement")
        if measurement.startswith("#"):
            raise _SyntaxError("a comment holds a control character")
        tags = list(self._tags())
        if twice := _twice(tags):
            raise _SyntaxError(f"tag {twice[:_SHOWN]!r} stands more than once")
        if not self._spaces():
            raise _SyntaxError(f"a space and a field must follow the measurement and its tags, not {self._next()}")
        fields = list(self._fields())
        if twice := _twice(fields):
            raise _SyntaxError(f"field {twice[:_SHOWN]!r} stands more than once")
        return Point(line, measurement, tags, fields, self._timestamp())

    def _tags(self) -> Iterator[tuple[str, str]]:
        while self._taken(b","):
            name = self._token(_NAME, _ESCAPED, "the name of a tag")
            if not self._taken(b"="):
                raise _SyntaxError(f"tag {name[:_SHOWN]!r} has no = and value")
            yield name, self._token(_TAG_VALUE, _ESCAPED, f"the value of tag {name[:_SHOWN]!r}")

    def _fields(self) -> Iterator[tuple[str, Field]]:
        while True:
            name = self._token(_NAME, _ESCAPED, "the name of a field")
            if not self._taken(b"="):
                raise _SyntaxError(f"field {name[:_SHOWN]!r} has no = and value")
            yield name, self._value(name)
            if not self._taken(b","):
                return

    def _value(self, name: str) -> Field:
        if self.body[self.at : self.at + 1] == b'"':
            string = _STRING.match(self.body, self.at)
            if string is None:
                raise _SyntaxError(f"the string of field {name[:_SHOWN]!r} has no closing quotation mark")
            self.at = string.end()
            return _text(_ESCAPED_IN_STRING.sub(rb"\1", string[1]), f"the string of field {name[:_SHOWN]!r}")
        found = _NUMBER.match(self.body, self.at)
        text = found[0] if found else b""
        self.at += len(text)
        try:
            return _number(text)
        except ValueError as error:
            raise _SyntaxError(f"field {name[:_SHOWN]!r}: {_shown(text)!r} {error}") from None

    def _timestamp(self) -> int | None:
        spaces = self._spaces()
        found = _TIME.match(self.body, self.at)
        if found is None or (found[1] is not None and not spaces):
            rest = self.body[self.at :].split(b"\n", 1)[0]
            raise _SyntaxError(f"{_shown(rest)!r} stands where a timestamp, a whole number, or the line's end belongs")
        if found[1] is not None and (len(found[1]) > _MOST_DIGITS or not -(2**63) <= int(found[1]) < 2**63):
            raise _SyntaxError(f"timestamp {_shown(found[1])} is beyond 64 bits")
        self.at = found.end()
        for end in (b"\r\n", b"\n", b"\r"):
            if self._taken(end):
                break
        return None if found[1] is None else int(found[1])

    def _token(self, kind: re.Pattern[bytes], escaped: re.Pattern[bytes], what: str) -> str:
        found = kind.match(self.body, self.at)
        raw = found[0] if found else b""
        if not raw:
            raise _SyntaxError(f"{what} is missing: found {self._next()} in its place")
        self.at += len(raw)
        return _text(escaped.sub(rb"\1", raw) if b"\\" in raw else raw, what)

    def _taken(self, mark: bytes) -> bool:
        if not self.body.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def _spaces(self) -> bool:
        before = self.at
        while self.body.startswith(b" ", self.at):
            self.at += 1
        return self.at > before

    def _next(self) -> str:
        return repr(_shown(self.body[self.at : self.at + 1])) if self.at < len(self.body) else "the end"


def _twice(pairs: Sequence[tuple[str, Field]]) -> str | None:
    names = [name for name, _ in pairs]
    return next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None


def _number(text: bytes) -> float | int | bool:
    """Return a number or truth value.

    Raises:
        ValueError: it is none, or beyond what its type holds.
    """
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if len(text) > _MOST_DIGITS:
        raise ValueError("is too long for a number")
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError("is beyond the range of a float")
        return number
    if signed := _INTEGER.fullmatch(text):
        if not -(2**63) <= int(signed[1]) < 2**63:
            raise ValueError("is beyond 64 bits")
        return int(signed[1])
    if unsigned := _UNSIGNED.fullmatch(text):
        if int(unsigned[1]) >= 2**64:
            raise ValueError("is beyond 64 bits")
        return int(unsigned[1])
    raise ValueError("is no number, truth value or quoted string")


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _SyntaxError(f"{what} is not UTF-8") from None


def _shown(raw: bytes) -> str:
    return raw[:_SHOWN].decode(errors="backslashreplace")
