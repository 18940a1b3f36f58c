"""Tables of readings, whatever format they came in: in rows, a reading each, or wide, a column for each sensor.

In rows a table has the columns of a reading's fields: ``sensor_id``, ``timestamp`` and ``value``, and for labelled
series ``name``, ``field`` and a column ``labels.<name>`` for each label. Wide, it has ``timestamp`` and a column of
values for each sensor; beside ``name`` and ``labels.<name>``, the columns of values are the fields of these series.

An empty cell is a field that is absent. No column is left aside: one that is not known is a fault of each row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from services.contract import Columns
from services.platform.http.errors import Problem

from ..readings import Decoded, Fault
from .columns import Column, ColumnError, Flags, Instants
from .identity import LABEL, in_order, is_label, sensors_of, sensors_of_fields

__all__ = ["CELLS_A_READING", "MOST_COLUMNS", "Layout", "Table", "check_cells", "in_rows", "wide"]

MOST_COLUMNS = 1024
"""Of a table in rows: many times what a reading has labels."""
CELLS_A_READING = 16
"""Cells of a table, empty ones too, for each reading that a batch may have."""

_FIELDS = ("sensor_id", "timestamp", "value", "name", "field")
_SENSOR = ("sensor_id", "name", "field")
_ONLY_IN_ROWS = ("sensor_id", "field")

_Read = TypeVar("_Read")


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


Layout = Callable[[Table, int], Decoded]
"""How a table lays out its readings, of which a batch may have so many: `in_rows` or `wide`."""


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
        called = [name for name in columns if name in _SENSOR or is_label(name)]
        sensors = sensors_of({name: _read(name, columns[name].texts) for name in called}, table.rows)
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
    ids, index = in_order(sensors.ids, sensors.codes[good])
    readings = Columns(ids, index, instants.micros[good], numbers.values[good], sensors.series)
    return Decoded(readings, found.positions(good), found.all(), illegible=_placed(table, instants))


def wide(table: Table, most: int) -> Decoded:
    """Return the readings of a table that has one in each cell of its columns of values.

    Raises:
        Problem: `malformed_body` or `too_many_rows`.
    """
    _check_some(table.rows + len(table.faults))
    try:
        columns = _named(table, _check_wide)
        instants = _read("timestamp", columns["timestamp"].instants)
        called = [name for name in columns if "name" in columns and (name == "name" or is_label(name))]
        chosen = {name: column for name, column in columns.items() if name not in {"timestamp", *called}}
        common = {name: _read(name, columns[name].texts) for name in called}
        sensors = sensors_of_fields(common, list(chosen), table.rows)
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
    ids, index = in_order(sensors.ids, sensors.codes[rows, places])
    readings = Columns(ids, index, instants.micros[rows], values[rows, places], sensors.series)
    positions = rows if table.positions is None else table.positions[rows]
    return Decoded(readings, positions, found.all(), illegible=_placed(table, instants), wide=True)


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
    if not any(name in _SENSOR or is_label(name) for name in names):
        raise _TableError("sensor_id", "missing", _NO_SENSOR)
    for name in ("timestamp", "value"):
        if name not in names:
            raise _TableError(name, "missing", f"{name} is missing")
    for name in names:
        if name not in _FIELDS and not is_label(name):
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
    if not named and (label := next(filter(is_label, names), None)):
        raise _TableError("name", "missing", f"name is missing; {_shown(label)!r} belongs to a name")
    if all(name == "timestamp" or (named and (name == "name" or is_label(name))) for name in names):
        raise _TableError("value", "missing", "there is no column of values beside timestamp")


def _read(name: str, read: Callable[[], _Read]) -> _Read:
    try:
        return read()
    except ColumnError as error:
        raise _TableError(_shown(name), error.code, f"{_shown(name)} {error}") from error


def _shown(name: str) -> str:
    return name[:64].encode("ascii", "backslashreplace").decode()
