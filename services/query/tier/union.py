"""A plan's statement over the readings of files and those of the table together.

The statement stays what it is, but for `sensor_data`, which becomes both. What was read goes with it as arguments: an
array of texts for each column, a text a sensor, so that who asks sensor by sensor finds each one's readings at once.
"""

import re
from dataclasses import replace

import numpy as np

from services.contract.instants import POSTGRES_EPOCH
from services.platform.tier.files import Readings

from ..plan import Argument, Plan

__all__ = ["united"]

_TABLE = re.compile(r"\bfrom sensor_data\b")

_BOTH = (
    "from (\n"
    '  select id, "timestamp", sensor_id, value from sensor_data\n'
    '  union all select id, "timestamp", sensor_id, value from in_tier\n'
    ") as sensor_data"
)

# An interval is multiplied by a double: exact for all years of the tier.
_TIERED = """with of_sensors as materialized (
  select sensor_id, ids::bigint[] as ids, instants::double precision[] as instants,
    readings::double precision[] as readings
  from unnest({}::text[], {}::text[], {}::text[], {}::text[]) as given (sensor_id, ids, instants, readings)
), in_tier as (
  select found.id, timestamptz '2000-01-01Z' + found.instant * interval '1 microsecond' as "timestamp", sensor_id,
    found.value
  from of_sensors cross join lateral unnest(ids, instants, readings) as found (id, instant, value)
)"""


def united(plan: Plan, found: Readings) -> Plan:
    """Return a plan whose statement has the readings beside those of the table; each must be in one of the two."""
    order = np.lexsort((found.id, found.at, found.place))
    place = found.place[order]
    present, begins = np.unique(place, return_index=True)
    columns: list[tuple[str, ...]] = [tuple(found.sensors[number] for number in present.tolist())]
    for values in (found.id, found.at - POSTGRES_EPOCH, found.value):
        parts = np.split(values[order], begins[1:])
        columns.append(tuple(f"{{{','.join(map(repr, part.tolist()))}}}" for part in parts))
    arguments: tuple[Argument, ...] = (*plan.arguments, *columns)
    first = len(plan.arguments) + 1
    tiered = _TIERED.format(*(f"${first + number}" for number in range(len(columns))))
    statement = _TABLE.sub(_BOTH, plan.statement)
    # What begins with CTEs of its own goes on with them.
    statement = f"{tiered},{statement[4:]}" if statement.startswith("with ") else f"{tiered}\n{statement}"
    return replace(plan, statement=statement, arguments=arguments, divisible=False)
