"""What every door's readings must hold to, checked on whole columns in this one place; each fault names its record."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.contract import Columns, Series, Slice
from services.contract.codec import MAX_SENSOR_ID, MAX_VALUE
from services.contract.instants import INVALID, instant_of, parse_timestamps, why_invalid
from services.platform.http.errors import Problem

from .limits.window import DAY, Limits

__all__ = ["AGENT_ROWS", "SHOWN_FAULTS", "Checked", "Decoded", "Fault", "Written", "check", "faults_of"]

SHOWN_FAULTS = 100
"""How many faults an answer names."""

AGENT_ROWS = 500_000
"""Most readings in one request of an agent, which cannot be told to split it: it meets the limit of bytes before."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one record is refused: its position in the batch, the field (None for all of it), a code, a sentence."""

    index: int
    field: str | None
    code: str
    message: str


class Written(msgspec.Struct, gc=False):
    """Readings as texts of JSON, one item a record in each column, and nothing of them checked.

    Timestamps stay as the client wrote them, in RFC 3339: parsing texts costs nearly the same for one as for a
    thousand, so it is done for all batches that share an entry.

    Attributes:
        sensor_ids: of each record.
        timestamps: of each record.
        values: of each record.
        series: what the sensor ids of labelled series stand for.
    """

    sensor_ids: list[str]
    timestamps: list[str]
    values: list[float]
    series: dict[str, Series] = {}

    def __len__(self) -> int:
        return len(self.values)

    def columns(self) -> Columns:
        """Return the same readings as columns; a timestamp that cannot be read is `INVALID`."""
        codes: defaultdict[str, int] = defaultdict(count().__next__)
        index = np.fromiter(map(codes.__getitem__, self.sensor_ids), np.uint32, len(self))
        values = np.fromiter(self.values, np.float64, len(self))
        return Columns(list(codes), index, parse_timestamps(self.timestamps), values, self.series)

    @staticmethod
    def joined(parts: Sequence["Written"]) -> "Written":
        """Return readings one behind the other."""
        return Written(
            list(chain.from_iterable(part.sensor_ids for part in parts)),
            list(chain.from_iterable(part.timestamps for part in parts)),
            list(chain.from_iterable(part.values for part in parts)),
            dict(chain.from_iterable(part.series.items() for part in parts if part.series)),
        )


class Decoded(msgspec.Struct, gc=False):
    """A batch as its door decoded it: the records that have the right shape, and nothing checked yet.

    Attributes:
        readings: these records, as texts or, where the protocol has instants as numbers, as columns.
        positions: the records' places in the batch, where faults stand between them; None where none does.
        faults: of the records without the right shape.
        slices: which of the records, one behind the other, are stored once though they come again; none where the
            client has a key for that, or sends equal readings on purpose.
        skipped: how many values of which kind came beside the records that the service does not keep, such as texts.
        label_bytes: of the names and labels of its series, about; 0 where the body itself has them all.
        illegible: where the readings are columns, the texts that stood for timestamps which are `INVALID`, by the
            records' places in the batch.
        wide: whether a record has a field for each of several sensors, or of a series' fields, that is called so.
    """

    readings: Written | Columns
    positions: NDArray[np.intp] | None = None
    faults: list[Fault] = []
    slices: tuple[Slice, ...] = ()
    skipped: Mapping[str, int] = {}
    label_bytes: int = 0
    illegible: Mapping[int, str] = {}
    wide: bool = False

    def __len__(self) -> int:
        return len(self.readings)

    def columns(self) -> Columns:
        """Return the readings as columns; a timestamp that cannot be read is `INVALID`."""
        return self.readings.columns() if isinstance(self.readings, Written) else self.readings

    @staticmethod
    def joined(parts: Sequence["Decoded"]) -> "Decoded":
        """Return the readings of batches without faults, one behind the other; texts are read together."""
        if len(parts) == 1:
            return parts[0]
        written = [part.readings for part in parts if isinstance(part.readings, Written)]
        if len(written) == len(parts):
            return Decoded(Written.joined(written))
        return Decoded(Columns.concat([part.columns() for part in parts]))


class Checked(NamedTuple):
    """A batch's good readings, its slices as far as these are in it, and the faults of the others."""

    columns: Columns
    faults: list[Fault]
    slices: tuple[Slice, ...] = ()


def check(decoded: Decoded, limits: Limits, *, partial: bool) -> Checked:
    """Return the good readings and, where `partial` lets a batch be split, the faults of the others.

    What is right is told for whole columns at once; only where something is wrong are its records looked at one by
    one, to name them.

    Raises:
        Problem: `invalid_readings` naming the first hundred bad records, where there are any and the batch may
            not be split, or where no reading is good.
    """
    columns = decoded.columns()
    good = _good(columns, limits)
    if good.all() and not decoded.faults:
        return Checked(columns, [], decoded.slices)
    faults = sorted(decoded.faults + _named(decoded, columns, ~good, limits), key=lambda fault: fault.index)
    if not partial or not good.any():
        shown = [_shown(fault) for fault in faults[:SHOWN_FAULTS]]
        sent = len(decoded) + len(decoded.faults)
        detail = f"{len(faults)} of {sent} readings are wrong; the first: {shown[0]['message']}"
        raise Problem("invalid_readings", detail, errors=shown, rejected=len(faults))
    return Checked(columns.take(good).compact(), faults, _left_of(decoded.slices, good))


