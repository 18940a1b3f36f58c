"""Tables of readings, whatever format they came in: in rows, a reading each, or wide, a column for each sensor.

In rows a table has the columns of a reading's fields: ``sensor_id``, ``timestamp`` and ``value``, and for labelled
series ``name``, ``field`` and a column ``labels.<name>`` for each label. Wide, it has ``timestamp`` and a column of values
for each sensor; beside ``name`` and ``labels.<name>``, the columns of values are the fields of these series.

An empty cell is a field that is absent. No column is left aside: one that is not known is a fault of each row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from services.contract import Columns, Series, SeriesError
from services.platform.http.errors import Problem

from ..readings import Decoded, Fault
from .identity import sensor_id_of

__all__ = [
    "CELLS_A_READING",
    "MOST_COLUMNS",
    "Column",
    "ColumnError",
    "Instants",
    "Numbers",
    "Table",
    "Texts",
    "check_cells",
    "in_rows",
    "wide",
]

MOST_COLUMNS = 1024
"""Of a table in rows: many times what a reading has labels."""
CELLS_A_READING = 16
"""Cells of a table, empty ones too, for each reading that a batch may have."""

LABEL = "labels."
"""What the name of a label's column begins with."""
_FIELDS = ("sensor_id", "timestamp", "value", "name", "field")
_ONLY_IN_ROWS = ("sensor_id", "field")

_Read = TypeVar("_Read")
Flags = NDArray[np.bool_]


class ColumnError(ValueError):
    """A column is as a whole not what it should be; the message says what is wrong with it, and the fix."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of texts: each row's place in the `dictionary`, whose texts are distinct; -1 where the cell is empty."""

    dictionary: list[str]
    codes: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Instants:
    """A column of instants.

    Attributes:
        micros: microseconds since 1970-01-01 UTC, `INVALID` where a text is no instant, anything in an empty cell.
        empty: which cells are empty.
        illegible: the texts that are no instants, by their rows.
    """

    micros: NDArray[np.int64]
    empty: Flags
    illegible: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column of numbers.

    Attributes:
        values: float64, anything in an empty or wrong cell.
        empty: which cells are empty.
        wrong: a code, and what is wrong, of the cells without a number, by their rows.
    """

    values: NDArray[np.float64]
    empty: Flags
    wrong: Mapping[int, tuple[str, str]] = field(default_factory=dict)


class Column(Protocol):
    """A column as its format has it; each way to read it raises a ColumnError where it is of another type."""

    def texts(self) -> Texts:
        """Return it as texts."""

    def instants(self) -> Instants:
        """Return it as instants."""

    def numbers(self) -> Numbers:
        """Return it as numbers."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of one length, and their names.

    Attributes:
        names: of the columns.
        columns: in the order of their names.
        rows: how many there are.
        positions: the rows' places in the batch, where faults stand between them; None where none does.
        faults: of the rows that are none of the table's.
    """

    names: Sequence[str]
    columns: Sequence[Column]
    rows: int
    positions: NDArray[np.intp] | None = None
    faults: Sequence[Fault] = ()

    def position(self, row: int) -> int:
        """Return a row's place in the batch."""
        return row if self.positions is None else int(self.positions[row])


class _TableError(ValueError):
    """A fault of all rows."""

    def __init__(self, field: str, code: str, message: str) -> None:
        super().__init__(message)
        self.field, self.code = field, code


def check_cells(rows: int, columns: int, most: int) -> None:
    """See that a table is not larger than batches of `most` readings need, before each of its cells is looked at.

    Raises:
        Problem: `too_many_rows`.
    """
    if rows * columns > CELLS_A_READING * max(most, MOST_COLUMNS):
        raise Problem(
            "too_many_rows", f"the table has {rows} × {columns} cells, many more than {most} readings need: split it"
        )


