"""Continuous aggregates by their definitions: which partials their columns are, as far as that can be told for sure.

A definition is read as PostgreSQL itself writes it out. What is written in any other way than those that are known here
is no partial, and an aggregate with a condition, a join or other groups is no rollup of the readings.
"""

import re
from collections.abc import Iterator, Mapping

__all__ = ["partials_in"]

_NAME = r'(?:[a-z_][a-z0-9_$]*|"(?:[^"]|"")+")'
_QUERY = re.compile(
    r"SELECT (?P<items>.+) FROM (?:public\.)?sensor_data GROUP BY "
    r"(?:\((?P<bucket>[^;]+)\), sensor_id|sensor_id, \((?P<last>[^;]+)\));"
)
_BUCKET = re.compile(r"""(?:public\.)?time_bucket\('[^']*'::interval, "timestamp"(?:, [^()]*)?\)""")
_ITEM = re.compile(rf"(?P<term>.+?)(?: AS (?P<name>{_NAME}))?")

_COUNTS = {"count(*)", "count(value)", "count(sensor_id)", 'count("timestamp")', "count(id)"}
"""No column of a reading is null, so all of these are the number of readings."""

_SUMS = {"sum(value)": "{0}", "avg(value)": "{0} * {count}"}
_SQUARES = {
    "var_pop(value)": "{0} * {count}",
    "stddev_pop(value)": "{0} * {0} * {count}",
    # Of one reading they are null.
    **dict.fromkeys(("var_samp(value)", "variance(value)"), "coalesce({0} * ({count} - 1), 0)"),
    **dict.fromkeys(("stddev_samp(value)", "stddev(value)"), "coalesce({0} * {0} * ({count} - 1), 0)"),
}
"""How the sum, and that of the squared differences from the mean, come out of a column and of the count."""


def partials_in(definition: str) -> Mapping[str, str]:
    """Return what the columns of an aggregate over `sensor_data` give, as SQL over its own columns.

    Beside the partials, `count` among them, `bucket` and `sensor_id` are columns. Empty where it is no rollup: other
    groups than the bucket and the sensor, a condition, no count.
    """
    query = _QUERY.fullmatch(" ".join(definition.split()))
    bucket = query and (query["bucket"] or query["last"])
    if query is None or bucket is None or not _BUCKET.fullmatch(bucket):
        return {}
    columns: dict[str, str] = {}
    for item in _items(query["items"]):
        match = _ITEM.fullmatch(item)
        if match is None or " FROM " in item:
            return {}
        term = match["term"]
        columns.setdefault("count" if term in _COUNTS else term, match["name"] or term)
    if not {bucket, "sensor_id", "count"} <= columns.keys():
        return {}
    found = {name: columns[term] for name, term in (("bucket", bucket), ("sensor_id", "sensor_id"), ("count", "count"))}
    found |= {name: columns[f"{name}(value)"] for name in ("min", "max") if f"{name}(value)" in columns}
    for name, ways in (("sum", _SUMS), ("squares", _SQUARES)):
        terms = [way.format(columns[term], count=columns["count"]) for term, way in ways.items() if term in columns]
        if terms:
            found[name] = terms[0]
    return found


def _items(text: str) -> Iterator[str]:
    """Yield the parts between the commas that stand outside of brackets and quotes."""
    depth, begin = 0, 0
    for token in re.finditer(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[(\[]|[)\]]|,""", text):
        if token[0] in "([":
            depth += 1
        elif token[0] in ")]":
            depth -= 1
        elif token[0] == "," and depth == 0:
            yield text[begin : token.start()].strip()
            begin = token.end()
    yield text[begin:].strip()
