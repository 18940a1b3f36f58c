"""A JSON array of ``{sensor_id, timestamp, value}``, or one such object.

The compiled decoder reads a good body straight into one struct a row; only a body that it refuses, or in which a
name stands twice, is read a second time, loosely, to name every record that is wrong.
"""

import json
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.platform.http.errors import Problem

from ...readings import Decoded, Fault

__all__ = ["decode_json"]


class Reading(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One measured value as a client writes it."""

    sensor_id: str
    timestamp: str
    value: float


_decoder = msgspec.json.Decoder(list[Reading] | Reading)
_sensor_id, _timestamp, _value = attrgetter("sensor_id"), attrgetter("timestamp"), attrgetter("value")
_FIELDS = Reading.__struct_fields__
_QUOTES = 2 * (len(_FIELDS) + 2)
"""Quotation marks of a reading: three names and two texts. Another name, such as one that stands twice, adds two."""
_QUOTE, _SHORT = np.uint8(ord('"')), 4096
_LOOSE_COMMAS = 16
"""Commas a reading that may stand in a body that is read loosely: many times what a right one has."""

_NOT_FINITE = {"NaN", "Infinity", "-Infinity"}


def decode_json(body: bytes, most: int) -> Decoded:
    """Return the readings of a JSON body, at most `most`, as written, and the faults of those without the right shape.

    Raises:
        Problem: `malformed_body` or `too_many_rows`.
    """
    positions: NDArray[np.intp] | None = None
    faults: list[Fault] = []
    try:
        decoded = _decoder.decode(body)
        readings = decoded if isinstance(decoded, list) else [decoded]
        strict = _each_name_once(body, len(readings))
    except (ValueError, RecursionError):
        strict = False
    if not strict:
        items = _loosely(body, most)
        _check_count(len(items), most)
        readings, positions, faults = _shaped(items)
    _check_count(len(readings) + len(faults), most)
    return Decoded(
        list(map(_sensor_id, readings)),
        list(map(_timestamp, readings)),
        list(map(_value, readings)),
        positions,
        faults,
    )


def _check_count(count: int, most: int) -> None:
    if count == 0:
        raise Problem("malformed_body", "the array is empty; a batch needs at least one reading")
    if count > most:
        raise Problem("too_many_rows", f"{count} readings in one batch; at most {most} are taken: split it")


def _each_name_once(body: bytes, readings: int) -> bool:
    """Tell whether no name stands twice in a reading; each has all names and texts, so no body has fewer quotes."""
    if _quotes(body) == _QUOTES * readings:
        return True
    return b"\\" in body and _quotes(body.replace(b"\\\\", b"").replace(b'\\"', b"")) == _QUOTES * readings


def _quotes(text: bytes) -> int:
    # numpy counts five times as fast, but takes a microsecond to begin.
    return text.count(b'"') if len(text) < _SHORT else int(np.count_nonzero(np.frombuffer(text, np.uint8) == _QUOTE))


class _Repeated(dict[str, Any]):
    """An object in which `name` stands more than once."""

    name: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    names = [name for name, _ in pairs]
    repeated = _Repeated()
    repeated.name = next(name for name in names if names.count(name) > 1)
    return repeated


def _loosely(body: bytes, most: int) -> list[Any]:
    """Read a body that may hold wrong records and the NaN and Infinity that some encoders write."""
    if body.count(b",") > _LOOSE_COMMAS * most:
        raise Problem("too_many_rows", f"the body holds more items than {most} readings can have: split it")
    try:
        # The standard library would guess UTF-16 and UTF-32 too; a mark at the front is no fault.
        items = json.loads(body.decode("utf-8-sig"), parse_constant=str, object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise Problem("malformed_body", f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise Problem("malformed_body", f"the body is not JSON: {error.msg} at character {error.pos}") from error
    except (RecursionError, ValueError) as error:
        raise Problem(
            "malformed_body", "the body is not JSON that can be read: too deep or a number too long"
        ) from error
    if isinstance(items, dict):
        return [items]
    if not isinstance(items, list):
        raise Problem("malformed_body", "the body must be a JSON array of readings or one reading")
    return items


def _shaped(items: list[Any]) -> tuple[list[Reading], NDArray[np.intp], list[Fault]]:
    """Return the items that are readings, their positions, and the faults of the others."""
    readings, positions, faults = [], [], []
    for index, item in enumerate(items):
        fault = _fault(index, item)
        if fault is None:
            readings.append(Reading(item["sensor_id"], item["timestamp"], _number(item["value"])))
            positions.append(index)
        else:
            faults.append(fault)
    return readings, np.array(positions, np.intp), faults


def _fault(index: int, item: Any) -> Fault | None:
    if not isinstance(item, dict):
        return Fault(index, None, "not_an_object", "a reading must be an object with sensor_id, timestamp and value")
    return _name_fault(index, item) or _type_fault(index, item)


def _name_fault(index: int, item: dict[str, Any]) -> Fault | None:
    if isinstance(item, _Repeated):
        return Fault(index, _shown(item.name), "duplicate_field", f"{_shown(item.name)!r} stands more than once")
    for name in _FIELDS:
        if name not in item:
            return Fault(index, name, "missing", f"{name} is missing")
    for name in item:
        if name not in _FIELDS:
            return Fault(index, _shown(name), "unknown_field", f"{_shown(name)!r} is not a field of a reading")
    return None


def _type_fault(index: int, item: dict[str, Any]) -> Fault | None:
    """Return what is wrong with the values of a record that has the right names.

    JSON may escape half of a surrogate pair, which no encoding of text can hold. Python takes True for a number.
    """
    for name in ("sensor_id", "timestamp"):
        if not isinstance(item[name], str):
            return Fault(index, name, "wrong_type", f"{name} must be a string")
        if not item[name].isascii() and not _encodable(item[name]):
            return Fault(index, name, "not_unicode", f"{name} holds half of a surrogate pair")
    value = item["value"]
    if isinstance(value, str) and value in _NOT_FINITE:
        return Fault(index, "value", "not_finite", "value is not a finite number")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Fault(index, "value", "wrong_type", "value must be a number")
    return None


def _shown(name: str) -> str:
    return name[:64].encode("ascii", "backslashreplace").decode()


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _number(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")
