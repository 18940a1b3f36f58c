"""The oracle of selectors: a catalogue, what may choose of it, and a slow reference in plain Python."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg
from hypothesis import strategies as st

__all__ = ["Choice", "Sensor", "catalogues", "choices", "enter", "latest"]


@dataclass(frozen=True)
class Sensor:
    """A sensor of the catalogue: a plain one has no labels, nor has it a name or a field."""

    sensor_id: str
    name: str | None = None
    field: str | None = None
    labels: dict[str, str] | None = None

    def value(self, label: str) -> str:
        """Return a label's value, the empty text where there is none."""
        known = {"__name__": self.name, "__field__": self.field, "__sensor_id__": self.sensor_id}
        return known.get(label, (self.labels or {}).get(label)) or ""


@dataclass(frozen=True)
class Choice:
    """What `match` says, and for which sensors it holds."""

    text: str
    holds: Callable[[Sensor], bool]

    def __repr__(self) -> str:
        return f"Choice({self.text!r})"


async def enter(connection: asyncpg.Connection, sensors: Sequence[Sensor]) -> None:
    """Put sensors into the catalogue, as the worker does."""
    rows = [(each.sensor_id, each.name, each.field, None if each.labels is None else json.dumps(each.labels))
            for each in sensors]  # fmt: skip
    await connection.executemany(
        "insert into sensors (sensor_id, name, field, labels, first_seen) values ($1, $2, $3, $4, now())", rows
    )


def latest(readings: Sequence[tuple[datetime, float]], at: datetime | None) -> tuple[datetime, float] | None:
    """Return the newest of a sensor's readings up to an instant: of those of one instant, the last in the list."""
    found = None
    for reading in readings:
        if (at is None or reading[0] <= at) and (found is None or reading[0] >= found[0]):
            found = reading
    return found


# Few of each, so that they meet; among them what LIKE, JSON, SQL, quotes and expressions could take for their own.
_TEXTS = ["", "a", "b", "ab", "ä", "a%", "a_b", "a.b", "a\\b", 'say "x"', "it's", "a\nb", "$1", "{", "\U0010ffff"]
_LABELS = ["site", "room", "a.b/c", 'q"', "__name__", "__field__", "__sensor_id__"]
_ROUGH = st.text(st.sampled_from("ab.%_\\*?{}#ä\n'\ue000\U0010ffff"), min_size=1, max_size=5)


@st.composite
def catalogues(draw: st.DrawFn) -> list[Sensor]:
    """Return sensors, plain and labelled."""
    ids = draw(st.lists(st.one_of(_ROUGH, st.sampled_from(["a", "ab", "abc", "B", "b-1"])), max_size=8, unique=True))
    return [draw(_sensors(sensor_id)) for sensor_id in ids]


@st.composite
def _sensors(draw: st.DrawFn, sensor_id: str) -> Sensor:
    if draw(st.booleans()):
        return Sensor(sensor_id)
    labels = draw(st.dictionaries(st.sampled_from(_LABELS[:4]), st.sampled_from(_TEXTS[1:]), max_size=3))
    name, field = draw(st.sampled_from(_TEXTS[1:])), draw(st.sampled_from([None, *_TEXTS[1:]]))
    return Sensor(sensor_id, name, field, labels)


def choices() -> st.SearchStrategy[Choice]:
    """Return what chooses sensors: globs and selectors."""
    return st.one_of(_globs(), _selectors())


@st.composite
def _globs(draw: st.DrawFn) -> Choice:
    parts: list[str] = draw(st.lists(st.one_of(_ROUGH, st.sampled_from(["*", "?", "a", "ab"])), min_size=1, max_size=4))
    wild = [part in {"*", "?"} for part in parts]
    text = "".join(
        part if free else re.sub(r"([\\*?{])", r"\\\1", part) for part, free in zip(parts, wild, strict=True)
    )
    meant = "".join({"*": ".*", "?": "."}[part] if free else re.escape(part)
                    for part, free in zip(parts, wild, strict=True))  # fmt: skip
    pattern = re.compile(meant, re.DOTALL)
    return Choice(text, lambda sensor: pattern.fullmatch(sensor.sensor_id) is not None)


@st.composite
def _selectors(draw: st.DrawFn) -> Choice:
    matchers = draw(st.lists(_matchers(), max_size=4))
    name = draw(st.sampled_from(["", "a", "ab"]))
    tests = [test for _, test in matchers]
    if name:
        tests.append(lambda sensor: sensor.value("__name__") == name)
    space = draw(st.sampled_from(["", " "]))
    text = f"{name}{space}{{{f'{space},'.join(shown for shown, _ in matchers)}{space}}}"
    return Choice(text, lambda sensor: all(test(sensor) for test in tests))


@st.composite
def _matchers(draw: st.DrawFn) -> tuple[str, Callable[[Sensor], bool]]:
    label = draw(st.sampled_from([*_LABELS, "none"]))
    operator = draw(st.sampled_from(["=", "!=", "=~", "!~"]))
    if operator in {"=", "!="}:
        value = draw(st.sampled_from(_TEXTS))
        pattern = re.compile(re.escape(value))
    else:
        value = draw(_expressions())
        pattern = re.compile(value, re.DOTALL)
    negated = operator[0] == "!"
    shown = label if re.fullmatch(r"[\w.]+", label) and draw(st.booleans()) else _quoted(draw, label)
    return (
        f"{shown}{operator}{_quoted(draw, value)}",
        lambda sensor: (pattern.fullmatch(sensor.value(label)) is None) == negated,
    )


def _quoted(draw: st.DrawFn, text: str) -> str:
    quote = draw(st.sampled_from(['"', "'", "`"]))
    if quote == "`":
        return f"`{text}`"
    return quote + text.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n") + quote


@st.composite
def _expressions(draw: st.DrawFn) -> str:
    """Return an expression that RE2 and Python take for the same: from plain alternatives to what needs an engine."""
    literal = st.sampled_from(_TEXTS).map(re.escape)
    simple = st.one_of(literal, st.sampled_from([".", ".*", ".+", "a", "b"]))
    rough = st.one_of(simple, st.sampled_from(["[ab]+", "a?", "(a|b)*", "[^a]", "^a", "b$", "(?i:AB)", "a{1,2}"]))
    branch = st.lists(draw(st.sampled_from([simple, rough])), min_size=1, max_size=3).map("".join)
    branches: list[str] = draw(st.lists(branch, min_size=1, max_size=3))
    return draw(st.sampled_from(["{}", "({})", "(?:{})"])).format("|".join(branches))
