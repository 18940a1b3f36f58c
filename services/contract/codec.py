"""The packed entry: MessagePack, columns as little-endian arrays.

Version 2 says, beside what version 1 does, which of its sensors are labelled series, and what their names, fields and
labels are, as MessagePack inside of a Zstandard frame. Version 3 says, beside that, which rows of a batch come again
together where they do; version 4, of which batches only the first reading of a sensor and instant is stored; version 5,
of what kind its series are, and their units. An entry is written as the oldest version that can say what it holds, so
that workers of a release before take it.

A column of integers is packed as ``[base, step, width, bytes]``: a value is ``base + step * item``, and an item
takes ``width`` bytes. Timestamps to the second and dictionary indexes take one to four bytes so, not eight.
"""

import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from .entry import Batch, Columns, Entry, Slice
from .errors import DamagedEntryError, NewerVersionError
from .names import FIELD_PAYLOAD, FIELD_ROWS, FIELD_VERSION
from .series import Series, check_series

__all__ = ["MAX_SENSOR_ID", "MAX_VALUE", "TIMESTAMP_LIMITS", "VERSION", "decode", "encode"]

VERSION = 5
"""The newest contract version that this release writes and reads."""

MAX_SENSOR_ID = 128
"""Longest sensor id, in characters."""

MAX_VALUE = 1e100
"""Largest magnitude of a value. SQL's avg and stddev square: one value near the end of float64 would fail them,
and with them the refresh of an hour bucket for all sensors."""

TIMESTAMP_LIMITS = (-62_135_510_400_000_000, 253_370_764_799_999_999)
"""Microseconds of 0001-01-02 and of the last instant of 9998, UTC: hour buckets around them still have names."""

_WIDTHS = {width: np.dtype(f"<u{width}") for width in (1, 2, 4, 8)}
_STEPS = (1_000_000, 1_000)
_SLICE_KEY = 16
_UNLABELLED: Mapping[str, Series] = {}


