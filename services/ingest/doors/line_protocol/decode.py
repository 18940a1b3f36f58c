"""Line protocol to columns: a fast way for bodies as agents write them, and `grammar` for all others.

The fast way takes whole bodies apart by the separators, which is right only where none is escaped or quoted and each
line has measurement, fields and timestamp; it hands what does not fit to the grammar. Both come to the same readings.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.contract import Columns, SeriesError
from services.contract.instants import GUESSED, micros_in
from services.platform.http.errors import Problem

from ...naming import Dictionary, KnownSeries, Named, SeriesDictionary, identified
from ...readings import AGENT_ROWS, Decoded, Fault
from .grammar import LineFault, Point, parse, parse_line

__all__ = ["PRECISIONS", "Lines", "LinesDecoder"]

PRECISIONS: Mapping[str, int] = {
    **dict.fromkeys(("n", "ns", "nanosecond"), 1),
    **dict.fromkeys(("u", "us", "µ", "µs", "microsecond"), 1_000),
    **dict.fromkeys(("ms", "millisecond"), 1_000_000),
    **dict.fromkeys(("s", "second"), 1_000_000_000),
    **dict.fromkeys(("m", "minute"), 60_000_000_000),
    **dict.fromkeys(("h", "hour"), 3_600_000_000_000),
    "auto": 0,
}
"""Nanoseconds of one unit of a timestamp; 0 where each timestamp's size tells."""

_LARGEST_INTEGER = 2.0**63
_NO_INTEGER = re.compile(rb"[.eE][0-9+-]*i[,\n]")
_MAYBE_TRUTH = re.compile(rb"=[tTfF]")
_TRUE = re.compile(rb"=(?:t|T|true|True|TRUE)(?=[,\n])")
_FALSE = re.compile(rb"=(?:f|F|false|False|FALSE)(?=[,\n])")

_objects = msgspec.json.Decoder(list[dict[str, float]])
_integers, _floats = msgspec.json.Decoder(list[int]), msgspec.json.Decoder(list[float])

Labels = tuple[tuple[str, str], ...]
"""Names and values that each series of a body gets beside its tags."""

Names = tuple[str, ...]
"""Of the fields of a line."""


class Lines(NamedTuple):
    """What a body of lines says.

    Attributes:
        decoded: its readings, a row a field; positions and faults are of lines.
        timed: whether each reading has a time of its own.
    """

    decoded: Decoded
    timed: bool


class _Rows(NamedTuple):
    """Readings of lines; all arrays have one item a reading."""

    lines: NDArray[np.intp]
    codes: NDArray[np.uint32]
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    untimed: NDArray[np.bool_]


_NONE = _Rows(np.empty(0, np.intp), np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0), np.empty(0, np.bool_))


class _Known(KnownSeries):
    """Series, and their numbers by what lines say."""

    def __init__(self) -> None:
        super().__init__()
        self._heads: dict[tuple[Labels, Names], dict[bytes, tuple[int, ...]]] = {}

    def heads(self, labels: Labels, names: Names) -> dict[bytes, tuple[int, ...]]:
        """Return the numbers of the series of lines that have fields of these names, by what stands before these."""
        return self._heads.get((labels, names), {})

    def found(self, head: bytes, labels: Labels, names: Names) -> tuple[int, ...] | None:
        """Return the numbers of a line's series, known or new, read by the grammar; None where that finds a fault."""
        numbers = self.heads(labels, names).get(head)
        if numbers is None:
            points = list(parse(head + b" " + b",".join(name.encode() + b"=0" for name in names)))
            if len(points) != 1 or not isinstance(points[0], Point):
                return None
            if [name for name, _ in points[0].fields] != list(names):
                return None
            try:
                called = _called(points[0].measurement, points[0].tags, names, labels)
            except SeriesError:
                return None
            size = len(head) + sum(map(len, names))
            numbers = tuple(self.number(one, size) for one in called)
            self._heads.setdefault((labels, names), {})[head] = numbers
        return numbers


def _called(
    measurement: str, tags: Iterable[tuple[str, str]], names: Iterable[str], labels: Labels
) -> tuple[Named, ...]:
    """Return the series of a line's fields, with labels beside its tags.

    Raises:
        SeriesError: one breaks the limits.
    """
    found = dict(tags)
    for name, value in labels:
        while name in found:
            name = f"_{name}"  # noqa: PLW2901 -- the tag keeps its name
        found[name] = value
    return tuple(identified(measurement, found, name) for name in names)


