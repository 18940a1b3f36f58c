"""The dashboards, and what Grafana makes of their questions: variables filled in, macros expanded, URLs and bodies."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from .service import ROOT

__all__ = ["DASHBOARDS", "Range", "Request", "Target", "expanded", "filled", "interval_word", "request", "targets"]

DASHBOARDS: Mapping[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "monitoring" / "dashboards").glob("*.json"))
}
"""Each dashboard by its file's name."""

Values = Mapping[str, str | Sequence[str]]
"""Variables by name; those that may have several values have a list."""

_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)(?::(?P<format>[\w:]+))?\}|(?P<bare>\w+))")
_MACRO = re.compile(r"\$(__\w+)\(([^)]*)\)")

# Grafana's steps of an interval: below the first number it is the second, both in milliseconds.
_STEPS = [
    (10, 1), (15, 10), (35, 20), (75, 50), (150, 100), (350, 200), (750, 500), (1_500, 1_000), (3_500, 2_000),
    (7_500, 5_000), (12_500, 10_000), (17_500, 15_000), (25_000, 20_000), (45_000, 30_000), (90_000, 60_000),
    (210_000, 120_000), (450_000, 300_000), (750_000, 600_000), (1_050_000, 900_000), (1_500_000, 1_200_000),
    (2_700_000, 1_800_000), (5_400_000, 3_600_000), (9_000_000, 7_200_000), (16_200_000, 10_800_000),
    (32_400_000, 21_600_000), (86_400_000, 43_200_000), (604_800_000, 86_400_000), (1_814_400_000, 604_800_000),
    (3_628_800_000, 2_592_000_000),
]  # fmt: skip
_YEAR = 31_536_000_000
_UNITS = [(_YEAR, "y"), (86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")]


@dataclass(frozen=True, slots=True)
class Range:
    """What the time picker says, in seconds since 1970, and how many points a panel has room for."""

    start: float
    end: float
    points: int = 1000

    @property
    def interval(self) -> str:
        """`$__interval`, as Grafana writes it."""
        return interval_word((self.end - self.start) * 1000 / self.points)

    def builtin(self, scrape: float = 15.0) -> dict[str, str]:
        """Return the variables that Grafana has by itself; `scrape` is Prometheus' interval in seconds."""
        return {
            "__from": str(int(self.start * 1000)),
            "__to": str(int(self.end * 1000)),
            "__interval": self.interval,
            "__rate_interval": f"{int(4 * scrape)}s",
            "__range": f"{int(self.end - self.start)}s",
        }


@dataclass(frozen=True, slots=True)
class Target:
    """One question of one panel."""

    dashboard: str
    panel: Mapping[str, Any]
    query: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.dashboard}, {self.panel['title']}, {self.query['refId']}"


@dataclass(frozen=True, slots=True)
class Request:
    """What Infinity sends: method, path with query, and the body of a POST."""

    method: str
    path: str
    params: Sequence[tuple[str, str]]
    body: str


def targets(dashboard: str) -> Iterator[Target]:
    """Yield every question of every panel of a dashboard."""
    for panel in DASHBOARDS[dashboard]["panels"]:
        for query in panel.get("targets", []):
            yield Target(dashboard, panel, query)


def interval_word(milliseconds: float) -> str:
    """Return `$__interval` of a time between two points: rounded, in the largest unit that it fills."""
    rounded = next((step for below, step in _STEPS if milliseconds < below), _YEAR)
    width, unit = next(each for each in _UNITS if rounded >= each[0])
    return f"{rounded // width}{unit}"


def filled(text: str, values: Values, default: str = "glob") -> str:
    """Return a text with its variables filled in; those that are not known stay, as macros of data sources do."""

    def one(match: re.Match[str]) -> str:
        name = match["braced"] or match["bare"]
        if name not in values:
            return match[0]
        word, *arguments = (match["format"] or default).split(":")
        value = values[name]
        several = [value] if isinstance(value, str) else list(value)
        if word == "doublequote":
            return ",".join('"' + each.replace('"', '\\"') + '"' for each in several)
        if word == "sqlstring":
            return ",".join("'" + each.replace("'", "''").replace('"', '\\"') + "'" for each in several)
        if word == "customqueryparam":
            return "&".join(f"{quote(arguments[0], safe='')}={quote(each, safe='')}" for each in several)
        assert word in {"raw", "glob"}, f"{word}: a format that this test does not know"
        return several[0] if len(several) == 1 else "{" + ",".join(several) + "}"

    return _VARIABLE.sub(one, text)


def request(query: Mapping[str, Any], values: Values) -> Request:
    """Return what Infinity sends for a question."""
    assert (query["source"], query["parser"]) == ("url", "backend"), "alerts want the backend parser"
    options = query["url_options"]
    return Request(
        options["method"],
        filled(query["url"], values),
        [(pair["key"], filled(pair["value"], values)) for pair in options["params"]],
        filled(options["data"], values),
    )


def expanded(sql: str, span: Range, values: Values, *, timescaledb: bool) -> str:
    """Return SQL with variables filled in, and macros expanded as Grafana's PostgreSQL data source does it."""

    def stamp(seconds: float) -> str:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")

    def macro(match: re.Match[str]) -> str:
        name, arguments = match[1], [word.strip() for word in match[2].split(",")]
        group = ""
        if name.startswith("__timeGroup"):
            number, unit = re.fullmatch(r"(\d+)(\w+)", arguments[1].strip("'")).groups()  # type: ignore[union-attr]
            seconds = int(number) * next(width for width, word in _UNITS if word == unit) / 1000
            bucket = f"floor(extract(epoch from {arguments[0]})/{seconds:g})*{seconds:g}"
            group = f"time_bucket('{seconds:.3f}s',{arguments[0]})" if timescaledb else bucket
        known = {
            "__timeFilter": f"{arguments[0]} BETWEEN '{stamp(span.start)}' AND '{stamp(span.end)}'",
            "__timeFrom": f"'{stamp(span.start)}'",
            "__timeTo": f"'{stamp(span.end)}'",
            "__timeGroup": group,
            "__timeGroupAlias": f'{group} AS "time"',
        }
        return known[name]

    return _MACRO.sub(macro, filled(sql, {**span.builtin(), **values}))
