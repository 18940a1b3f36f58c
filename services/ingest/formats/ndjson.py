"""NDJSON: the objects of JSON, one a line; they may stand side by side as well, with any white space between them."""

import re
from functools import partial
from typing import Any

import msgspec

from services.platform.http.errors import Problem

from .json import AnyReading, Framing, Reading, decode_framed, json_decoder

__all__ = ["MEDIA_TYPES", "decode_ndjson"]

MEDIA_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")

_SPACE = re.compile(r"[ \t\r\n]*")
_any = json_decoder()


def _values(text: str, most: int) -> list[Any]:
    items = list[Any]()
    place = _behind_space(text, 0)
    while place < len(text):
        if len(items) == most:
            raise Problem("too_many_rows", f"more than {most} readings in one batch: split it")
        item, place = _any.raw_decode(text, place)
        items.append(item)
        place = _behind_space(text, place)
    return items


def _behind_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


decode_ndjson = partial(
    decode_framed,
    framing=Framing(msgspec.json.Decoder(Reading).decode_lines, msgspec.json.Decoder(AnyReading).decode_lines, _values),
)
"""Reads objects of readings, one a line."""
