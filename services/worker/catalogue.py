"""The catalogue of sensors, as a worker writes it: what it does not remember to be there goes in with its readings."""

import hashlib
from collections.abc import Iterable
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from services.contract import Columns, Series

__all__ = ["Catalogue"]

# Sorted, so that no two workers wait for each other. A transaction that enters sensors in another order, part by part,
# has the lock alone.
_ENTER = """
insert into sensors (sensor_id, name, field, labels, kind, unit)
select sensor_id, name, field, labels::jsonb, kind, unit
from (select pg_advisory_xact_lock_shared(hashtext('millrace catalogue'))) as not_alone
cross join unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
  as found (sensor_id, name, field, labels, kind, unit)
order by sensor_id collate "C"
on conflict (sensor_id) do nothing
"""
_ALONE = "select pg_advisory_xact_lock(hashtext('millrace catalogue'))"

# The id of a labelled series is a plain sensor as long as it has come without its labels only. Kind and unit are the
# newest that were told.
_LABEL = """
with found as (
  select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
    as found (sensor_id, name, field, labels, kind, unit)
), changed as (
  select known.sensor_id
  from sensors known join found using (sensor_id)
  where known.labels is null or known.kind <> found.kind or known.unit <> found.unit
    or (known.kind is null and found.kind is not null) or (known.unit is null and found.unit is not null)
  order by known.sensor_id collate "C"
  for no key update of known
)
update sensors
set name = found.name, field = found.field, labels = found.labels::jsonb,
  kind = coalesce(found.kind, sensors.kind), unit = coalesce(found.unit, sensors.unit)
from found
where sensors.sensor_id = found.sensor_id and sensors.sensor_id in (select sensor_id from changed)
"""

_MANY = 1000
"""Sensors of a transaction from which one look at all of their ids is cheaper than one at each."""

_MOST_FLEETS = 1000


class Catalogue:
    """Enters sensors into the catalogue, and remembers which are there; what it has forgotten is entered again.

    It holds a string a sensor, some hundred bytes, and a hash of each large set of ids that came together lately: such
    a set often comes again, and a look at a million strings one by one is dear.
    """

    def __init__(self, most: int) -> None:
        """Remember at most so many sensors, beside those of one transaction."""
        self._most = most
        self._known: set[str] = set()
        self._fleets: set[bytes] = set()
        self._epoch: int | None = None

    def begin(self, epoch: int) -> None:
        """Forget all where `epoch` says that this is another server or table than before."""
        if epoch != self._epoch:
            self.forget()
            self._epoch = epoch

    def forget(self) -> None:
        """Forget all: the database may be another one."""
        self._known = set()
        self._fleets = set()

    def remember(self, entered: Iterable[str]) -> None:
        """Remember what `enter` has returned, once its transaction has committed."""
        self._known.update(entered)
        if len(self._known) > self._most:
            # Which ones does not matter: sensors that come in turns would be missed each time if the oldest had to go.
            self._known = set(islice(self._known, self._most // 2))

    async def enter(self, connection: Any, columns: Columns) -> list[str]:
        """Enter the sensors of `columns` that are not remembered; return what to remember of them.

        Raises:
            DATABASE_FAILURES: the database is away or refuses them.
        """
        keys = columns.sensor_ids
        if columns.series:
            keys = [_key(sensor_id, columns.series.get(sensor_id)) for sensor_id in keys]
        if self._knows(keys):
            return []
        # Counted rather than sorted: there are many more rows than sensors.
        used = np.flatnonzero(np.bincount(columns.index, minlength=len(keys))).tolist()
        unknown = [code for code in used if keys[code] not in self._known]
        if unknown:
            rows = [
                _row(sensor_id, columns.series.get(sensor_id)) for sensor_id in _chosen(columns.sensor_ids, unknown)
            ]
            await connection.execute(_ENTER, *map(list, zip(*rows, strict=True)))
            if labelled := [row for row in rows if row[1] is not None]:
                await connection.execute(_LABEL, *map(list, zip(*labelled, strict=True)))
        return _chosen(keys, unknown)

    def _knows(self, keys: list[str]) -> bool:
        """Tell whether all of `keys` are remembered."""
        if len(keys) < _MANY:
            return self._known.issuperset(keys)
        fleet = hashlib.blake2b("\0\0".join(keys).encode(), digest_size=16).digest()
        if fleet in self._fleets:
            return True
        if not self._known.issuperset(keys):
            return False
        if len(self._fleets) == _MOST_FLEETS:
            self._fleets = set()
        self._fleets.add(fleet)
        return True

    @staticmethod
    async def alone(connection: Any) -> None:
        """Keep others from entering sensors until the end of this transaction, which may enter some in any order."""
        await connection.execute(_ALONE)


def _chosen(items: list[str], codes: Iterable[int]) -> list[str]:
    return [items[code] for code in codes]


def _key(sensor_id: str, series: Series | None) -> str:
    """Return what is remembered: a sensor that is known without its labels, kind or unit is not known with them."""
    return sensor_id if series is None else f"{sensor_id}\0{series.kind or ''}\0{series.unit or ''}"


def _row(sensor_id: str, series: Series | None) -> tuple[str | None, ...]:
    if series is None:
        return sensor_id, None, None, None, None, None
    labels = msgspec.json.encode(dict(series.labels)).decode()
    return sensor_id, series.name, series.field, labels, series.kind, series.unit
