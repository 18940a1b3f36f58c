"""The statements over the catalogue, and of the newest readings: what is chosen, in the order of ids by their bytes."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from services.contract.instants import MICROSECOND

from ..plan import FIRST, LAST, Argument, Plan, readings_of
from ..reads import Ask, Reads
from ..table import Kind
from .selection import Selection
from .selector import FIELD, NAME

__all__ = ["chosen_ids", "label_names", "label_values", "newest", "pages"]

_FEW = 1001
"""Rows of the catalogue that are fetched at once: a page of a thousand, and the row that tells whether any follow."""

# Each sensor's rows come from the newest chunk on, and end with the second. To order by the id too would sort, and so
# decompress, all its rows of a chunk; so the id is asked for only where the second row is of the same instant. That is
# why there is no WITH TIES either, for which TimescaleDB's ordered scans come to an error. The aggregates take the two
# rows in the order in which they come. The index over ids by their bytes gives the order of all where the catalogue is
# asked. A collation beside the id that readings are looked up by would have each batch of a chunk sorted.
_NEWEST = """
select
  asked.sensor_id,
  newest.timestamp,
  case when newest.instants[2] = newest.timestamp then (
    select value
    from sensor_data
    where sensor_id = asked.sensor_id and timestamp = newest.timestamp
    order by id desc
    limit 1
  ) else newest.value end as value
from (select sensor_id from ({asked}) as any_of order by sensor_id collate "C") as asked
cross join lateral (
  select max(timestamp) as timestamp, array_agg(timestamp) as instants, (array_agg(value))[1] as value
  from (
    select timestamp, value
    from sensor_data
    where sensor_id = asked.sensor_id
      and timestamp >= timestamptz '0001-01-01Z'
      and timestamp <= least({until}, timestamptz '9999-12-31 23:59:59.999999Z')
    order by timestamp desc
    limit 2
  ) as last
) as newest
where newest.timestamp is not null
order by asked.sensor_id collate "C"
"""

_EVER = (
    "timestamptz '0001-01-01Z'",
    "least({until}, timestamptz '9999-12-31 23:59:59.999999Z') + interval '1 microsecond'",
)
_NEWEST_SPREAD = f"""
select asked.sensor_id, newest.timestamp, newest.value
from (select sensor_id from ({{asked}}) as any_of order by sensor_id collate "C") as asked
cross join lateral {readings_of("asked.sensor_id", _EVER, "desc", 1, spread=True)} as newest
order by asked.sensor_id collate "C"
"""  # noqa: S608 -- of constants


def chosen_ids(chosen: Selection, most: int) -> Plan:
    """Return the plan of the ids that are chosen, `most` and one more, which tells that there are too many."""
    return _of_catalogue({"sensor_id": Kind.TEXT}, chosen, "", most)


def pages(chosen: Selection, after: str, limit: int) -> Plan:
    """Return the plan of the sensors that are chosen behind an id: `limit` of them, and one more."""
    texts = dict.fromkeys(("sensor_id", "name", "field", "labels", "kind", "unit"), Kind.TEXT)
    return _of_catalogue(texts | {"first_seen": Kind.INSTANT}, chosen, after, limit)


def label_names(chosen: Selection, after: str, limit: int) -> Plan:
    """Return the plan of the names of the labels that chosen sensors have, behind a name; `limit` and one more."""
    source = (
        "sensors cross join lateral (\n"
        "  select jsonb_object_keys(labels)\n"
        f"  union all select '{NAME}' where name <> ''\n"
        f"  union all select '{FIELD}' where field <> ''\n"
        ") as of (label)"
    )
    return _distinct("of.label", source, chosen, (after,), limit)


def label_values(label: str, chosen: Selection, after: str, limit: int) -> Plan:
    """Return the plan of the values that a label has among chosen sensors, behind a value; `limit` and one more."""
    column = {NAME: "name", FIELD: "field"}.get(label)
    value = column or f"labels ->> ${len(chosen.arguments) + 1}::text"
    source = f"sensors cross join lateral (select {value}) as of (label)"
    return _distinct("of.label", source, chosen, (after,) if column else (label, after), limit)


def newest(sensors: Sequence[str], chosen: Selection | None, at: datetime | None, *, spread: bool = False) -> Plan:
    """Return the plan of each sensor's newest reading by (timestamp, id), in the order of sensors.

    Args:
        sensors: ids, of which the catalogue need not know.
        chosen: further sensors, of the catalogue; what SQL must not be asked has been checked.
        at: the last instant of a reading; None for all.
        spread: whether the readings lie on several nodes.
    """
    arguments: tuple[Argument, ...] = () if chosen is None else chosen.arguments
    asked = [] if chosen is None else [f"select sensor_id from sensors where {chosen.condition}"]  # noqa: S608 -- of constants
    if sensors or chosen is None:
        arguments += (tuple(sensors),)
        asked.append(f"select unnest(${len(arguments)}::text[]) as sensor_id")
    arguments += (at or LAST,)
    words = {"asked": " union ".join(asked), "until": f"${len(arguments)}::timestamptz"}
    statement = (_NEWEST_SPREAD if spread else _NEWEST).format(**words)
    until = LAST if at is None or at == LAST else at + MICROSECOND
    reads = Reads(
        Ask(f"select sensor_id from ({words['asked']}) as any_of", arguments[:-1]),  # noqa: S608 -- of constants
        FIRST,
        until,
        limit=1,
        descending=True,
    )
    kinds = {"sensor_id": Kind.TEXT, "timestamp": Kind.INSTANT, "value": Kind.FLOAT}
    return Plan(statement, arguments, kinds, few=501, reads=(reads,))


def _distinct(label: str, source: str, chosen: Selection, behind: tuple[Argument, ...], limit: int) -> Plan:
    """Return the plan of distinct texts, in the order of their bytes; the last argument is what they are behind."""
    column = f'{label} collate "C"'
    listed = ", ".join([f"{column} as label", *_further(chosen)])
    arguments = (*chosen.arguments, *behind)
    return Plan(
        f"select distinct {listed}\nfrom {source}\n"
        f"where {chosen.condition} and {column} > ${len(arguments)}::text\norder by label",
        arguments,
        {"label": Kind.TEXT} | chosen.kinds,
        few=_FEW,
        limit=None if chosen.checks else limit + 1,
    )


def _of_catalogue(columns: Mapping[str, Kind], chosen: Selection, after: str, limit: int) -> Plan:
    """Return the plan of the sensors that are chosen behind an id; of those that must be checked, all are fetched."""
    # Of jsonb, COPY's binary form is another than its text.
    listed = ", ".join([*("labels::text" if name == "labels" else name for name in columns), *_further(chosen)])
    arguments = (*chosen.arguments, after)
    return Plan(
        f"select {listed}\nfrom sensors\n"
        f'where {chosen.condition} and sensor_id collate "C" > ${len(arguments)}::text\norder by sensor_id collate "C"',
        arguments,
        {**columns, **chosen.kinds},
        few=_FEW,
        limit=None if chosen.checks else limit + 1,
    )


def _further(chosen: Selection) -> list[str]:
    return [f'{sql} as "{name}"' for name, sql in chosen.columns.items()]
