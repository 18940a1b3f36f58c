"""What chooses sensors, as a condition in SQL over the catalogue, and a check in Python of what SQL must not be asked.

Labels that must be a text are found by the index over labels, ids that begin with one by that over ids in the order of
bytes, names by theirs. Expressions that are more than texts and wild cards are checked in Python, row by row of what
the rest of the condition leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from ..plan import Argument
from ..table import Kind, Table
from .patterns import Pattern, RegularExpression
from .selector import FIELD, ID, NAME, Glob, Match, Matcher

__all__ = ["Selection", "selection"]

Flags = NDArray[np.bool_]

_COLUMNS = {NAME: "name", FIELD: "field", ID: "sensor_id"}

_FEW_PATTERNS = 64
"""Alternatives that SQL compares with each value in turn; RE2 takes more of them at once."""


@dataclass(frozen=True, slots=True)
class _Check:
    """An expression that a value must fit, or must not; `column` is where rows have the value."""

    column: str
    expression: RegularExpression
    negated: bool

    def holds(self, table: Table) -> Flags:
        """Return for each row whether it holds; each distinct value is looked at once."""
        values = table[self.column]
        fits: Flags = np.array([self.expression.fits(text) != self.negated for text in values.texts], np.bool_)
        held: Flags = fits[values.values]
        return held


@dataclass(frozen=True, slots=True)
class Selection:
    """Sensors that any of several matches chooses.

    Attributes:
        condition: of the table `sensors`, never null; with `checks` it leaves more than is chosen.
        arguments: of the condition, `$1` on.
        columns: SQL of further columns by their names, which `chosen` needs of each row.
        checks: for each match the column that tells whether the condition of it alone holds, and what must be checked.
    """

    condition: str
    arguments: tuple[Argument, ...]
    columns: dict[str, str]
    checks: tuple[tuple[str, tuple[_Check, ...]], ...]

    @property
    def kinds(self) -> dict[str, Kind]:
        """What the further columns hold."""
        return {name: Kind.INTEGER if name.startswith("match") else Kind.TEXT for name in self.columns}

    def chosen(self, table: Table) -> Table:
        """Return the rows that are chosen of those that the condition leaves."""
        if not self.checks:
            return table
        chosen = np.zeros(len(table), np.bool_)
        for flag, checks in self.checks:
            held = table[flag].values > 0
            for check in checks:
                held &= check.holds(table)
            chosen |= held
        return table.taken(chosen)


def selection(matches: Sequence[Match]) -> Selection:
    """Return what chooses all sensors that one of the matches does; all there are where there is no match."""
    arguments: list[Argument] = []
    conditions: list[str] = []
    values: dict[str, str] = {}
    checks: list[tuple[_Check, ...]] = []
    for match in matches:
        parts: list[str] = []
        found: list[_Check] = []
        if isinstance(match, Glob):
            parts = _of_ids(match.pattern, arguments)
        else:
            parts = _of_texts(match.matchers, arguments)
            for matcher in match.matchers:
                if isinstance(matcher.value, str):
                    continue
                if matcher.value.patterns is not None and len(matcher.value.patterns) <= _FEW_PATTERNS:
                    parts.append(_of_patterns(matcher, matcher.value.patterns, arguments))
                    continue
                column = values.setdefault(matcher.label, f"value {len(values)}")
                found.append(_Check(column, matcher.value, matcher.negated))
        conditions.append(" and ".join(parts) or "true")
        checks.append(tuple(found))
    condition = " or ".join(f"({each})" for each in conditions) or "true"
    if not any(checks):
        return Selection(f"({condition})", tuple(arguments), {}, ())
    columns = {f"match {place}": f"({each})::int::bigint" for place, each in enumerate(conditions)}
    columns |= {column: _value(label, arguments) for label, column in values.items()}
    flagged = tuple((f"match {place}", each) for place, each in enumerate(checks))
    return Selection(f"({condition})", tuple(arguments), columns, flagged)


def _placed(argument: Argument, arguments: list[Argument]) -> str:
    """Add an argument, and return what stands for it."""
    arguments.append(argument)
    return f"${len(arguments)}::{'text[]' if isinstance(argument, tuple) else 'text'}"


def _of_ids(pattern: Pattern, arguments: list[Argument]) -> list[str]:
    if pattern.everything:
        return []
    if pattern.text is not None:
        return [f"sensor_id = {_placed(pattern.text, arguments)}"]
    parts = [f"sensor_id like {_placed(pattern.like, arguments)}"]
    if pattern.bounds is not None:
        low, high = pattern.bounds
        parts.append(f'sensor_id collate "C" >= {_placed(low, arguments)}')
        if high is not None:
            parts.append(f'sensor_id collate "C" < {_placed(high, arguments)}')
    return parts


def _of_texts(matchers: Sequence[Matcher], arguments: list[Argument]) -> list[str]:
    """Return the conditions of matchers whose value is a text; the labels that must be some are one."""
    parts: list[str] = []
    labels: dict[str, str] = {}
    for matcher in matchers:
        if not isinstance(matcher.value, str):
            continue
        sign = "<>" if matcher.negated else "="
        if matcher.label in _COLUMNS and matcher.value and not matcher.negated:
            column = _COLUMNS[matcher.label]
            # Never null, so that it can be negated and told, and still found by an index.
            parts.append(f"{column} = {_placed(matcher.value, arguments)} and {column} is not null")
        elif matcher.negated or not matcher.value or labels.setdefault(matcher.label, matcher.value) != matcher.value:
            parts.append(f"{_value(matcher.label, arguments)} {sign} {_placed(matcher.value, arguments)}")
    if labels:
        held = _placed(orjson.dumps(labels).decode(), arguments)
        parts.append(f"labels @> {held}::jsonb and labels is not null")
    return parts


def _of_patterns(matcher: Matcher, patterns: Sequence[Pattern], arguments: list[Argument]) -> str:
    """Return the condition of a matcher one of whose patterns must fit."""
    if any(pattern.everything for pattern in patterns):
        return "false" if matcher.negated else "true"
    column = _COLUMNS.get(matcher.label)
    texts = tuple(pattern.text for pattern in patterns if pattern.text is not None)
    if column is not None and not matcher.negated and "" not in texts:
        # The column alone is what indexes know.
        return f"({_of_column(column, patterns, arguments)}) and {column} is not null"
    if len(texts) < len(patterns):
        likes = tuple(pattern.like for pattern in patterns)
        condition = f"{_value(matcher.label, arguments)} like any({_placed(likes, arguments)})"
    elif matcher.negated or "" in texts:
        condition = f"{_value(matcher.label, arguments)} = any({_placed(texts, arguments)})"
    else:
        held = tuple(orjson.dumps({matcher.label: text}).decode() for text in texts)
        condition = f"labels @> any({_placed(held, arguments)}::jsonb[]) and labels is not null"
    return f"not ({condition})" if matcher.negated else condition


def _of_column(column: str, patterns: Sequence[Pattern], arguments: list[Argument]) -> str:
    """Return the condition of a column's value that one of the patterns must fit, none of which fits the empty text."""
    texts = tuple(pattern.text for pattern in patterns if pattern.text is not None)
    if len(texts) == len(patterns):
        return f"{column} = any({_placed(texts, arguments)})"
    if column == _COLUMNS[ID] and all(pattern.bounds for pattern in patterns):
        return " or ".join(" and ".join(_of_ids(pattern, arguments)) for pattern in patterns)
    return f"{column} like any({_placed(tuple(pattern.like for pattern in patterns), arguments)})"


def _value(label: str, arguments: list[Argument]) -> str:
    """Return a label's value, the empty text where a sensor has none."""
    column = _COLUMNS.get(label)
    return f"coalesce({f'labels ->> {_placed(label, arguments)}' if column is None else column}, '')"
