"""Rows as a plot of lines in the terminal, with the time of a zone below it."""

import math
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from plotille import Canvas, color
from rich.console import Console

from services.contract.instants import instant_of, micros_of
from services.query.grid import Bucket, Grid, GridError, written

from ..process import printable

__all__ = ["POINTS_A_COLUMN", "Line", "draw", "lines_of", "span_of"]

POINTS_A_COLUMN = 8
"""Readings that a column can show: it has two dots beside each other, and M4 keeps four readings for each."""

_COLORS = ("cyan", "yellow", "magenta", "green", "red", "blue")
_LETTERS = string.ascii_letters

_STEPS = [
    Bucket(count, unit)
    for unit, counts in {
        "ms": (1, 2, 5, 10, 20, 50, 100, 200, 500),
        "s": (1, 2, 5, 10, 15, 30),
        "m": (1, 2, 5, 10, 15, 30),
        "h": (1, 2, 3, 6, 12),
        "d": (1, 2),
        "w": (1, 2),
        "mo": (1, 2, 3, 6),
        "y": (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000),
    }.items()
    for count in counts
]
"""Distances between the marks of the time axis, the shortest first."""

_LABELS = {"ms": "%H:%M:%S.%f", "s": "%H:%M:%S", "m": "%H:%M", "h": "%H:%M", "mo": "%Y-%m", "y": "%Y"}
_DAY = "%m-%d"

_GAP = 5
"""So many usual steps without a reading are a gap."""


@dataclass(slots=True)
class Line:
    """What is drawn as one line: points in the order of time, microseconds and values; None where a bucket is empty."""

    name: str
    instants: list[int] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)

    def pieces(self, visible: int) -> Iterator[list[tuple[int, float]]]:
        """Yield what belongs together: a null ends a piece, and so does a gap longer than `visible` microseconds."""
        steps = [abs(later - earlier) for earlier, later in pairwise(self.instants)]
        longest = max(_GAP * median(steps), visible) if steps else 0
        piece: list[tuple[int, float]] = []
        for instant, value in zip(self.instants, self.values, strict=True):
            if piece and (value is None or abs(instant - piece[-1][0]) > longest):
                yield piece
                piece = []
            if value is not None:
                piece.append((instant, value))
        if piece:
            yield piece


def lines_of(rows: Iterable[Mapping[str, Any]]) -> list[Line]:
    """Return a line for each combination of a row's texts, such as its sensor, and each of its numbers."""
    found: dict[tuple[str, ...], Line] = {}
    for row in rows:
        instant = micros_of(datetime.fromisoformat(row["timestamp"]))
        rest = {name: value for name, value in row.items() if name != "timestamp"}
        texts = [value for value in rest.values() if isinstance(value, str)]
        for name, value in rest.items():
            if isinstance(value, str):
                continue
            key = (*texts, name)
            line = found.get(key)
            if line is None:
                words = texts if name == "value" and texts else key
                line = found[key] = Line(printable(" ".join(words)))
            line.instants.append(instant)
            line.values.append(None if value is None else float(value))
    return [line for line in found.values() if any(value is not None for value in line.values)]


def span_of(lines: Sequence[Line], meta: Mapping[str, Any]) -> tuple[int, int]:
    """Return what the time axis spans, in microseconds: the range of the question and all points."""
    ends = [datetime.fromisoformat(part[name]) for part in meta.get("source", ()) for name in ("start", "end")]
    instants = [micros_of(end) for end in ends] + [end(line.instants) for line in lines for end in (min, max)]
    first, last = min(instants), max(instants)
    return first, max(last, first + 1)