def in_rows(table: Table, most: int) -> Decoded:
    """Return the readings of a table that has one in each row.

    Raises:
        Problem: `malformed_body` or `too_many_rows`.
    """
    _check_count(table.rows + len(table.faults), most)
    try:
        columns = _named(table, _check_reading)
        sensors = _sensors(columns, table.rows)
        instants = _read("timestamp", columns["timestamp"].instants)
        numbers = _read("value", columns["value"].numbers)
    except _TableError as error:
        return _all_wrong(table, error)
    found = _Faults(table)
    found.add(np.flatnonzero(sensors.codes < 0), "sensor_id", "missing", _NO_SENSOR)
    found.add(np.flatnonzero(instants.empty), "timestamp", "missing", "timestamp is missing")
    found.add(np.flatnonzero(numbers.empty), "value", "missing", "value is missing")
    for row, (kind, what) in numbers.wrong.items():
        found.add([row], "value", kind, f"value {what}")
    for code, fault in sensors.wrong.items():
        found.add(np.flatnonzero(sensors.codes == code), fault.part, fault.code, str(fault))
    good = found.good()
    ids, index = _in_order(sensors.ids, sensors.codes[good])
    readings = Columns(ids, index, instants.micros[good], numbers.values[good], sensors.series)
    return Decoded(readings, found.positions(good), found.all(), _placed(table, instants))


def wide(table: Table, most: int) -> Decoded:
    """Return the readings of a table that has one in each cell of its columns of values.

    Raises:
        Problem: `malformed_body` or `too_many_rows`.
    """
    _check_some(table.rows + len(table.faults))
    try:
        columns = _named(table, _check_wide)
        instants = _read("timestamp", columns["timestamp"].instants)
        chosen = {name: column for name, column in columns.items() if not _is_common(name, columns)}
        sensors = _series_of_fields(columns, list(chosen), table.rows)
        numbers = [_read(name, column.numbers) for name, column in chosen.items()]
    except _TableError as error:
        return _all_wrong(table, error)
    there = ~np.stack([column.empty for column in numbers], axis=1)
    _check_count(int(np.count_nonzero(there)) + len(table.faults), most)
    found = _Faults(table)
    found.add(np.flatnonzero(instants.empty), "timestamp", "missing", "timestamp is missing")
    found.add(np.flatnonzero((sensors.codes < 0).any(axis=1)), "name", "missing", "name is missing")
    for place, (name, column) in enumerate(zip(chosen, numbers, strict=True)):
        for row, (kind, what) in column.wrong.items():
            there[row, place] = False
            found.add_beside([row], name, kind, f"{_shown(name)!r} {what}")
    for code, fault in sensors.wrong.items():
        rows, places = np.nonzero((sensors.codes == code) & there)
        there[rows, places] = False
        found.add_beside(rows, fault.part, fault.code, str(fault))
    there &= found.good()[:, np.newaxis]
    rows, places = np.nonzero(there)
    values = np.stack([column.values for column in numbers], axis=1)
    ids, index = _in_order(sensors.ids, sensors.codes[rows, places])
    readings = Columns(ids, index, instants.micros[rows], values[rows, places], sensors.series)
    positions = rows if table.positions is None else table.positions[rows]
    return Decoded(readings, positions, found.all(), _placed(table, instants), wide=True)


_NO_SENSOR = "sensor_id is missing; a reading has one, or name and labels"


class _Faults:
    """Gathers the faults of a table's rows: of each the first that is found."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._whole: dict[int, Fault] = {}
        self._beside: list[Fault] = []

    def add(self, rows: Sequence[int] | NDArray[np.intp], name: str, code: str, message: str) -> None:
        """Add a fault of whole rows."""
        for row in map(int, rows):
            self._whole.setdefault(row, self._fault(row, name, code, message))

    def add_beside(self, rows: Sequence[int] | NDArray[np.intp], name: str, code: str, message: str) -> None:
        """Add a fault of one cell in each of the rows, whose other cells may be good."""
        self._beside += [self._fault(row, name, code, message) for row in map(int, rows)]

    def good(self) -> Flags:
        """Tell which rows have no fault."""
        good = np.ones(self._table.rows, np.bool_)
        good[list(self._whole)] = False
        return good

    def positions(self, good: Flags) -> NDArray[np.intp] | None:
        """Return the good rows' places in the batch, None where all are good."""
        if self._table.positions is None:
            return np.flatnonzero(good) if self._whole else None
        return self._table.positions[good]

    def all(self) -> list[Fault]:
        """Return the faults, and those of the rows that are none of the table's."""
        whole = {fault.index for fault in self._whole.values()}
        beside = [fault for fault in self._beside if fault.index not in whole]
        return [*self._table.faults, *self._whole.values(), *beside]

    def _fault(self, row: int, name: str, code: str, message: str) -> Fault:
        return Fault(self._table.position(row), _shown(name), code, message)


