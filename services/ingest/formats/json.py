"""A JSON array of ``{sensor_id, timestamp, value}``, or one such object; in place of a sensor_id, name and labels.

The compiled decoder reads a good body straight into one struct a row; only a body that it refuses, or in which a
name stands twice, is read a second time: with name and labels, and at last loosely, to name every record that is wrong.
What stands between the records, such as an array's brackets and commas, is their `Framing`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from services.contract import Columns, Series, SeriesError
from services.contract.instants import INVALID, parse_timestamps
from services.platform.http.errors import Problem

from ..readings import Decoded, Fault, Written
from .called import Identities
from .identity import sensor_id_of

__all__ = ["MEDIA_TYPE", "AnyReading", "Framing", "Reading", "decode_framed", "decode_json", "json_decoder"]

MEDIA_TYPE = "application/json"


class Reading(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One measured value as a client writes it."""

    sensor_id: str
    timestamp: str
    value: float


class AnyReading(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One measured value of a sensor with an id, or of a series with a name; labels as they stand, which may be bad."""

    timestamp: str
    value: float
    sensor_id: str | msgspec.UnsetType = msgspec.UNSET
    name: str | msgspec.UnsetType = msgspec.UNSET
    field: str | msgspec.UnsetType = msgspec.UNSET
    labels: msgspec.Raw = msgspec.Raw(b"")


class _Labelled(NamedTuple):
    """One measured value, whose labels have been read."""

    timestamp: str
    value: float
    sensor_id: str | msgspec.UnsetType = msgspec.UNSET
    name: str | msgspec.UnsetType = msgspec.UNSET
    field: str | msgspec.UnsetType = msgspec.UNSET
    labels: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


_sensor_id, _timestamp, _value = attrgetter("sensor_id"), attrgetter("timestamp"), attrgetter("value")
_name, _field, _labels = attrgetter("name"), attrgetter("field"), attrgetter("labels")
_identities = Identities()
_REQUIRED, _TEXTS = ("timestamp", "value"), ("sensor_id", "name", "field", "timestamp")
_FIELDS = AnyReading.__struct_fields__
_QUOTES = 10
"""Quotation marks of a plain reading: three names, two texts. Another name, such as one that stands twice, adds two."""
_MANY = 256
"""Readings of a body from which on its columns are made at once; fewer are quicker made with others of their entry."""
_QUOTE, _SHORT = np.uint8(ord('"')), 4096
_LOOSE_COMMAS = 16
"""Commas a reading that may stand in a body that is read loosely: many times what a right one has."""

_NOT_FINITE = {"NaN", "Infinity", "-Infinity"}


@dataclass(frozen=True, slots=True)
class Framing:
    """How the records of a body are told from each other.

    Attributes:
        plain: reads a body of readings with sensor ids.
        labelled: reads a body of readings of either sort.
        loosely: reads a body of anything, of little more than so many records, in which objects with a name that stands
            twice are marked.
    """

    plain: Callable[[bytes], list[Reading]]
    labelled: Callable[[bytes], list[AnyReading]]
    loosely: Callable[[str, int], list[Any]]


def decode_framed(body: bytes, most: int, *, framing: Framing) -> Decoded:
    """Return the readings of a body, at most `most`, as written, and the faults of those without the right shape.

    Raises:
        Problem: `malformed_body` or `too_many_rows`.
    """
    try:
        readings = framing.plain(body)
        strict = _each_name_once(body, _QUOTES * len(readings))
    except (ValueError, RecursionError):
        strict = False
    if not strict:
        return _decode_any(body, most, framing)
    _check_count(len(readings), most)
    return Decoded(
        Written(list(map(_sensor_id, readings)), list(map(_timestamp, readings)), list(map(_value, readings)))
    )


def _decode_any(body: bytes, most: int, framing: Framing) -> Decoded:
    """Return the readings of a body that are not all plain ones of the right shape."""
    try:
        readings = framing.labelled(body)
        _check_count(len(readings), most)
        found = _strictly(readings, body)
    except (ValueError, RecursionError):
        found = None
    if found is not None:
        return found
    items = _loosely(body, most, framing)
    _check_count(len(items), most)
    return _called(*_shaped(items))


def _strictly(readings: Sequence[AnyReading], body: bytes) -> Decoded | None:
    """Return the readings of a body, which of all that are called alike reads the labels once.

    None where a name stands twice in an object, which reading it loosely names.

    Raises:
        ValueError: labels are none, or no sensor can be called so.
        Problem: `too_many_rows`: the labels of all series together are too large.
    """
    sensors = list(map(_sensor_id, readings))
    names = map(_name, readings), map(_field, readings)
    called = _identities.called(list(zip(sensors, *names, map(bytes, map(_labels, readings)), strict=True)))
    if not _each_name_once(body, called.quotes):
        return None
    timestamps, values = list(map(_timestamp, readings)), list(map(_value, readings))
    if len(readings) >= _MANY and called.numbers.min() >= 0:
        micros = parse_timestamps(timestamps)
        # Of a text that is no instant the fault says what it is.
        if not (micros == INVALID).any():
            dictionary, codes = called.known.dictionary(called.numbers)
            return Decoded(Columns(dictionary.sensor_ids, codes, micros, np.array(values), dictionary.series))
    series = {number: called.known.named(number) for number in set(called.numbers.tolist()) if number >= 0}
    ids = [
        series[number].sensor_id if sensor is msgspec.UNSET else sensor
        for sensor, number in zip(sensors, called.numbers.tolist(), strict=True)
    ]
    return Decoded(Written(ids, timestamps, values, {one.sensor_id: one.series for one in series.values()}))


def _check_count(count: int, most: int) -> None:
    if count == 0:
        raise Problem("malformed_body", "the body has no readings; a batch needs at least one")
    if count > most:
        raise Problem("too_many_rows", f"{count} readings in one batch; at most {most} are taken: split it")


def _each_name_once(body: bytes, quotes: int) -> bool:
    """Tell whether no name stands twice in an object, if what was read of the body has so many quotation marks."""
    # numpy counts five times as fast, but takes a microsecond to begin.
    found = body.count(b'"') if len(body) < _SHORT else np.count_nonzero(np.frombuffer(body, np.uint8) == _QUOTE)
    if found == quotes:
        return True
    return b"\\" in body and body.replace(b"\\\\", b"").replace(b'\\"', b"").count(b'"') == quotes


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


def _loosely(body: bytes, most: int, framing: Framing) -> list[Any]:
    """Read a body that may hold wrong records and the NaN and Infinity that some encoders write."""
    # A label has a comma and four quotation marks.
    if body.count(b",") - body.count(b'"') // 4 > _LOOSE_COMMAS * most:
        raise Problem("too_many_rows", f"the body holds more items than {most} readings can have: split it")
    try:
        # The standard library would guess UTF-16 and UTF-32 too; a mark at the front is no fault.
        return framing.loosely(body.decode("utf-8-sig"), most)
    except UnicodeDecodeError as error:
        raise Problem("malformed_body", f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise Problem("malformed_body", f"the body is not JSON: {error.msg} at character {error.pos}") from error
    except (RecursionError, ValueError) as error:
        raise Problem(
            "malformed_body", "the body is not JSON that can be read: too deep or a number too long"
        ) from error


def json_decoder() -> json.JSONDecoder:
    """Return a decoder of any JSON, which marks the objects in which a name stands twice."""
    return json.JSONDecoder(parse_constant=str, object_pairs_hook=_object)


def _shaped(items: list[Any]) -> tuple[dict[int, _Labelled], list[Fault]]:
    """Return the items that are readings, by their positions, and the faults of the others."""
    readings, faults = {}, []
    for index, item in enumerate(items):
        fault = _fault(index, item)
        if fault is None:
            readings[index] = _Labelled(**item | {"value": _number(item["value"])})
        else:
            faults.append(fault)
    return readings, faults


def _called(readings: dict[int, _Labelled], faults: list[Fault]) -> Decoded:
    """Return readings by their positions as columns; those that name no sensor as they should join the faults."""
    known: dict[Series, str] = {}
    good: dict[int, str] = {}
    wrong = list(faults)
    for index, reading in readings.items():
        try:
            good[index] = sensor_id_of(reading.sensor_id, reading.name, reading.field, reading.labels, known)
        except SeriesError as error:
            wrong.append(Fault(index, error.part, error.code, str(error)))
    chosen = [readings[index] for index in good]
    written = Written(
        list(good.values()),
        [reading.timestamp for reading in chosen],
        [reading.value for reading in chosen],
        {sensor_id: series for series, sensor_id in known.items()},
    )
    return Decoded(written, np.array(list(good), np.intp) if wrong else None, wrong)


def _fault(index: int, item: Any) -> Fault | None:
    if not isinstance(item, dict):
        return Fault(index, None, "not_an_object", "a reading must be an object with sensor_id, timestamp and value")
    return _name_fault(index, item) or _type_fault(index, item)


def _name_fault(index: int, item: dict[str, Any]) -> Fault | None:
    if isinstance(item, _Repeated):
        return Fault(index, _shown(item.name), "duplicate_field", f"{_shown(item.name)!r} stands more than once")
    if item.keys().isdisjoint(("sensor_id", "name", "field", "labels")):
        return Fault(index, "sensor_id", "missing", "sensor_id is missing; a reading has one, or name and labels")
    for name in _REQUIRED:
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
    for name in _TEXTS:
        if name in item and (fault := _text_fault(index, name, name, item[name])):
            return fault
    if "labels" in item and (fault := _labels_fault(index, item["labels"])):
        return fault
    value = item["value"]
    if isinstance(value, str) and value in _NOT_FINITE:
        return Fault(index, "value", "not_finite", "value is not a finite number")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Fault(index, "value", "wrong_type", "value must be a number")
    return None


def _labels_fault(index: int, labels: Any) -> Fault | None:
    if isinstance(labels, _Repeated):
        return Fault(index, "labels", "duplicate_field", f"label {_shown(labels.name)!r} stands more than once")
    if not isinstance(labels, dict):
        return Fault(index, "labels", "wrong_type", "labels must be an object of names and strings")
    for name, value in labels.items():
        shown = f"label {_shown(name)!r}"
        if fault := _text_fault(index, "labels", shown, name) or _text_fault(index, "labels", shown, value):
            return fault
    return None


def _text_fault(index: int, field: str, what: str, text: Any) -> Fault | None:
    if not isinstance(text, str):
        return Fault(index, field, "wrong_type", f"{what} must be a string")
    if not text.isascii() and not _encodable(text):
        return Fault(index, field, "not_unicode", f"{what} holds half of a surrogate pair")
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


_plain = msgspec.json.Decoder(list[Reading] | Reading)
_labelled = msgspec.json.Decoder(list[AnyReading] | AnyReading)
_any = json_decoder()
_T = TypeVar("_T")


def _listed(decoded: list[_T] | _T) -> list[_T]:
    return decoded if isinstance(decoded, list) else [decoded]


def _array(text: str, _: int) -> list[Any]:
    items = _any.decode(text)
    if not isinstance(items, dict | list):
        raise Problem("malformed_body", "the body must be a JSON array of readings or one reading")
    return _listed(items)


decode_json = partial(
    decode_framed,
    framing=Framing(lambda body: _listed(_plain.decode(body)), lambda body: _listed(_labelled.decode(body)), _array),
)
"""Reads a JSON array of readings, or one."""
