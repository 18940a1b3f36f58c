"""Exactly once for clients that know no Idempotency-Key (`dedup=batch`): what they send again is known by its hash.

Prometheus, the OpenTelemetry SDK and the Collector send the very request again; Telegraf sends the first metrics of its
buffer, so that what an earlier request held comes back beside what is newer. What both leave together are the readings
of one instant: so a request is cut into slices by instants, and each slice has a key of its own. Where slices would be
of few readings, a key each would cost more than the readings do, and the whole request has one.

Brokers deliver messages again one by one, and bridges put them into other requests: for them each reading may have a
key (`dedup=reading`), which is right however readings are grouped, and costs a row of the ledger each.

The hash is of the decoded readings, before their age is looked at: the same bytes must have the same key whenever they
come. It is only right where each reading has an instant of its own that the client gave it: readings that are stamped
on arrival are never equal.
"""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from msgspec.structs import replace

from services.contract import Columns, Slice

from .readings import Decoded

__all__ = ["by_instant", "by_reading", "called", "whole"]

_FEWEST_ROWS = 8
"""Mean rows of a slice from which slices are worth their keys."""

_MOST_REMEMBERED = 200_000

_hashes: dict[str, bytes] = {}
"""Hashes of sensor ids that came lately."""


def whole(decoded: Decoded, caller: str) -> Decoded:
    """Return readings, without faults or with, as one slice of a caller's."""
    columns = decoded.columns()
    if not len(columns):
        return decoded
    key = _hash(_rows(columns), caller)
    return replace(decoded, readings=columns, slices=(Slice(len(columns), key),))


def called(decoded: Decoded, caller: str, name: str) -> Decoded:
    """Return readings as one slice of a caller's, known by a name that the caller gives to nothing else."""
    if not len(decoded):
        return decoded
    key = _hash(hashlib.blake2b(name.encode()).digest(), caller)
    return replace(decoded, slices=(Slice(len(decoded), key),))


def by_instant(decoded: Decoded, caller: str) -> Decoded:
    """Return readings in the order of their instants, those of one instant in their own, as a slice an instant."""
    columns, positions = decoded.columns(), decoded.positions
    if (np.diff(columns.timestamps) < 0).any():
        order = np.argsort(columns.timestamps, kind="stable")
        columns = columns.take(order)
        positions = order if positions is None else positions[order]
    starts = np.flatnonzero(np.diff(columns.timestamps)) + 1
    if len(columns) < _FEWEST_ROWS * (len(starts) + 1):
        return whole(decoded, caller)
    rows = _rows(columns)
    edges = [0, *starts.tolist(), len(columns)]
    slices = tuple(Slice(end - start, _hash(rows[32 * start : 32 * end], caller)) for start, end in pairwise(edges))
    return replace(decoded, readings=columns, positions=positions, slices=slices)


def by_reading(decoded: Decoded, caller: str) -> Decoded:
    """Return readings with a slice for each, whatever the others in the request are."""
    columns = decoded.columns()
    if not len(columns):
        return decoded
    rows = _rows(columns)
    slices = tuple(Slice(1, _hash(rows[at : at + 32], caller)) for at in range(0, len(rows), 32))
    return replace(decoded, slices=slices)


def _rows(columns: Columns) -> memoryview:
    """Return the rows as 32 bytes each: hash of the sensor id, instant, value; no dictionary has a part in it."""
    ids = np.frombuffer(b"".join(_hashes_of(columns.sensor_ids)), np.uint64).reshape(-1, 2)
    rows = np.empty((len(columns), 4), np.uint64)
    rows[:, :2] = ids[columns.index]
    rows[:, 2] = columns.timestamps.view(np.uint64)
    rows[:, 3] = columns.values.view(np.uint64)
    return memoryview(rows.data).cast("B")


def _hashes_of(sensor_ids: Sequence[str]) -> list[bytes]:
    """Return the hashes of sensor ids, most of which came before."""
    found = list(map(_hashes.get, sensor_ids))
    known = [one for one in found if one is not None]
    if len(known) == len(found):
        return known
    new = [sensor_id for sensor_id, one in zip(sensor_ids, found, strict=True) if one is None]
    hashes = {sensor_id: hashlib.blake2b(sensor_id.encode(), digest_size=16).digest() for sensor_id in new}
    if len(_hashes) + len(hashes) > _MOST_REMEMBERED:
        _hashes.clear()
    _hashes.update(hashes)
    return [one or hashes[sensor_id] for sensor_id, one in zip(sensor_ids, found, strict=True)]


def _hash(rows: memoryview | bytes, caller: str) -> bytes:
    """Hash rows; those of different callers never meet. Keys stand in the database: the hash may never change."""
    return hashlib.blake2b(rows, digest_size=16, key=caller.encode()[:64]).digest()