def _all_wrong(table: Table, error: _TableError) -> Decoded:
    """Return the fault of each row, where it is that of all."""
    faults = [Fault(table.position(row), error.field, error.code, str(error)) for row in range(table.rows)]
    empty = Columns([], np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.float64))
    return Decoded(empty, np.empty(0, np.intp), [*table.faults, *faults])


def _placed(table: Table, instants: Instants) -> dict[int, str]:
    """Return the texts that are no instants by their rows' places in the batch."""
    return {table.position(row): text for row, text in instants.illegible.items()}


def _check_some(count: int) -> None:
    if count == 0:
        raise Problem("malformed_body", "the table has no readings; a batch needs at least one")


def _check_count(count: int, most: int) -> None:
    _check_some(count)
    if count > most:
        raise Problem("too_many_rows", f"{count} readings in one batch; at most {most} are taken: split it")


def _named(table: Table, check: Callable[[Sequence[str]], None]) -> dict[str, Column]:
    """Return a table's columns by their names, which `check` has passed.

    Raises:
        Problem: `malformed_body`.
        _TableError: a name is missing, not known or twice there.
    """
    columns = dict(zip(table.names, table.columns, strict=True))
    if len(columns) < len(table.names):
        twice = next(name for place, name in enumerate(table.names) if name in table.names[:place])
        raise _TableError(_shown(twice), "duplicate_field", f"{_shown(twice)!r} stands more than once")
    check(table.names)
    return columns


def _check_reading(names: Sequence[str]) -> None:
    """See that a table in rows has the columns of readings, and no others."""
    if len(names) > MOST_COLUMNS:
        raise Problem(
            "malformed_body",
            f"the table has {len(names)} columns, and readings in rows at most {MOST_COLUMNS}; "
            "with a column for each sensor it is sent with layout=wide",
        )
    if not any(name in {"sensor_id", "name", "field"} or _is_label(name) for name in names):
        raise _TableError("sensor_id", "missing", _NO_SENSOR)
    for name in ("timestamp", "value"):
        if name not in names:
            raise _TableError(name, "missing", f"{name} is missing")
    for name in names:
        if name not in _FIELDS and not _is_label(name):
            what = (
                f"{_shown(name)!r} is not a field of a reading; a label's column is called {LABEL}{_shown(name)}, "
                "and a table with a column for each sensor is sent with layout=wide"
            )
            raise _TableError(_shown(name), "unknown_field", what)


def _check_wide(names: Sequence[str]) -> None:
    """See that a wide table has columns of values, and none that tell a reading in rows."""
    if "timestamp" not in names:
        raise _TableError("timestamp", "missing", "timestamp is missing")
    for name in _ONLY_IN_ROWS:
        if name in names:
            raise _TableError(name, "unknown_field", f"a wide table has no {name}: its columns are named by them")
    named = "name" in names
    if not named and (label := next(filter(_is_label, names), None)):
        raise _TableError("name", "missing", f"name is missing; {_shown(label)!r} belongs to a name")
    if all(name == "timestamp" or (named and (name == "name" or _is_label(name))) for name in names):
        raise _TableError("value", "missing", "there is no column of values beside timestamp")


def _is_label(name: str) -> bool:
    return name.startswith(LABEL)


def _is_common(name: str, names: Mapping[str, Column]) -> bool:
    """Tell whether a column of a wide table belongs to all values of a row."""
    return name == "timestamp" or ("name" in names and (name == "name" or _is_label(name)))


def _read(name: str, read: Callable[[], _Read]) -> _Read:
    try:
        return read()
    except ColumnError as error:
        raise _TableError(_shown(name), error.code, f"{_shown(name)} {error}") from error


@dataclass(frozen=True, slots=True)
class _Sensors:
    """Whose value each reading is.

    Attributes:
        ids: sensor ids.
        codes: of each reading, the place of its sensor's id, -1 where it names none.
        series: what the ids of labelled series stand for.
        wrong: why the sensors at places are none.
    """

    ids: list[str]
    codes: NDArray[np.int64]
    series: Mapping[str, Series] = field(default_factory=dict)
    wrong: Mapping[int, SeriesError] = field(default_factory=dict)