class LinesDecoder:
    """Decodes bodies, and remembers what their series are called. One a process."""

    def __init__(self) -> None:
        self._known = _Known()

    def decode(self, body: bytes, unit: int, labels: Sequence[tuple[str, str]], now: int) -> Lines:
        """Return the readings of a body.

        Args:
            body: lines.
            unit: nanoseconds of one unit of a timestamp; 0 where each one's size tells.
            labels: names and values that each series gets beside its tags.
            now: the time of lines without one, in microseconds since 1970.

        Raises:
            Problem: `too_many_rows`.
        """
        if self._known.full:
            self._known = _Known()
        given, dictionary = tuple(labels), Dictionary([], {}, 0)
        plain, numbers, said = _apart(body)
        fast = _fast(plain, given, self._known)
        if fast is None:
            said += [one if numbers is None else one._replace(line=numbers[one.line]) for one in parse(plain)]
            rows = _NONE
        else:
            rows, dictionary = fast
            if numbers is not None:
                rows = rows._replace(lines=np.array(numbers, np.intp)[rows.lines])
        faults = [one for one in said if isinstance(one, LineFault)]
        skipped = Counter[str]()
        if said:
            growing = SeriesDictionary.beginning(dictionary)
            others = _rows((one for one in said if isinstance(one, Point)), given, growing, faults, skipped)
            dictionary = growing.done()
            rows = _in_order(rows, others)
        if len(rows.values) > AGENT_ROWS:
            detail = f"{len(rows.values)} readings in one body; at most {AGENT_ROWS} are taken: send smaller batches"
            raise Problem("too_many_rows", detail)
        times = np.where(rows.untimed, now, _micros(rows.times, unit, skipped))
        columns = Columns(dictionary.sensor_ids, rows.codes, times, rows.values, dictionary.series)
        wrong = [
            Fault(fault.line, None, "malformed_line", f"line {fault.line + 1}: {fault.message}") for fault in faults
        ]
        return Lines(
            Decoded(columns, rows.lines, wrong, skipped=+skipped, label_bytes=dictionary.size), not rows.untimed.any()
        )


def _apart(body: bytes) -> tuple[bytes, Sequence[int] | None, list[Point | LineFault]]:
    """Return the lines without quotation marks and backslashes, their numbers, and what the others say.

    There are no numbers where these are all lines. Quotation marks and backslashes may hide separators and newlines
    from who only looks for these.
    """
    if b'"' not in body and b"\\" not in body:
        return body, None, []
    plain, numbers, said = list[bytes](), list[int](), list[Point | LineFault]()
    at = next_at = 0
    for number, line in enumerate(body.split(b"\n")):
        if at >= next_at:
            if b'"' in line or b"\\" in line:
                found, next_at = parse_line(body, at, number)
                said += [found] if found is not None else []
            else:
                plain.append(line)
                numbers.append(number)
        at += len(line) + 1
    return b"\n".join(plain), numbers, said


def _rows(
    points: Iterable[Point],
    labels: Labels,
    dictionary: SeriesDictionary,
    faults: list[LineFault],
    skipped: Counter[str],
) -> _Rows:
    """Return the readings of points; what is wrong with some joins `faults`, what is not kept is counted."""
    lines, codes, times, values, untimed = list[int](), list[int](), list[int](), list[float](), list[bool]()
    for point in points:
        kept = [(name, value) for name, value in point.fields if not isinstance(value, str)]
        skipped["strings"] += len(point.fields) - len(kept)
        try:
            named = _called(point.measurement, point.tags, [name for name, _ in kept], labels)
        except SeriesError as error:
            faults.append(LineFault(point.line, str(error)))
            continue
        for one, (_, value) in zip(named, kept, strict=True):
            lines.append(point.line)
            codes.append(dictionary.code(one))
            times.append(point.timestamp or 0)
            values.append(float(value))
            untimed.append(point.timestamp is None)
    return _Rows(
        np.array(lines, np.intp),
        np.array(codes, np.uint32),
        np.array(times, np.int64),
        np.array(values, np.float64),
        np.array(untimed, np.bool_),
    )


def _in_order(rows: _Rows, others: _Rows) -> _Rows:
    """Return the readings of both in the order of their lines."""
    order = np.argsort(np.concatenate((rows.lines, others.lines)), kind="stable")
    return _Rows(
        np.concatenate((rows.lines, others.lines))[order],
        np.concatenate((rows.codes, others.codes))[order],
        np.concatenate((rows.times, others.times))[order],
        np.concatenate((rows.values, others.values))[order],
        np.concatenate((rows.untimed, others.untimed))[order],
    )