def draw(lines: Sequence[Line], span: tuple[int, int], zone: ZoneInfo, console: Console) -> str:
    """Return the plot as text of the console's size.

    Args:
        lines: at least one, each with a value.
        span: first and last instant of the time axis.
        zone: whose clock the axis shows.
        console: whose size and colours are used.
    """
    colored = console.is_terminal and not console.no_color and console.color_system is not None
    low, high, marks = _values(lines, max(console.height // 5, 2))
    margin = max(len(mark) for mark in marks.values()) + 2
    width = max(console.width - margin - 1, 20)
    height = max(console.height - len(lines) - 5, 8)
    # Four dots stand above each other in a row and two beside each other; what lies on an end has a dot of its own.
    above, beside = (high - low) / (4 * height), max((span[1] - span[0]) / (2 * width), 1)
    canvas = Canvas(width, height, span[0], low, span[1] + beside, high + above, mode="names")
    for place, line in enumerate(lines):
        shade = _COLORS[place % len(_COLORS)] if colored else None
        end = None
        for piece in line.pieces(2 * (span[1] - span[0]) // width):
            canvas.point(*piece[0], color=shade)
            for (x0, y0), (x1, y1) in pairwise(piece):
                canvas.line(x0, y0, x1, y1, color=shade)
            end = piece[-1]
        if end and len(lines) > 1:
            canvas.text(*end, _LETTERS[place % len(_LETTERS)], color=shade)
    rows = dict(zip(range(height - 1, -1, -1), canvas.plot().splitlines(), strict=True))
    labels = {min(int((value - low) / (high - low) * height), height - 1): mark for value, mark in marks.items()}
    plot = [f"{labels.get(row, ''):>{margin - 2}} {'┤' if row in labels else '│'}{text}" for row, text in rows.items()]
    axis = [" " * (margin - 1) + text for text in _axis(span, zone, width)]
    ends = f"{written(span[0], zone)} to {written(span[1], zone)} ({zone.key})"
    return "\n".join([*plot, *axis, f"{ends:^{console.width}}".rstrip(), *_legend(lines, colored=colored)])


def _legend(lines: Sequence[Line], *, colored: bool) -> Iterator[str]:
    for place, line in enumerate(lines):
        text = f"{_LETTERS[place % len(_LETTERS)]} {line.name}" if len(lines) > 1 else line.name
        yield color(text, fg=_COLORS[place % len(_COLORS)]) if colored else text


def _values(lines: Sequence[Line], count: int) -> tuple[float, float, dict[float, str]]:
    """Return the ends of the axis of values, and some `count` marks of round numbers on it."""
    found = [value for line in lines for value in line.values if value is not None]
    low, high = min(found), max(found)
    if high - low <= abs(high) * 1e-12:
        low, high = low - max(abs(low), 1.0) / 2, high + max(abs(high), 1.0) / 2
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    digits = max(-math.floor(math.log10(step)), 0)
    marks = {
        number * step: f"{number * step:.{digits}f}" if 1e-5 <= step < 1e9 else f"{number * step:g}"
        for number in range(first, last + 1)
    }
    return first * step, last * step, marks


def _axis(span: tuple[int, int], zone: ZoneInfo, width: int) -> list[str]:
    """Return the axis of time and its labels; a mark stands where a length of the zone's calendar begins."""
    wanted = max(width // 12, 2)
    first, last = span
    step = next((each for each in _STEPS if (last - first) / wanted <= _shortest(each)), _STEPS[-1])
    line, labels = ["─"] * width, [" "] * width
    free = 0
    for edge in _marks(first, last, step, zone):
        place = min((edge - first) * width // (last - first), width - 1)
        text = _label(instant_of(edge).astimezone(zone), step)
        begin = max(min(place - len(text) // 2, width - len(text)), 0)
        line[place] = "┬"
        if begin >= free:
            labels[begin : begin + len(text)] = text
            free = begin + len(text) + 1
    return ["└" + "".join(line), " " + "".join(labels).rstrip()]


def _shortest(step: Bucket) -> int:
    """Return the microseconds that a length has at least."""
    days = {"d": 1, "w": 7, "mo": 28, "y": 365}
    return step.width or step.count * days[step.unit] * 23 * 3_600_000_000


def _marks(first: int, last: int, step: Bucket, zone: ZoneInfo) -> Iterator[int]:
    """Yield where lengths begin inside the axis; several hours are those of the clock, on each day anew."""
    several = step.unit == "h"
    try:
        edges = Grid.over(first, last, Bucket(1, "h") if several else step, zone).edges.tolist()
    except GridError:
        # At either end of time no length begins.
        return
    for edge in edges:
        if first <= edge < last and not (several and instant_of(edge).astimezone(zone).hour % step.count):
            yield edge


def _label(local: datetime, step: Bucket) -> str:
    if step.unit in {"d", "w"}:
        return local.strftime(_DAY)
    if step.unit in {"m", "h"} and (local.hour, local.minute) == (0, 0):
        return local.strftime(_DAY)
    text = local.strftime(_LABELS[step.unit])
    return text[:-3] if step.unit == "ms" else text
