"""Payloads to readings: a number, or an object of JSON whose numbers are readings, with a time or without one."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import orjson

from services.contract.instants import GUESSED, InstantError, instant_of, parse_instant

from .topics import Called

__all__ = ["Made", "MalformedError", "readings_of"]

_VALUE = "value"


class MalformedError(ValueError):
    """A payload is none that can be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a message came to.

    Attributes:
        readings: as ingest takes them.
        timed: whether the payload said their time.
    """

    readings: list[dict[str, Any]]
    timed: bool


def readings_of(payload: bytes, called: Called, time_fields: Collection[str], arrived: int) -> Made:
    """Return the readings of a message.

    The numbers and truth values of an object are a reading each, those inside of other objects called with dots
    between: of `field`s where the topic has a name, else of names. `value` is the topic's own. Texts, lists and nulls
    are no readings.

    Args:
        payload: as it came.
        called: what the topic says.
        time_fields: which names at an object's top may say its time.
        arrived: when it came, in microseconds since 1970: the time of what says none.

    Raises:
        MalformedError: it is neither a number nor an object, or it has a time that is none, or no name.
    """
    found = _parsed(payload)
    if isinstance(found, dict):
        name = next((name for name in time_fields if found.get(name) is not None), None)
        instant = None if name is None else _instant(name, found[name])
        left = {key: value for key, value in found.items() if key not in time_fields}
        values = dict(_numbers(left))
    else:
        instant, values = None, {_VALUE: _number(found)}
    text = instant_of(arrived).isoformat() if instant is None else instant
    readings = [{**_named(called, key), "timestamp": text, "value": value} for key, value in values.items()]
    return Made(readings, instant is not None)


def _parsed(payload: bytes) -> Any:
    try:
        return orjson.loads(payload)
    except ValueError:
        # What JSON does not know, such as +5 and .5.
        try:
            return float(payload)
        except ValueError:
            raise MalformedError("it is neither a number nor JSON") from None


def _number(found: Any) -> float:
    if not isinstance(found, int | float) or not math.isfinite(found):
        raise MalformedError("it is neither a finite number nor an object")
    return float(found)


def _numbers(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in found.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float):
            yield f"{prefix}{key}", float(value)


def _named(called: Called, key: str) -> dict[str, Any]:
    """Return what the reading at `key` is called."""
    if called.sensor_id is not None:
        return {"sensor_id": called.sensor_id if key == _VALUE else f"{called.sensor_id}.{key}"}
    if called.name is None:
        if key == _VALUE:
            raise MalformedError("its topic has no {name}, and a number alone has none either")
        return {"name": key, "labels": called.labels}
    field = ".".join(part for part in (called.field, "" if key == _VALUE else key) if part)
    return {"name": called.name, "labels": called.labels} | ({"field": field} if field else {})


def _instant(name: str, said: Any) -> str:
    """Return a time as RFC 3339.

    Raises:
        MalformedError: it is none.
    """
    try:
        if isinstance(said, str):
            return parse_instant(said).isoformat()
        if isinstance(said, int | float) and not isinstance(said, bool):
            nanoseconds = next((nanoseconds for below, nanoseconds in GUESSED if abs(said) < below), 1)
            micros = round(said * (nanoseconds // 1000)) if nanoseconds > 1 else int(said // 1000)
            return instant_of(micros).astimezone(UTC).isoformat()
    except (InstantError, OverflowError) as error:
        raise MalformedError(f"its {name} {str(said)[:40]!r} {error}") from None
    raise MalformedError(f"its {name} is neither RFC 3339 nor a number")
