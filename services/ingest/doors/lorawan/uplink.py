"""What an uplink is, whoever sends it, and the readings that it comes to: each number that was decoded is one."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.contract import Series, SeriesError
from services.platform.http.errors import Problem

from ...naming import identified
from ...readings import Decoded, Fault, Written
from ...slices import called

__all__ = ["Uplink", "nothing", "readings_of", "required"]

_KINDS: Mapping[type, str] = {str: "strings", list: "lists"}


@dataclass(frozen=True, slots=True)
class Uplink:
    """A message of a device.

    Attributes:
        id: what makes it this one, the same if it is sent again.
        instant: when the network heard it, in RFC 3339.
        labels: of all its readings.
        payload: what a codec made of its bytes; None where there is no codec.
    """

    id: str
    instant: str
    labels: Mapping[str, str]
    payload: Any


def required(found: Any, *path: str) -> str:
    """Return a text that stands in an event at names inside of names.

    Raises:
        Problem: `malformed_body`, naming it, where it is not there.
    """
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, str) or not found:
        raise Problem(
            "malformed_body", f"the event has no text at {'.'.join(path)}; send it as the network server does"
        )
    return found


def nothing(kind: str) -> Decoded:
    """Return no readings, of what is passed over and counted as `kind`."""
    return Decoded(Written([], [], []), skipped={kind: 1})


def readings_of(uplink: Uplink, caller: str) -> Decoded:
    """Return the numbers and truth values of an uplink as readings, those inside of objects named with dots between.

    They are one slice, known by the uplink's id: what is sent again is stored once.
    """
    if uplink.payload is None:
        return nothing("undecoded")
    skipped = Counter[str]()
    ids, values, positions = list[str](), list[float](), list[int]()
    series, faults = dict[str, Series](), list[Fault]()
    for position, (name, value) in enumerate(_numbers(uplink.payload, skipped)):
        try:
            one = identified(name, uplink.labels)
        except SeriesError as error:
            faults.append(Fault(position, error.part, error.code, f"{name[:40]!r}: {error}"))
            continue
        ids.append(one.sensor_id)
        series[one.sensor_id] = one.series
        values.append(value)
        positions.append(position)
    written = Written(ids, [uplink.instant] * len(ids), values, series)
    return called(Decoded(written, np.array(positions, np.intp), faults, skipped=skipped), caller, uplink.id)


def _numbers(payload: Any, skipped: Counter[str], name: str = "") -> Iterator[tuple[str, float]]:
    """Yield names and values; what is neither a number nor an object is counted by its kind."""
    if isinstance(payload, dict):
        for key, value in payload.items():
            yield from _numbers(value, skipped, f"{name}.{key}" if name else key)
    elif isinstance(payload, int | float) and name:
        yield name, float(payload)
    else:
        skipped[_KINDS.get(type(payload), "others")] += 1