def _sensors(columns: Mapping[str, Column], rows: int) -> _Sensors:
    """Return whose value each row of a table in rows is."""
    parts = {
        name: _read(name, columns[name].texts)
        for name in columns
        if name in {"sensor_id", "name", "field"} or _is_label(name)
    }
    if list(parts) == ["sensor_id"]:
        return _Sensors(parts["sensor_id"].dictionary, parts["sensor_id"].codes)
    keys, codes = _combinations([part.codes for part in parts.values()], rows)
    return _identified([dict(_texts_of(parts, key)) for key in keys.tolist()], codes)


def _series_of_fields(columns: Mapping[str, Column], fields: Sequence[str], rows: int) -> _Sensors:
    """Return whose value each cell of a wide table's columns `fields` is: codes of rows × fields."""
    if "name" not in columns:
        return _Sensors(list(fields), np.broadcast_to(np.arange(len(fields)), (rows, len(fields))))
    parts = {name: _read(name, columns[name].texts) for name in columns if name == "name" or _is_label(name)}
    keys, codes = _combinations([part.codes for part in parts.values()], rows)
    common = [dict(_texts_of(parts, key)) for key in keys.tolist()]
    found = _identified([each | {"field": name} for each in common for name in fields], np.arange(0))
    matrix = codes[:, np.newaxis] * len(fields) + np.arange(len(fields))
    return _Sensors(found.ids, matrix, found.series, found.wrong)


def _combinations(columns: Sequence[NDArray[np.int64]], rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct combinations of codes, one a row of a matrix, and which of them each row has."""
    codes = np.zeros(rows, np.int64)
    first = np.zeros(min(rows, 1), np.int64)
    for column in columns:
        # Counted anew for each column, they stay far below what 64 bits hold.
        _, first, codes = np.unique(codes * (rows + 1) + column + 1, return_index=True, return_inverse=True)
    return np.stack([column[first] for column in columns], axis=1), codes


def _texts_of(parts: Mapping[str, Texts], key: Sequence[int]) -> list[tuple[str, str]]:
    """Return the texts that a combination of codes stands for, by their columns' names, without empty cells."""
    return [(name, part.dictionary[code]) for (name, part), code in zip(parts.items(), key, strict=True) if code >= 0]


def _identified(called: Sequence[Mapping[str, str]], codes: NDArray[np.int64]) -> _Sensors:
    """Return the sensors that are called by fields of readings; which reading is whose, `codes` tell."""
    known: dict[Series, str] = {}
    ids, wrong = list[str](), dict[int, SeriesError]()
    for place, fields in enumerate(called):
        found = {name.removeprefix(LABEL): text for name, text in fields.items() if _is_label(name)}
        labels: Mapping[str, str] | UnsetType = found or UNSET
        sensor_id, name, field_ = (fields.get(part, UNSET) for part in ("sensor_id", "name", "field"))
        try:
            ids.append(sensor_id_of(sensor_id, name, field_, labels, known))
        except SeriesError as error:
            ids.append("")
            wrong[place] = error
    return _Sensors(ids, codes, {sensor_id: series for series, sensor_id in known.items()}, wrong)


def _in_order(ids: Sequence[str], codes: NDArray[np.int64]) -> tuple[list[str], NDArray[np.uint32]]:
    """Return ids in the order in which rows first have them, and each row's: as any other format would tell them."""
    if _is_ordered(len(ids), codes):
        return list(ids), codes.astype(np.uint32)
    used, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.uint32)
    rank[order] = np.arange(len(order), dtype=np.uint32)
    return [ids[code] for code in used[order].tolist()], rank[inverse]


def _is_ordered(count: int, codes: NDArray[np.int64]) -> bool:
    if not len(codes):
        return count == 0
    newest = np.maximum.accumulate(codes)
    return bool(codes[0] == 0 and newest[-1] == count - 1 and (np.diff(newest) <= 1).all())


def _shown(name: str) -> str:
    return name[:64].encode("ascii", "backslashreplace").decode()
