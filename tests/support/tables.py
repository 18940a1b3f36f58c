"""Answers for encoders to write: columns of any values, and the rows that they stand for."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from unittest.mock import patch

from hypothesis import strategies as st

from services.query.formats import Encoder, arrow
from services.query.table import Kind, Table

__all__ = ["ANSWERS", "CUTS", "HOURS", "READINGS", "Answer", "in_json", "instant", "written"]

VALUES: Mapping[Kind, st.SearchStrategy[Any]] = {
    Kind.INTEGER: st.integers(-(2**63), 2**63 - 1),
    Kind.FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    Kind.INSTANT: st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(fold=0))
    | st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(microsecond=0, fold=0)),
    Kind.TEXT: st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=128),
}  # fmt: skip

READINGS = {"id": Kind.INTEGER, "timestamp": Kind.INSTANT, "sensor_id": Kind.TEXT, "value": Kind.FLOAT}
HOURS = {
    "timestamp": Kind.INSTANT,
    "avg": Kind.FLOAT,
    "min": Kind.FLOAT,
    "max": Kind.FLOAT,
    "samples": Kind.INTEGER,
}

Answer = tuple[Mapping[str, Kind], list[tuple[Any, ...]]]
"""Columns and their rows, as Python's values: None is null."""


def _rows(kinds: Mapping[str, Kind]) -> st.SearchStrategy[Answer]:
    row = st.tuples(*(st.none() | VALUES[kind] for kind in kinds.values()))
    full = st.tuples(*(VALUES[kind] for kind in kinds.values()))
    return st.tuples(st.just(kinds), st.lists(full, max_size=20) | st.lists(row, max_size=20))


ANSWERS = st.sampled_from([READINGS, HOURS, {'it\'s, "so"': Kind.TEXT, "at": Kind.INSTANT}]).flatmap(_rows)
CUTS = st.lists(st.integers(0, 100), max_size=3)
"""Where an answer's rows are cut into the parts in which they come."""


def written(make: Callable[[Mapping[str, Kind]], Encoder], answer: Answer, cuts: Sequence[int] = ()) -> bytes:
    """Return the body of an answer whose rows come in parts; record batches are small."""
    kinds, rows = answer
    edges = sorted({0, len(rows), *(cut % len(rows) for cut in cuts)}) if rows else []
    encoder = make(kinds)
    try:
        with patch.object(arrow, "BATCH", 7):
            parts = [encoder.rows(Table.of(kinds, rows[a:b])) for a, b in pairwise(edges)]
        return b"".join([*parts, encoder.end()])
    finally:
        encoder.close()


def instant(at: datetime) -> str:
    """Return an instant as JSON has it."""
    return at.isoformat().replace("+00:00", "Z")


def in_json(answer: Answer) -> list[dict[str, Any]]:
    """Return the rows as objects of JSON."""
    kinds, rows = answer
    return [
        {name: instant(value) if isinstance(value, datetime) else value for name, value in zip(kinds, row, strict=True)}
        for row in rows
    ]
