"""Which sensors are aggregated together, and what rows are called then: by `sensor_id`, `all`, or names of labels."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..plan import Plan
from ..table import Column, Kind, Table

__all__ = ["ALL", "EACH", "Groups", "labelled", "labels_of", "unlabelled"]

ALL, EACH = "all", "sensor_id"

_LABELS = """
select asked.ordinal, wanted.place, sensors.labels ->> wanted.label
from unnest($1::text[]) with ordinality as asked (sensor_id, ordinal)
join sensors using (sensor_id)
cross join unnest($2::text[]) with ordinality as wanted (label, place)
where sensors.labels ->> wanted.label is not null
"""


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Sensors that are aggregated together.

    Attributes:
        each: whether every sensor is a group of its own, in its place.
        of: to which group each sensor belongs, in the order of the sensors; none is without sensors.
        keys: what rows of a group are told by: a text for each group, by the names of columns.
    """

    each: bool
    of: NDArray[np.int64]
    keys: Mapping[str, Sequence[str]]

    def __len__(self) -> int:
        return int(self.of.max(initial=-1)) + 1

    def columns(self, rows: NDArray[np.int64]) -> dict[str, Column]:
        """Return the columns that tell the groups of rows apart."""
        if len(self.keys) == 1:
            # No two groups have the same text.
            return {name: Column(Kind.TEXT, rows, None, tuple(texts)) for name, texts in self.keys.items()}
        known = {name: Column.of(Kind.TEXT, texts) for name, texts in self.keys.items()}
        return {name: Column(Kind.TEXT, column.values[rows], None, column.texts) for name, column in known.items()}

    def names(self) -> tuple[str, ...]:
        """Return a name for each group: the sensor, `{floor="1",room="hall"}` of labels, empty where it is of all."""
        if not self.keys:
            return ("",) * len(self)
        if self.each:
            return tuple(self.keys[EACH])
        shown = zip(*([f"{name}={json.dumps(text, ensure_ascii=False)}" for text in texts]
                      for name, texts in self.keys.items()), strict=True)  # fmt: skip
        return tuple(f"{{{','.join(pairs)}}}" for pairs in shown)

    def named(self) -> "Groups":
        """Return the same groups told by their names, in a column `group`."""
        return replace(self, keys={"group": self.names()})


def unlabelled(sensors: Sequence[str], by: Sequence[str]) -> Groups:
    """Return the groups that need no labels: each sensor by itself, or all together."""
    if list(by) == [EACH]:
        return Groups(True, np.arange(len(sensors)), {EACH: sensors})
    return Groups(False, np.zeros(len(sensors), np.int64), {})


def labels_of(sensors: tuple[str, ...], by: tuple[str, ...]) -> Plan:
    """Return the plan of the labels that sensors have, of those that are asked for."""
    kinds = {"ordinal": Kind.INTEGER, "place": Kind.INTEGER, "text": Kind.TEXT}
    most = len(sensors) * len(by)
    return Plan(_LABELS, (sensors, by), kinds, few=10_000, limit=most)


def labelled(sensors: Sequence[str], by: Sequence[str], found: Iterable[Table]) -> Groups:
    """Return the groups of sensors by their labels, in the order of these; what a sensor lacks is an empty text."""
    texts = [[""] * len(by) for _ in sensors]
    for table in found:
        text = table["text"]
        places = zip(
            table["ordinal"].values.tolist(), table["place"].values.tolist(), text.values.tolist(), strict=True
        )
        for ordinal, place, number in places:
            texts[ordinal - 1][place - 1] = text.texts[number]
    rows = [tuple(row) for row in texts]
    groups = {row: place for place, row in enumerate(sorted(set(rows)))}
    keys = {name: [row[place] for row in groups] for place, name in enumerate(by)}
    return Groups(False, np.array([groups[row] for row in rows], np.int64), keys)