def faults_of(problem: Problem) -> list[Fault]:
    """Return the faults that `invalid_readings` lists, for doors whose protocol tells them in its own words."""
    listed = problem.members.get("errors")
    return [Fault(**fault) for fault in listed] if isinstance(listed, list) else []


def _left_of(slices: tuple[Slice, ...], good: NDArray[np.bool_]) -> tuple[Slice, ...]:
    """Return slices with only their good rows; a key stands for all that was sent, whenever what of it is good."""
    if not slices:
        return ()
    ends = np.cumsum([one.rows for one in slices])
    kept = np.diff(np.concatenate(([0], np.cumsum(good)[ends - 1]))).tolist()
    return tuple(Slice(rows, one.key) for rows, one in zip(kept, slices, strict=True) if rows)


def _good(columns: Columns, limits: Limits) -> NDArray[np.bool_]:
    """Tell which rows hold to all rules; NaN and `INVALID` compare as beyond every limit."""
    good = np.abs(columns.values) <= MAX_VALUE
    good &= (columns.timestamps >= limits.oldest) & (columns.timestamps <= limits.newest)
    # The dictionary is short and mostly right: only where it is not, are the rows of its bad ids looked up.
    lengths = set(map(len, columns.sensor_ids))
    if 0 in lengths or max(lengths, default=0) > MAX_SENSOR_ID or "\0" in "".join(columns.sensor_ids):
        bad_ids = [code for code, sensor_id in enumerate(columns.sensor_ids) if _id_fault(sensor_id)]
        good &= ~np.isin(columns.index, bad_ids)
    return good


def _named(decoded: Decoded, columns: Columns, bad: NDArray[np.bool_], limits: Limits) -> list[Fault]:
    """Return the fault of each bad row, one a row: of its sensor id before its value before its timestamp.

    What is wrong with a wide record's timestamp is told once.
    """
    faults = dict[Fault, None]()
    for row in np.flatnonzero(bad).tolist():
        position = row if decoded.positions is None else int(decoded.positions[row])
        sensor_id = columns.sensor_ids[columns.index[row]]
        value = _field_of(columns, sensor_id) if decoded.wide else "value"
        if fault := _id_fault(sensor_id):
            faults[Fault(position, value if decoded.wide else "sensor_id", *fault)] = None
        elif not np.isfinite(columns.values[row]):
            faults[Fault(position, value, "not_finite", f"{value} is not a finite number")] = None
        elif abs(columns.values[row]) > MAX_VALUE:
            faults[Fault(position, value, "too_large", f"{value} lies beyond ±{MAX_VALUE:g}")] = None
        else:
            text = decoded.illegible.get(position) or _time_text(decoded.readings, row)
            code, message = _time_fault(text, int(columns.timestamps[row]), limits)
            faults[Fault(position, "timestamp", code, message)] = None
    return list(faults)


def _field_of(columns: Columns, sensor_id: str) -> str:
    """Return the name of a wide record's field: that of the series' field, where it has one, else the sensor's id."""
    series = columns.series.get(sensor_id)
    name = sensor_id if series is None else series.field or sensor_id
    return name[:64].encode("ascii", "backslashreplace").decode()


def _id_fault(sensor_id: str) -> tuple[str, str] | None:
    if not sensor_id:
        return "empty", "sensor_id is empty"
    if len(sensor_id) > MAX_SENSOR_ID:
        return "too_long", f"sensor_id has {len(sensor_id)} characters; at most {MAX_SENSOR_ID} are taken"
    if "\0" in sensor_id:
        return "nul", "sensor_id holds a NUL character"
    return None


def _time_text(readings: Written | Columns, row: int) -> str:
    """Return a row's timestamp as the client wrote it or, where it was a number, as what it came to."""
    if isinstance(readings, Written):
        return readings.timestamps[row]
    micros = int(readings.timestamps[row])
    try:
        return instant_of(micros).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return f"{micros} µs since 1970"


def _time_fault(text: str, micros: int, limits: Limits) -> tuple[str, str]:
    """Return the code and sentence of a timestamp that is none or lies outside of `limits`, with what decides there."""
    if micros == INVALID:
        code, why = why_invalid(text)
        return code, f"timestamp {text[:40]!r} {why}"
    if micros < limits.oldest and limits.retention is not None:
        age = f"{limits.retention / DAY:g} days"
        return "behind_retention", f"timestamp {text[:40]} is too old: retention drops readings after {age}"
    if micros < limits.oldest:
        return "too_old", f"timestamp {text[:40]} is older than this service takes (MILLRACE_INGEST_MAX_PAST)"
    return "too_new", f"timestamp {text[:40]} lies too far in the future (MILLRACE_INGEST_MAX_FUTURE)"


def _shown(fault: Fault) -> dict[str, object]:
    return {"index": fault.index, "field": fault.field, "code": fault.code, "message": fault.message}
