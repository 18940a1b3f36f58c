"""What a client takes: the media type of its answer by `format` or `Accept`, its coding by `Accept-Encoding`."""

import re
from collections.abc import Mapping, Sequence

from services.platform.http.errors import Problem

from .compression import COMPRESSORS
from .formats import COMPRESSED, FORMATS, MEDIA_TYPES, Shape

__all__ = ["content_coding", "media_type"]

_QUALITY = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")


def media_type(shape: Shape, wanted: str | None, accept: Sequence[str]) -> str:
    """Return the media type of an answer of a shape: what `wanted` names, else what `accept` likes best.

    `accept` holds the headers of that name. Where there is none, it is JSON's.

    Raises:
        Problem: not_acceptable.
    """
    there = {name: media for name, media in MEDIA_TYPES.items() if (shape, media) in FORMATS}
    if wanted is not None:
        if wanted not in there:
            raise Problem("not_acceptable", f"format: {wanted[:40]!r} is not known; it may be {', '.join(there)}")
        return there[wanted]
    ranges = _qualities(accept)
    if not ranges:
        return MEDIA_TYPES["json"]
    found = {media: _first(ranges, media, f"{media.partition('/')[0]}/*", "*/*") for media in there.values()}
    best = max(found, key=found.__getitem__)
    if not found[best]:
        offered = ", ".join(f"{media} (format={name})" for name, media in there.items())
        raise Problem("not_acceptable", f"nothing fits the header Accept; there are {offered}")
    return best


def content_coding(media: str, accept_encoding: Sequence[str]) -> str | None:
    """Return the coding of an answer that is large enough: one of `COMPRESSORS`, or None.

    What compresses by itself is not compressed again. Of codings that are liked as much the better one is chosen.
    """
    qualities = _qualities(accept_encoding)
    if not qualities or media in COMPRESSED:
        return None
    found = {coding: _first(qualities, coding, "*") for coding in COMPRESSORS}
    best = max(found, key=found.__getitem__)
    return best if found[best] and found[best] >= qualities.get("identity", 0.0) else None


def _qualities(headers: Sequence[str]) -> Mapping[str, float]:
    """Return how much each thing that headers list is liked, from 0, not at all, to 1; their parameters say nothing."""
    found: dict[str, float] = {}
    for element in ",".join(headers).lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        if name:
            given = [float(match[1]) for match in map(_QUALITY.fullmatch, parameters) if match]
            found[name] = given[0] if given else 1.0
    return found


def _first(qualities: Mapping[str, float], *names: str) -> float:
    """Return the quality of the first of the names that is listed, 0 where none is."""
    return next((qualities[name] for name in names if name in qualities), 0.0)
