"""`POST /series`: the same names as a JSON object, read into what `GET` reads from the URL."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import Request

from services.platform.http.errors import Problem
from services.platform.http.parameters import wrong
from services.platform.settings import QuerySettings

from ..body import received
from ..catalogue.parameters import ID_SCHEMA, MATCH_SCHEMA
from ..formats import MEDIA_TYPES
from ..grid import EPOCHS
from .form import LAYOUTS, ORDERS
from .points import DOWNSAMPLES
from .question import Parameters

__all__ = ["REQUEST_BODY", "posted"]

_LISTS = {"sensor_id", "match"}
_COMMAS = {"agg", "by"}
_NUMBERS = {"start", "end", "fill", "limit", "points"}
"""What may be a list of texts, a list instead of a text with commas, and a number instead of a text."""

_TEXT: dict[str, Any] = {"type": "string"}
_INSTANT: dict[str, Any] = {"type": ["string", "integer"]}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 1}
_NAMES: Mapping[str, dict[str, Any]] = {
    "sensor_id": {"anyOf": [ID_SCHEMA, {"type": "array", "items": ID_SCHEMA, "minItems": 1, "uniqueItems": True}]},
    "match": {"anyOf": [MATCH_SCHEMA, {"type": "array", "items": MATCH_SCHEMA, "minItems": 1}]},
    "start": _INSTANT,
    "end": _INSTANT,
    "agg": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]},
    "bucket": _TEXT,
    "tz": _TEXT,
    "fill": {"type": ["string", "number"]},
    "by": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]},
    "layout": {"enum": list(LAYOUTS)},
    "epoch": {"enum": list(EPOCHS)},
    "order": {"enum": list(ORDERS)},
    "limit": _COUNT,
    "cursor": _TEXT,
    "points": _COUNT,
    "downsample": {"enum": list(DOWNSAMPLES)},
    "format": {"enum": list(MEDIA_TYPES)},
}
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": dict(_NAMES),
                "required": ["start"],
                "anyOf": [{"required": ["sensor_id"]}, {"required": ["match"]}],
                "additionalProperties": False,
            },
            "example": {"sensor_id": ["sensor-1"], "start": "2025-10-22T21:00:00Z", "agg": ["avg"], "bucket": "1h"},
        }
    },
}
"""What OpenAPI says of the body."""

_SMALL = 65_536
"""Bytes that are read sooner than another thread begins."""


async def posted(request: Request, settings: QuerySettings) -> tuple[Parameters, str | None]:
    """Return the parameters that a body names, and the format.

    Raises:
        Problem: body_too_large, body_timeout, unsupported_media_type, unsupported_encoding, malformed_body, or
            invalid_parameter.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Problem("unsupported_media_type", "a question is a JSON object; send Content-Type: application/json")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unsupported_encoding", "the body of a question is taken without a content encoding")
    body = await received(request, settings)
    given = _object(body) if len(body) <= _SMALL else await asyncio.to_thread(_object, body)
    faults = {name[:40]: "is not known here" for name in given if name not in _NAMES}
    texts: dict[str, Any] = {}
    for name in _NAMES:
        if name in given:
            try:
                texts[name] = _text(name, given[name])
            except ValueError as error:
                faults[name] = str(error)
        elif name == "start":
            faults[name] = "is missing"
    if faults:
        raise wrong(**faults)
    wanted = texts.pop("format", None)
    return Parameters(**{"sensor_id": [], **texts}), wanted


def _object(body: bytes) -> dict[str, Any]:
    """Return the members of a JSON object, each name once."""
    try:
        # The one is strict about UTF-8, numbers and depth, the other tells of names that come twice.
        found = orjson.loads(body)
        pairs = json.loads(body, object_pairs_hook=list)
    except ValueError as error:
        raise Problem("malformed_body", f"the body is no JSON: {error}") from None
    except RecursionError:
        raise Problem(
            "malformed_body", "the body is nested too deeply; its members are texts, numbers and lists"
        ) from None
    if not isinstance(found, dict):
        raise Problem("malformed_body", "the body is no JSON object; write the parameters as its members")
    names = [name for name, _ in pairs]
    twice = (
        {name[:40]: "is given more than once" for name in names if names.count(name) > 1} if len(names) < 100 else {}
    )
    if twice or len(found) < len(names):
        raise wrong(**(twice or {"body": "has names more than once"}))
    return found


def _text(name: str, value: Any) -> Any:
    """Return a member's value as `GET` has it: a text, or of `sensor_id` a list of texts.

    Raises:
        ValueError: it is of another sort.
    """
    if isinstance(value, str):
        return [value] if name in _LISTS else value
    if name in _LISTS | _COMMAS and isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return value if name in _LISTS else ",".join(value)
    if name in _NUMBERS and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    sorts = ["a text"]
    sorts += ["a list of texts"] if name in _LISTS | _COMMAS else []
    sorts += ["a number"] if name in _NUMBERS else []
    raise ValueError(f"is {' or '.join(sorts)}; leave it out where nothing is meant")
