"""What every format's readings must hold to, checked on whole columns; each fault names its record."""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count

import numpy as np
from numpy.typing import NDArray

from services.contract import Columns
from services.contract.codec import MAX_SENSOR_ID, MAX_VALUE, TIMESTAMP_LIMITS
from services.contract.instants import INVALID, parse_timestamps, why_invalid
from services.platform.http.errors import Problem
from services.platform.settings import IngestSettings

__all__ = ["SHOWN_FAULTS", "Fault", "Limits", "Rows", "checked"]

_DAY = 86_400_000_000
SHOWN_FAULTS = 100
"""How many faults an answer names."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one record is refused: its position in the batch, the field (None for all of it), a code, a sentence."""

    index: int
    field: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Most readings of a batch, and the window of timestamps in microseconds since 1970.

    Attributes:
        rows: most readings of a batch.
        oldest: first timestamp that is taken.
        newest: last timestamp that is taken.
        retention: age in microseconds at which the database drops readings, where that decides on `oldest`.
    """

    rows: int
    oldest: int
    newest: int
    retention: int | None = None

    @staticmethod
    def now(settings: IngestSettings, retention: int | None) -> "Limits":
        """Return the limits in force at this instant, where the database drops readings of the age `retention`."""
        now = time.time_ns() // 1000
        low, high = TIMESTAMP_LIMITS
        past = int(settings.max_past * _DAY)
        decides = retention is not None and retention < past
        return Limits(
            settings.max_rows,
            max(low, now - (retention if decides and retention else past)),
            min(high, now + int(settings.max_future * 60_000_000)),
            retention if decides else None,
        )


@dataclass(slots=True)
class Rows:
    """A batch as decoded: one item a record that has the right shape, and the faults of those that have not."""

    sensor_ids: list[str]
    timestamps: list[str]
    values: list[float]
    positions: NDArray[np.intp] | None = None
    faults: list[Fault] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values)

    @staticmethod
    def joined(parts: Sequence["Rows"]) -> "Rows":
        """Return the readings of batches without faults, one behind the other."""
        if len(parts) == 1:
            return parts[0]
        return Rows(
            list(chain.from_iterable(part.sensor_ids for part in parts)),
            list(chain.from_iterable(part.timestamps for part in parts)),
            list(chain.from_iterable(part.values for part in parts)),
        )


def checked(rows: Rows, limits: Limits, *, partial: bool) -> tuple[Columns, list[Fault]]:
    """Return the good readings and, where `partial` lets a batch be split, the faults of the others.

    Raises:
        Problem: `invalid_readings` naming the first hundred bad records, where there are any and the batch may
            not be split, or where no reading is good.
    """
    codes: defaultdict[str, int] = defaultdict(count().__next__)
    index = np.fromiter(map(codes.__getitem__, rows.sensor_ids), np.uint32, len(rows))
    values = np.fromiter(rows.values, np.float64, len(rows))
    columns = Columns(list(codes), index, parse_timestamps(rows.timestamps), values)
    good = _good(columns, limits)
    if good.all() and not rows.faults:
        return columns, []
    faults = sorted(rows.faults + _named(rows, columns, ~good, limits), key=lambda fault: fault.index)
    if not partial or not good.any():
        shown = [_shown(fault) for fault in faults[:SHOWN_FAULTS]]
        detail = f"{len(faults)} of {len(rows) + len(rows.faults)} readings are wrong; the first: {shown[0]['message']}"
        raise Problem("invalid_readings", detail, errors=shown, rejected=len(faults))
    return columns.take(good).compact(), faults


def _good(columns: Columns, limits: Limits) -> NDArray[np.bool_]:
    good = np.abs(columns.values) <= MAX_VALUE
    good &= (columns.timestamps >= limits.oldest) & (columns.timestamps <= limits.newest)
    lengths = set(map(len, columns.sensor_ids))
    if 0 in lengths or max(lengths, default=0) > MAX_SENSOR_ID or "\0" in "".join(columns.sensor_ids):
        bad_ids = [code for code, sensor_id in enumerate(columns.sensor_ids) if _id_fault(sensor_id)]
        good &= ~np.isin(columns.index, bad_ids)
    return good


def _id_fault(sensor_id: str) -> tuple[str, str] | None:
    if not sensor_id:
        return "empty", "sensor_id is empty"
    if len(sensor_id) > MAX_SENSOR_ID:
        return "too_long", f"sensor_id has {len(sensor_id)} characters; at most {MAX_SENSOR_ID} are taken"
    if "\0" in sensor_id:
        return "nul", "sensor_id holds a NUL character"
    return None


def _named(rows: Rows, columns: Columns, bad: NDArray[np.bool_], limits: Limits) -> list[Fault]:
    faults = []
    for row in np.flatnonzero(bad).tolist():
        position = row if rows.positions is None else int(rows.positions[row])
        if fault := _id_fault(rows.sensor_ids[row]):
            faults.append(Fault(position, "sensor_id", *fault))
        elif not np.isfinite(columns.values[row]):
            faults.append(Fault(position, "value", "not_finite", "value is not a finite number"))
        elif abs(columns.values[row]) > MAX_VALUE:
            faults.append(Fault(position, "value", "too_large", f"value lies beyond ±{MAX_VALUE:g}"))
        else:
            code, message = _time_fault(rows.timestamps[row], int(columns.timestamps[row]), limits)
            faults.append(Fault(position, "timestamp", code, message))
    return faults


def _time_fault(text: str, micros: int, limits: Limits) -> tuple[str, str]:
    if micros == INVALID:
        code, why = why_invalid(text)
        return code, f"timestamp {text[:40]!r} {why}"
    if micros < limits.oldest and limits.retention is not None:
        age = f"{limits.retention / _DAY:g} days"
        return "behind_retention", f"timestamp {text[:40]} is too old: retention drops readings after {age}"
    if micros < limits.oldest:
        return "too_old", f"timestamp {text[:40]} is older than this service takes (MILLRACE_INGEST_MAX_PAST)"
    return "too_new", f"timestamp {text[:40]} lies too far in the future (MILLRACE_INGEST_MAX_FUTURE)"


def _shown(fault: Fault) -> dict[str, object]:
    return {"index": fault.index, "field": fault.field, "code": fault.code, "message": fault.message}