class _Packed(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    base: int
    step: int
    width: int
    data: bytes


class _Batch(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    batch_id: uuid.UUID
    rows: int
    accepted_at: int
    traceparent: str | None
    digest: bytes | None
    notify: bool


class _Payload(msgspec.Struct, forbid_unknown_fields=True):
    group: uuid.UUID | None
    batches: list[_Batch]
    sensors: msgspec.Raw
    index: _Packed
    time: _Packed
    value: bytes


class _Labelled(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    code: int
    series: Series


class _LabelledPayload(_Payload, forbid_unknown_fields=True):
    series: bytes


class _Slices(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    batch: int
    rows: list[int]
    keys: bytes


class _SlicedPayload(_Payload, forbid_unknown_fields=True):
    series: bytes | None
    slices: list[_Slices]


class _NaturalPayload(_SlicedPayload, forbid_unknown_fields=True):
    natural: list[int]


class _DescribedPayload(_NaturalPayload, forbid_unknown_fields=True):
    pass


class _PackedSeries(NamedTuple):
    """Series of a dictionary, as they are and packed, and whether a kind or unit of one is told."""

    series: tuple[Series, ...]
    packed: bytes
    described: bool


_MOST_DICTIONARIES, _MAX_DICTIONARY_BYTES = 128, 1 << 16
"""Dictionaries that are remembered unpacked, and the most bytes that one of them may come to."""

_MOST_KNOWN, _MAX_KNOWN_BYTES = 64, 1 << 20
"""Packed series of whole entries that are remembered, packed and unpacked, and the most bytes that one may come to."""

_packed: dict[tuple[str, ...], _PackedSeries] = {}
"""By the sensor ids of an entry."""

_MAX_SERIES_BYTES = 1 << 28
"""Bytes that packed series may come to: more than any request body holds."""

_encoder = msgspec.msgpack.Encoder(uuid_format="bytes")
_sensors_decoder = msgspec.msgpack.Decoder(list[str])
_decoders: dict[int, msgspec.msgpack.Decoder[Any]] = {
    1: msgspec.msgpack.Decoder(_Payload),
    2: msgspec.msgpack.Decoder(_LabelledPayload),
    3: msgspec.msgpack.Decoder(_SlicedPayload),
    4: msgspec.msgpack.Decoder(_NaturalPayload),
    5: msgspec.msgpack.Decoder(_DescribedPayload),
}
_series_decoder = msgspec.msgpack.Decoder(list[_Labelled])


def encode(entry: Entry) -> dict[bytes, bytes]:
    """Return the stream fields of `entry`."""
    columns = entry.columns
    payload = _Payload(
        group=entry.group,
        batches=[_Batch(b.batch_id, b.rows, b.accepted_at, b.traceparent, b.digest, b.notify) for b in entry.batches],
        sensors=msgspec.Raw(_encoder.encode(columns.sensor_ids)),
        index=_pack(columns.index.astype(np.int64), base=0, steps=()),
        time=_pack(columns.timestamps, base=int(columns.timestamps.min()), steps=_STEPS),
        value=columns.values.astype("<f8", copy=False).tobytes(),
    )
    version = 1
    packed, described = None, False
    if columns.series:
        _, packed, described = _packed_series(columns)
    slices = [
        _Slices(position, [one.rows for one in batch.slices], b"".join(one.key for one in batch.slices))
        for position, batch in enumerate(entry.batches)
        if batch.slices
    ]
    natural = [position for position, batch in enumerate(entry.batches) if batch.natural]
    if natural or described:
        version = 5 if described else 4
        payload = _NaturalPayload(**msgspec.structs.asdict(payload), series=packed, slices=slices, natural=natural)
    elif slices:
        version = 3
        payload = _SlicedPayload(**msgspec.structs.asdict(payload), series=packed, slices=slices)
    elif packed is not None:
        version = 2
        payload = _LabelledPayload(**msgspec.structs.asdict(payload), series=packed)
    return {
        FIELD_VERSION: b"%d" % version,
        FIELD_ROWS: b"%d" % len(columns),
        FIELD_PAYLOAD: _encoder.encode(payload),
    }


def _packed_series(columns: Columns) -> _PackedSeries:
    """Return the labelled ones of the dictionary with their codes, packed.

    Agents send the same series again and again: those of a dictionary of which all ids are labelled are remembered.
    """
    ids = tuple(columns.sensor_ids)
    found = tuple(map(columns.series.get, ids))
    known = _packed.get(ids)
    if known is not None and known.series == found:
        return known
    labelled = [code for code, one in enumerate(found) if one is not None]
    series = tuple(one for one in found if one is not None)
    described = any(one.kind or one.unit for one in series)
    # As all versions before the fifth have them.
    named = series if described else [(one.name, one.field, one.labels) for one in series]
    packed = zstandard.ZstdCompressor().compress(_encoder.encode(list(zip(labelled, named, strict=True))))
    made = _PackedSeries(series, packed, described)
    if len(series) == len(ids) and len(packed) <= _MAX_KNOWN_BYTES:
        if len(_packed) >= _MOST_KNOWN:
            _packed.clear()
        _packed[ids] = made
    return made


def decode(fields: dict[bytes, bytes]) -> Entry:
    """Read the stream fields of an entry.

    Raises:
        NewerVersionError: a later release wrote it.
        DamagedEntryError: it breaks the schema: wrong fields, lengths, ids, values, times or labels.
    """
    version = _number(fields, FIELD_VERSION)
    if version > VERSION:
        raise NewerVersionError(version)
    rows = _number(fields, FIELD_ROWS)
    try:
        payload = _decoders[version].decode(fields[FIELD_PAYLOAD])
        entry = _entry(payload)
    except KeyError:
        raise DamagedEntryError("the payload field is missing") from None
    except (msgspec.MsgspecError, zstandard.ZstdError, ValueError, OverflowError) as error:
        raise DamagedEntryError(f"the payload does not follow version {version}: {error}") from error
    if rows != len(entry.columns):
        raise DamagedEntryError(f"the entry names {rows} rows and holds {len(entry.columns)}")
    return entry


def _entry(payload: _Payload) -> Entry:
    sensor_ids, series = _dictionary(payload)
    columns = Columns(
        sensor_ids, _index(payload.index), _unpack(payload.time), np.frombuffer(payload.value, "<f8"), series
    )
    slices = _slices(payload) if isinstance(payload, _SlicedPayload) else {}
    natural = _natural(payload) if isinstance(payload, _NaturalPayload) else frozenset()
    batches = [
        Batch(
            b.batch_id,
            b.rows,
            b.accepted_at,
            b.traceparent,
            b.digest,
            b.notify,
            slices.get(position, ()),
            position in natural,
        )
        for position, b in enumerate(payload.batches)
    ]
    _check(columns, batches)
    return Entry(payload.group, batches, columns)


def _dictionary(payload: _Payload) -> tuple[list[str], Mapping[str, Series]]:
    """Return the sensors of an entry, and what the labelled ones stand for.

    Fleets and agents send the same sensors again and again, and so the same bytes: these lead to the same objects.
    """
    sensors = bytes(payload.sensors)
    sensor_ids = (_known_sensors if len(sensors) <= _MAX_DICTIONARY_BYTES else _unpacked_sensors)(sensors)
    packed = payload.series if isinstance(payload, (_LabelledPayload, _SlicedPayload)) else None
    if packed is None:
        return sensor_ids, _UNLABELLED
    size = zstandard.frame_content_size(packed)
    if size > _MAX_SERIES_BYTES:
        raise ValueError("packed series are larger than any may be")
    known = len(sensors) <= _MAX_KNOWN_BYTES and 0 <= size <= _MAX_KNOWN_BYTES
    return sensor_ids, (_known_series if known else _unpacked_series)(sensors, packed)


def _unpacked_sensors(sensors: bytes) -> list[str]:
    """Return packed sensor ids that hold to the limits."""
    found: list[str] = _sensors_decoder.decode(sensors)
    lengths = set(map(len, found))
    if not found or min(lengths) == 0 or max(lengths) > MAX_SENSOR_ID or "\0" in "".join(found):
        raise ValueError("there is no sensor id, or one is empty, too long or holds NUL")
    return found


def _unpacked_series(sensors: bytes, packed: bytes) -> dict[str, Series]:
    """Return packed series that hold to the limits, by the ids of the packed sensors that they are of."""
    unpacked = zstandard.ZstdDecompressor().decompress(packed, max_output_size=_MAX_SERIES_BYTES)
    found = _series_decoder.decode(unpacked)
    for labelled in found:
        check_series(labelled.series)
    sensor_ids = _unpacked_sensors(sensors)
    if not found or not all(0 <= labelled.code < len(sensor_ids) for labelled in found):
        raise ValueError("a series points past the dictionary, or there is none")
    return {sensor_ids[labelled.code]: labelled.series for labelled in found}


_known_sensors = lru_cache(_MOST_DICTIONARIES)(_unpacked_sensors)
_known_series = lru_cache(_MOST_KNOWN)(_unpacked_series)


def _slices(payload: _SlicedPayload) -> dict[int, tuple[Slice, ...]]:
    """Return the slices of batches by the batches' positions; the rows of each add up to its batch's."""
    if not payload.slices and not isinstance(payload, _NaturalPayload):
        raise ValueError("there are no slices")
    found: dict[int, tuple[Slice, ...]] = {}
    for one in payload.slices:
        if not 0 <= one.batch < len(payload.batches) or one.batch in found:
            raise ValueError("slices are of no batch, or a batch has them twice")
        keys = [one.keys[at : at + _SLICE_KEY] for at in range(0, len(one.keys), _SLICE_KEY)]
        if len(keys) != len(one.rows) or len(one.keys) != _SLICE_KEY * len(keys):
            raise ValueError("slices and their keys are not of one number")
        if min(one.rows, default=0) < 1 or sum(one.rows) != payload.batches[one.batch].rows:
            raise ValueError("the rows of slices do not add up to their batch's")
        found[one.batch] = tuple(map(Slice, one.rows, keys))
    return found


def _natural(payload: _NaturalPayload) -> frozenset[int]:
    """Return the positions of natural batches; none of them has slices."""
    found = frozenset(payload.natural)
    if len(found) < len(payload.natural) or not (found or isinstance(payload, _DescribedPayload)):
        raise ValueError("no batch is natural, or one is twice")
    if not found <= set(range(len(payload.batches))) or found & {one.batch for one in payload.slices}:
        raise ValueError("what is natural is no batch, or has slices")
    return found


def _index(packed: _Packed) -> NDArray[np.uint32]:
    index = _unpack(packed)
    if (index >> 32).any():
        raise ValueError("an index is negative or needs more than 32 bits")
    return index.astype(np.uint32)


def _check(columns: Columns, batches: list[Batch]) -> None:
    rows = len(columns)
    if rows == 0 or not len(columns.index) == len(columns.timestamps) == rows:
        raise ValueError("columns are empty or of different lengths")
    if any(b.rows < 1 for b in batches) or sum(b.rows for b in batches) != rows:
        raise ValueError("the batches' rows do not add up to the columns'")
    if len({b.batch_id for b in batches}) != len(batches):
        raise ValueError("a batch id stands twice")
    low, high = TIMESTAMP_LIMITS
    if any(not low <= b.accepted_at <= high for b in batches):
        raise ValueError("an acceptance lies outside the years 1 to 9998")
    if columns.index.max() >= len(columns.sensor_ids):
        raise ValueError("an index points past the dictionary")
    if not (np.abs(columns.values) <= MAX_VALUE).all():
        raise ValueError(f"a value is not finite or beyond {MAX_VALUE:g}")
    if columns.timestamps.min() < low or columns.timestamps.max() > high:
        raise ValueError("a timestamp lies outside the years 1 to 9998")


def _number(fields: dict[bytes, bytes], name: bytes) -> int:
    text = fields.get(name, b"")
    if not (text.isascii() and text.isdigit() and len(text) < 10) or int(text) < 1:
        raise DamagedEntryError(f"field {name.decode()!r} is not a positive number: {text[:20]!r}")
    return int(text)


def _pack(values: NDArray[np.int64], base: int, steps: tuple[int, ...]) -> _Packed:
    items = values - base
    step = next((s for s in steps if not (items % s).any()), 1)
    items //= step
    top = int(items.max(initial=0))
    width = next(w for w in _WIDTHS if top < 1 << (8 * w))
    return _Packed(base, step, width, items.astype(_WIDTHS[width]).tobytes())


def _unpack(packed: _Packed) -> NDArray[np.int64]:
    if packed.width not in _WIDTHS:
        raise ValueError(f"integers of {packed.width} bytes")
    items = np.frombuffer(packed.data, _WIDTHS[packed.width])
    low, high = TIMESTAMP_LIMITS
    if len(items) and not low <= packed.base + packed.step * int(items.max()) <= high:
        raise ValueError("an integer is out of range")
    return items.astype(np.int64) * packed.step + packed.base