def _micros(times: NDArray[np.int64], unit: int, skipped: Counter[str]) -> NDArray[np.int64]:
    """Return microseconds since 1970 of timestamps; what lies below is cut off, and counted."""
    if not unit:
        size = np.abs(times)
        units = np.ones(len(times), np.int64)
        for below, nanoseconds in reversed(GUESSED):
            units[size < below] = nanoseconds
        micros = np.empty(len(times), np.int64)
        for one in np.unique(units).tolist():
            chosen = units == one
            micros[chosen] = _micros(times[chosen], one, skipped)
        return micros
    if unit >= 1_000:
        return micros_in(times, unit // 1_000)
    if cut := int(np.count_nonzero(times % 1_000)):
        skipped["nanoseconds"] += cut
    return times // 1_000


def _fast(body: bytes, labels: Labels, known: _Known) -> tuple[_Rows, Dictionary] | None:
    """Return the readings of a body in which each line is `measurement[,tags] field=number[,...] timestamp`.

    None where a line is not, or may not be: a separator in another place, a number that JSON does not know. The body
    has neither quotation marks nor backslashes. Tokens become JSON, whose decoder then checks what they are.
    """
    if b"\r" in body or b"\t" in body:
        return None
    tokens = body.rstrip(b"\n").replace(b"\n", b" \n ").split(b" ")
    heads, fields = tokens[0::4], b"\n".join(tokens[1::4]) + b"\n"
    if len(tokens) % 4 != 3 or tokens[3::4].count(b"\n") != len(heads) - 1:
        return None
    integers = b"i," in fields or b"i\n" in fields
    if integers:
        if _NO_INTEGER.search(fields):
            return None
        fields = fields.replace(b"i,", b",").replace(b"i\n", b"\n")
    try:
        instants = _integers.decode(b"[" + b",".join(tokens[2::4]) + b"]")
        times = np.fromiter(instants, np.int64, len(instants))
        values, names = _of_fields(fields, len(heads))
    except (ValueError, OverflowError):
        return None
    if not len(times) == len(names) == len(heads) or (integers and (np.abs(values) >= _LARGEST_INTEGER).any()):
        return None
    numbers = _numbers(heads, names, labels, known)
    if numbers is None:
        return None
    dictionary, codes = known.dictionary(np.fromiter(chain.from_iterable(numbers), np.int64, len(values)))
    lines = np.arange(len(heads))
    if len(values) > len(heads):
        lengths = list(map(len, names))
        lines, times = np.repeat(lines, lengths), np.repeat(times, lengths)
    return _Rows(lines, codes, times, values, np.zeros(len(values), np.bool_)), dictionary


def _of_fields(fields: bytes, lines: int) -> tuple[NDArray[np.float64], list[Names]]:
    """Return the values of lines, and the names of each line's fields.

    Few bodies have truth values, which are numbers only once they are written as such.

    Raises:
        ValueError: a value is neither number nor truth value, or a name stands twice in a line.
    """
    try:
        return _of_one_name(fields, lines) or _of_many_names(fields)
    except ValueError:
        if not _MAYBE_TRUTH.search(fields):
            raise
        fields = _FALSE.sub(b"=0", _TRUE.sub(b"=1", fields))
        return _of_one_name(fields, lines) or _of_many_names(fields)


def _of_one_name(fields: bytes, lines: int) -> tuple[NDArray[np.float64], list[Names]] | None:
    """Return the values of lines that all have one field, of the same name, and the names of each line's fields.

    None where they have not.

    Raises:
        ValueError: a value is no number of JSON.
    """
    name, _, _ = fields.partition(b"=")
    if fields.count(b"=") != lines:
        return None
    text = (b"\n" + fields[:-1]).replace(b"\n" + name + b"=", b",")
    # It is so much shorter where each line began with the name.
    if len(fields) - len(text) != lines * (len(name) + 1):
        return None
    values = _floats.decode(b"[" + text[1:] + b"]")
    return None if len(values) != lines else (np.fromiter(values, np.float64, lines), [(name.decode(),)] * lines)


def _of_many_names(fields: bytes) -> tuple[NDArray[np.float64], list[Names]]:
    """Return the values of lines, and the names of each line's fields.

    Names stand between quotation marks here, so that a separator too many breaks it.

    Raises:
        ValueError: a value is no number of JSON, or a name stands twice in a line.
    """
    text = fields[:-1].replace(b"=", b'":').replace(b",", b',"').replace(b"\n", b'},{"')
    rows = _objects.decode(b'[{"' + text + b"}]")
    count = fields.count(b"=")
    # A name that stands twice in a line leaves fewer than the separators tell.
    if sum(map(len, rows)) != count:
        raise ValueError("a name stands twice")
    values = np.fromiter(chain.from_iterable(row.values() for row in rows), np.float64, count)
    return values, list(map(tuple, rows))


def _numbers(
    heads: Sequence[bytes], names: Sequence[Names], labels: Labels, known: _Known
) -> list[tuple[int, ...]] | None:
    """Return the numbers of the series of each line; None where the grammar finds a fault in one."""
    by_names = {one: known.heads(labels, one) for one in set(names)}
    if len(by_names) == 1:
        found = list(map(by_names[names[0]].get, heads))
    else:
        found = [by_names[one].get(head) for head, one in zip(heads, names, strict=True)]
    if None in found:
        found = [known.found(head, labels, one) for head, one in zip(heads, names, strict=True)]
    numbers = [one for one in found if one is not None]
    return numbers if len(numbers) == len(heads) else None
