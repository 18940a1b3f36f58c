"""Attributes to labels: the text of their values, and which of them has a name where several want it."""

import base64
import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from services.contract import SeriesError
from services.contract.series import MAX_LABEL_VALUE

from ...naming import RESERVED

__all__ = ["SCOPE_NAME", "SCOPE_VERSION", "Label", "Origin", "labels", "labels_of", "merged"]

Label = tuple[str, str]

SCOPE_NAME, SCOPE_VERSION = "otel.scope.name", "otel.scope.version"
"""OpenTelemetry's own attributes for what OTLP has as fields of a scope."""

_DEEPEST = 32
"""Lists and maps in each other that a value may be."""
_HASHED = 20


class Origin(NamedTuple):
    """What the metrics of one scope of one resource have in common."""

    resource: Sequence[Label]
    scope: Sequence[Label]
    scope_attributes: Sequence[Label]


def labels_of(attributes: Iterable[Any], which: Callable[[Any], str | None]) -> list[Label]:
    """Return attributes as labels, in the order of their names; those without a value, or with an empty one, are none.

    Args:
        attributes: with `key` and `value`, messages or what JSON holds.
        which: tells which field of a value is set.

    Raises:
        SeriesError: a key stands twice, or a value is nested too deep.
    """
    given = [(one.key, _text(_plain(one.value, which))) for one in attributes]
    if len(dict(given)) < len(given):
        raise SeriesError("attributes", "duplicate", "an attribute stands more than once")
    return sorted((name, text) for name, text in given if text)


def labels(*pairs: tuple[str, str]) -> list[Label]:
    """Return names and texts as labels; those without a text are none."""
    return [(name, _text(text)) for name, text in pairs if text]


def merged(own: Iterable[Label], attributes: Iterable[Label], origin: Origin) -> list[Label]:
    """Return the labels of a series, each name once, and none that means something else where series are chosen.

    Where two want a name, who is closer to the reading has it, and the other's gets the prefix of where it stood: what
    is equal in both would else be another series than what is not.
    """
    found: dict[str, Label] = {}
    for prefix, layer in (
        ("", own),
        ("point.", attributes),
        ("scope.", origin.scope),
        ("scope.", origin.scope_attributes),
        ("resource.", origin.resource),
    ):
        for label in layer:
            name = label[0]
            while name in found or name in RESERVED:
                name = prefix + name
            found[name] = label if name == label[0] else (name, label[1])
    return list(found.values())


def _plain(value: Any, which: Callable[[Any], str | None], depth: int = 0) -> Any:
    """Return a value as what JSON is made of; what JSON has no number for is a text, and bytes are base64."""
    kind = which(value)
    if kind is None:
        return None
    if depth > _DEEPEST:
        raise SeriesError("attributes", "too_deep", f"an attribute is nested deeper than {_DEEPEST} levels")
    found = getattr(value, kind)
    if kind == "array_value":
        return [_plain(item, which, depth + 1) for item in found.values or ()]
    if kind == "kvlist_value":
        return {item.key: _plain(item.value, which, depth + 1) for item in found.values or ()}
    if kind == "double_value" and not math.isfinite(found):
        return "NaN" if math.isnan(found) else "Infinity" if found > 0 else "-Infinity"
    return base64.b64encode(found).decode() if isinstance(found, bytes) else found


def _text(plain: Any) -> str:
    """Return a value as a label has it: a text as it is, others as JSON, nothing as an empty text.

    A text longer than a label may be is cut, and its hash stands behind: those that begin alike stay apart.
    """
    if plain is None:
        return ""
    text = plain if isinstance(plain, str) else orjson.dumps(plain, option=orjson.OPT_SORT_KEYS).decode()
    if len(text) <= MAX_LABEL_VALUE:
        return text
    digest = hashlib.blake2b(text.encode(), digest_size=_HASHED // 2).hexdigest()
    return f"{text[: MAX_LABEL_VALUE - _HASHED - 1]}#{digest}"
